//! The model: its file, its description, its text side, and its forward pass on the GPU.

pub mod chat_template;
pub mod config;
mod decode_layer;
mod forward;
pub mod gguf;
mod host;
mod kv_cache;
mod linear;
mod loader;
mod rope;
mod slow_adapter;
pub mod tokenizer;
mod weights;

pub use config::ModelConfig;
pub(crate) use forward::{ForwardPlan, PlanSize, Shape, Shared};
pub use host::{HostLayer, HostModel, HostWeights};
pub(crate) use kv_cache::{KvCache, Range as KvRange};
pub(crate) use linear::{Head, Linear};
pub use loader::{LoadError, Model, ModelLoader, identity};
pub use rope::rope_table;
pub use slow_adapter::SlowAdapter;
pub use tokenizer::{Specials, TokenStream};
pub(crate) use weights::Part;
pub use weights::{ModelWeights, TensorDescription, WeightsBuilder, WeightsError};
