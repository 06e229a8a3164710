//! Benchmarks: a dated history that is fed to an agent and probes that are asked afterwards ([`Sample`]).
//!
//! Files are read as their owners publish them, one record at a time. Nothing here knows a model.

mod error;
mod feed;
pub mod locomo;
pub mod read;
mod sample;
pub mod search;

pub use error::{BenchError, Place, Refusal};
pub use feed::{ACKNOWLEDGEMENT, CONTINUE, Dates, FedTurn, FeedOptions};
pub use sample::{Exchange, Probe, Sample, Session};
