//! The model: its file, its description and its text side.

pub mod config;
pub mod gguf;
