//! The tmem page: a person talks to a small model that learns mid-conversation on their own GPU.
//!
//! One WebAssembly module with two entries. The *page* draws and listens; the *worker* owns the
//! GPU, the model and the agent, so that the page never freezes. They talk through [`protocol`]. What the page shows is
//! a value, [`state::PageState`], and a function of the reports that have arrived; it has no browser in it and is tested
//! natively.

pub mod archive;
pub mod chart;
pub mod fit;
pub mod format;
pub mod log;
pub mod protocol;
pub mod saved;
pub mod scribe;
pub mod state;
pub mod summary;

#[cfg(target_arch = "wasm32")]
mod components;
#[cfg(target_arch = "wasm32")]
mod page;
#[cfg(target_arch = "wasm32")]
mod store;
#[cfg(target_arch = "wasm32")]
mod worker;
