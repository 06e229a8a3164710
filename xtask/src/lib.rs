//! The project's chores, as a library: `cargo xtask` is a thin command line over it, and the browser tests start the
//! same server that `cargo xtask demo` starts.

pub mod browser;
#[cfg(feature = "chores")]
pub mod peers;
pub mod server;
pub mod shell;
#[cfg(feature = "chores")]
pub mod suite;
#[cfg(feature = "chores")]
pub mod web;
