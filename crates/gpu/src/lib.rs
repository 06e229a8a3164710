//! Compute for tmem: a device, buffers, and one typed launcher per WGSL shader. Knows no model.
//!
//! Everything above speaks to the GPU through three things: [`Gpu`] (device, buffers, read-back), [`Dispatch`] (a
//! kernel bound to its buffers, made by the launchers in [`ops`]) and [`Commands`] (recorded and submitted work).
//! The same code runs natively (Vulkan, Metal, DX12) and in the browser (WebGPU).

// In the browser wgpu's handles stay on one thread; the same `Arc` natively shares them between threads.
#![cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync))]

mod adapter;
mod commands;
mod context;
mod error;
mod kernel;
mod layout;
mod memory;
pub mod ops;
mod read_back;
mod read_ring;
mod seeded;
mod self_test;
#[cfg(test)]
mod testing;
mod timing;
mod tuning;
mod twins;
mod weights;

pub use adapter::{AdapterKind, GpuOptions};
pub use commands::Commands;
pub use context::Gpu;
pub use error::{GpuError, Result};
pub(crate) use kernel::shader;
pub use kernel::{Depth, Dispatch, Grid, Kernel, KeySplit, Origin, Shader};
pub use layout::{Row, Sequence};
pub use memory::{Buffer, MemoryCounter};
pub use read_back::ReadBack;
pub use read_ring::ReadRing;
pub use self_test::{KernelCheck, SHADERS_FINGERPRINT, self_test};
pub use tuning::{Product, Tuning};
pub use weights::{SourceType, Weight, WeightFormat, dequantise, encode_q16};
