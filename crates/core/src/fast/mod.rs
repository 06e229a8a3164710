//! The fast weights Δ = B A: sites, training, guard and gate (METHOD §3).

mod report;
pub mod svd;

pub use report::{DeltaId, SiteNorm, StepReport, WriteOutcome, WriteReport};
