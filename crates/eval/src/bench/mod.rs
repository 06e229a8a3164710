//! Benchmarks: every one of them becomes a dated history that is fed to an agent and probes that are asked afterwards
//! ([`Sample`]), a multi-turn search task ([`search::SearchTask`]), or a stream of corrections
//! ([`ocrr::CorrectionStream`]).
//!
//! [`BenchmarkKind::open`] reads the files as their owners publish them, one record at a time. Nothing here knows a model.

pub mod clbench;
pub mod convomem;
mod error;
mod feed;
pub mod locomo;
pub mod longmemeval;
pub mod memoryagentbench;
mod merge;
pub mod ocrr;
pub mod read;
mod registry;
mod sample;
pub mod search;
mod turns;

pub use error::{BenchError, Place, Refusal};
pub(crate) use feed::parts;
pub use feed::{ACKNOWLEDGEMENT, CONTINUE, Dates, FedTurn, FeedOptions};
pub use registry::{Benchmark, BenchmarkKind, OpenOptions, SampleStream};
pub use sample::{Exchange, Probe, Sample, Session};
