//! The model: its file, its description and its text side.

pub mod chat_template;
pub mod config;
pub mod gguf;
pub mod tokenizer;

pub use config::ModelConfig;
