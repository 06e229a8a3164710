//! What a unit has come to so far.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tmem_core::fast::{DeltaId, WriteOutcome, WriteReport};
use tmem_core::rollout::{Event, Warning};

use super::meter::Tokens;
use super::record::{TimelinePoint, TimingLine, UnitLine};
use super::unit::Unit;

/// What time is being spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Reading,
    Writing,
    Training,
    Answering,
}

/// Time since the phase began; a resumed unit begins with a new one.
#[derive(Debug, Clone)]
struct Clock {
    phase: Phase,
    since: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { phase: Phase::default(), since: Instant::now() }
    }
}

/// Counts of one unit; saved with its state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    pub(super) exchanges: usize,
    pub(super) writes: usize,
    pub(super) cards: usize,
    pub(super) dropped_cards: usize,
    pub(super) dropped_turns: usize,
    pub(super) tokens_read: u64,
    pub(super) tokens_generated: u64,
    pub(super) timeline: Vec<TimelinePoint>,
    /// Mean ‖ΔW‖_F / ‖W‖_F now.
    pub(super) delta_norm: f32,
    /// Reading, writing, training, answering.
    seconds: [f64; 4],
    /// Whether a write has begun whose end is not yet known. Never so between two turns.
    #[serde(skip)]
    writing: bool,
    #[serde(skip)]
    clock: Clock,
}

impl Tally {
    /// Takes notice of an event.
    pub(super) fn record(&mut self, event: &Event) {
        match event {
            Event::WritingStarted { .. } => {
                self.writing = true;
                self.enter(Phase::Writing);
            }
            Event::CardsWritten { dropped, .. } => self.dropped_cards += dropped.len(),
            Event::LearningStarted { .. } => self.enter(Phase::Training),
            Event::WriteFinished(report) => {
                if matches!(report.outcome, WriteOutcome::Completed | WriteOutcome::StoppedEarly) {
                    self.delta_norm = mean_norm(report);
                }
                self.enter(Phase::Writing);
            }
            Event::Warning(Warning::WriteAbandoned { .. }) => {
                self.writing = false;
                self.enter(Phase::Reading);
            }
            // A write that came to an end is always followed by this, by itself or at the end of a history.
            Event::ContextCleared { .. } => {
                self.writes += usize::from(std::mem::take(&mut self.writing));
                self.enter(Phase::Reading);
            }
            _ => {}
        }
    }

    /// From now on time is spent on this.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.seconds[self.clock.phase as usize] += self.clock.since.elapsed().as_secs_f64();
        self.clock = Clock { phase, since: Instant::now() };
    }

    /// Counts the tokens between two readings of the meter.
    pub(super) fn spend(&mut self, before: Tokens, after: Tokens) {
        self.tokens_read += after.read - before.read;
        self.tokens_generated += after.generated - before.generated;
    }

    /// An agent's new beginning within the unit: Δ is 0 again.
    pub(super) fn begin_episode(&mut self) {
        self.delta_norm = 0.0;
    }

    /// The line of the finished unit; `answers` are the tokens of its probes.
    pub(super) fn unit_line(&self, unit: &Unit, answers: Tokens, delta: DeltaId) -> UnitLine {
        UnitLine {
            seed: unit.seed,
            memory: unit.memory,
            sample: unit.sample.clone(),
            exchanges: self.exchanges,
            writes: self.writes,
            cards: self.cards,
            dropped_cards: self.dropped_cards,
            dropped_turns: self.dropped_turns,
            tokens_read: self.tokens_read + answers.read,
            tokens_generated: self.tokens_generated + answers.generated,
            delta,
            timeline: self.timeline.clone(),
        }
    }

    /// The line of what it took.
    pub(super) fn timing_line(&mut self, unit: &Unit, peak_gpu_bytes: u64) -> TimingLine {
        self.enter(Phase::Reading);
        let [reading, writing, training, answering] = self.seconds;
        let sample = unit.sample.clone();
        TimingLine {
            seed: unit.seed,
            memory: unit.memory,
            sample,
            reading,
            writing,
            training,
            answering,
            peak_gpu_bytes,
        }
    }
}

fn mean_norm(report: &WriteReport) -> f32 {
    let norms: Vec<f32> = if report.norms.is_empty() {
        report.steps.last().map(|step| step.norms.clone()).unwrap_or_default()
    } else {
        report.norms.iter().map(|site| site.relative).collect()
    };
    (norms.iter().map(|&norm| f64::from(norm)).sum::<f64>() / norms.len().max(1) as f64) as f32
}
