//! One strategy against another, on the same probes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::stats::{Scored, Unit, paired_bootstrap};

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 10_000;

/// Fewest units that are worth resampling: of fewer, the resamples repeat each other and the p value says little more
/// than on which side all of them lie.
pub const FEWEST_UNITS: usize = 6;

/// Seeds the bootstrap, so that a report can be made again.
const SEED: u64 = 0;

/// A paired comparison of the headline score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What it is compared with.
    pub with: String,
    /// Mean difference over the probes that both have; above 0 is better than `with`.
    pub difference: f64,
    /// Ends of the 95 % interval; `None` where there are fewer than [`FEWEST_UNITS`] units to resample.
    pub interval: Option<[f64; 2]>,
    /// Two-sided p value of "no difference"; `None` as for `interval`.
    pub p: Option<f64>,
    /// Pairs of probes.
    pub pairs: usize,
    /// What was resampled: samples, since probes of one history are not independent; where there are fewer than
    /// [`FEWEST_UNITS`] of them, probes. The interval then speaks of other questions about the same histories, not of
    /// other histories.
    pub unit: Unit,
    /// How many there are.
    pub units: usize,
}

impl Comparison {
    /// Compares; `None` where they have no probe in common.
    pub(super) fn of(treatment: &[Scored], baseline: &[Scored], with: String) -> Option<Self> {
        let run = |unit, resamples| paired_bootstrap(treatment, baseline, unit, resamples, SEED).ok();
        let samples = |items: &[Scored]| items.iter().map(|item| item.sample.clone()).collect::<BTreeSet<_>>();
        let common = samples(treatment).intersection(&samples(baseline)).count();
        let unit = if common >= FEWEST_UNITS { Unit::Sample } else { Unit::Probe };
        let paired = run(unit, RESAMPLES)?;
        let enough = paired.units >= FEWEST_UNITS;
        Some(Self {
            with,
            difference: paired.difference,
            interval: enough.then_some([paired.low, paired.high]),
            p: enough.then_some(paired.p),
            pairs: paired.pairs,
            unit,
            units: paired.units,
        })
    }
}
