//! Training of the base model θ0: the model of `tmem-core` once more, in burn and with gradients.
//!
//! The engine of `tmem-core` generates and learns fast weights; it has no gradient by θ0. This crate has: a slow LoRA
//! adapter over the linear layers, or all of θ0, trained under frozen fast weights (arXiv 2606.04536). It is written apart
//! from the engine's kernels, so that each is a check of the other: see `tests/oracle`.
//!
//! burn is in this crate alone.

mod backend;
mod error;
pub mod model;
pub mod rl;
pub mod sft;
pub mod train;

pub use backend::{Backend, BackendError};
pub use error::LearnError;
