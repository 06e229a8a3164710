//! What a strategy costs.

use serde::{Deserialize, Serialize};

use super::Strategy;

/// Means over units (one sample with one seed), probes included, except where it says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Units that these figures are of.
    pub units: usize,
    /// Turns fed.
    pub exchanges: f64,
    /// Prompt tokens read.
    pub tokens_read: f64,
    /// Tokens generated.
    pub tokens_generated: f64,
    /// Prompt tokens of one probe: the mean over probes.
    pub probe_tokens_read: f64,
    /// Memory-writing actions.
    pub writes: f64,
    /// Cards learned or kept.
    pub cards: f64,
    /// Cards written and dropped.
    pub dropped_cards: f64,
    /// Turns that fell out of the context unwritten.
    pub dropped_turns: f64,
    /// Most bytes held on the GPU at once in any unit; `None` where it was not measured. A process counts from its start:
    /// strategies before this one in the same process are in it.
    pub peak_gpu_bytes: Option<u64>,
    /// Clock times; `None` where there are none.
    pub seconds: Option<Seconds>,
}

/// Mean clock times of a unit, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Feeding turns.
    pub reading: f64,
    /// Writing memory, training apart.
    pub writing: f64,
    /// Training the fast weights.
    pub training: f64,
    /// Answering and judging.
    pub answering: f64,
    /// All of these.
    pub total: f64,
}

/// The mean of a figure; 0 of nothing.
fn mean<T>(items: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    items.iter().map(figure).sum::<f64>() / items.len().max(1) as f64
}

impl Cost {
    /// Of a strategy.
    pub(super) fn of(strategy: &Strategy) -> Self {
        let units = &strategy.units;
        Self {
            units: units.len(),
            exchanges: mean(units, |unit| unit.exchanges as f64),
            tokens_read: mean(units, |unit| unit.tokens_read as f64),
            tokens_generated: mean(units, |unit| unit.tokens_generated as f64),
            probe_tokens_read: mean(&strategy.probes, |probe| probe.tokens_read as f64),
            writes: mean(units, |unit| unit.writes as f64),
            cards: mean(units, |unit| unit.cards as f64),
            dropped_cards: mean(units, |unit| unit.dropped_cards as f64),
            dropped_turns: mean(units, |unit| unit.dropped_turns as f64),
            peak_gpu_bytes: strategy.timings.iter().map(|timing| timing.peak_gpu_bytes).max(),
            seconds: Seconds::of(strategy),
        }
    }
}

impl Seconds {
    fn of(strategy: &Strategy) -> Option<Self> {
        let times = &strategy.timings;
        let (reading, writing) = (mean(times, |time| time.reading), mean(times, |time| time.writing));
        let (training, answering) = (mean(times, |time| time.training), mean(times, |time| time.answering));
        let total = reading + writing + training + answering;
        (!times.is_empty()).then_some(Self { reading, writing, training, answering, total })
    }
}
