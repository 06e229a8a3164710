//! Data sets, benchmarks, probes, scorers, judges and reports for tmem. It knows no GPU: it talks to a policy and its
//! rollout.

pub mod bench;
pub mod data;
pub mod judge;
pub mod metrics;
pub mod probe;
pub mod report;
pub mod run;
pub mod score;
pub mod stats;
pub mod sweep;
pub mod synthetic;
