//! The learner against independent oracles: the engine's WGSL kernels, PyTorch (the fixtures of `tests/fixtures`), finite
//! differences, and weights merged by hand. Everything on the CPU backend; the engine needs an adapter.
// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gradients;
mod lockstep;
mod parity;
mod precision;
mod sft;
mod slow_adapter;
mod smollm2;
mod support;
mod training;
