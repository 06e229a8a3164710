//! From the events of a stage's writes to their summary, and where the time went.

use std::time::Instant;

use tmem_core::fast::DeltaId;
use tmem_core::rollout::Event;

use super::{Seconds, WriteSummary};

/// What time is being spent on.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Reading,
    Writing,
    Training,
}

/// Listens to the events of one stage.
#[derive(Debug)]
pub(super) struct Recorder {
    phase: Phase,
    since: Instant,
    seconds: Seconds,
    summary: WriteSummary,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            phase: Phase::Reading,
            since: Instant::now(),
            seconds: Seconds::default(),
            summary: WriteSummary::default(),
        }
    }
}

impl Recorder {
    pub(super) fn record(&mut self, event: &Event) {
        match event {
            Event::WritingStarted { .. } => self.enter(Phase::Writing),
            Event::CardsWritten { cards, dropped } => {
                self.summary.cards.extend_from_slice(cards);
                self.summary.dropped += dropped.len();
            }
            Event::LearningStarted { .. } => self.enter(Phase::Training),
            Event::Step(step) => {
                self.summary.losses.push(step.loss);
                self.summary.kl.push(step.kl);
            }
            Event::WriteFinished(report) => {
                self.summary.outcomes.push(report.outcome.clone());
                self.summary.norms.clone_from(&report.norms);
                self.summary.pairs += report.pairs;
                self.summary.trust_region_hits += report.trust_region_hits;
                self.enter(Phase::Reading);
            }
            Event::ContextCleared { .. } => self.enter(Phase::Reading),
            Event::Warning(warning) => self.summary.warnings.push(warning.to_string()),
            _ => {}
        }
    }

    pub(super) fn warn(&mut self, reason: &str) {
        self.summary.warnings.push(format!("nothing was learned: {reason}"));
    }

    pub(super) fn finish(mut self, delta: DeltaId) -> (WriteSummary, Seconds) {
        self.enter(Phase::Reading);
        (WriteSummary { delta, ..self.summary }, self.seconds)
    }

    fn enter(&mut self, phase: Phase) {
        let spent = self.since.elapsed().as_secs_f64();
        *match self.phase {
            Phase::Reading => &mut self.seconds.prefill,
            Phase::Writing => &mut self.seconds.writing,
            Phase::Training => &mut self.seconds.training,
        } += spent;
        (self.phase, self.since) = (phase, Instant::now());
    }
}
