//! Runs every strategy on the samples of a benchmark, and leaves a folder from which a report is made.

pub mod record;
