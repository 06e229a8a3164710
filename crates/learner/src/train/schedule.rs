//! The learning rate of every step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Linear warm-up, then half a cosine down to a share of the peak. A function of the step alone, so that a resumed run
/// goes on where it was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// The rate at the end of the warm-up.
    pub learning_rate: f64,
    /// Steps until it is reached.
    pub warmup_steps: usize,
    /// Steps of the whole run; 0 keeps the rate at its peak.
    pub max_steps: usize,
    /// Share of the peak that is left at the end.
    pub final_share: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { learning_rate: 1e-4, warmup_steps: 0, max_steps: 0, final_share: 0.1 }
    }
}

impl Schedule {
    /// The rate of step `step`, counted from 0.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        if self.max_steps == 0 {
            return self.learning_rate;
        }
        let length = self.max_steps.saturating_sub(self.warmup_steps).max(1);
        let done = ((step - self.warmup_steps) as f64 / length as f64).min(1.0);
        let share = self.final_share + (1.0 - self.final_share) * 0.5 * (1.0 + (PI * done).cos());
        self.learning_rate * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_its_share() {
        let schedule = Schedule { learning_rate: 2.0, warmup_steps: 4, max_steps: 12, final_share: 0.1 };
        let rates: Vec<f64> = (0..14).map(|step| (schedule.rate(step) * 1e3).round() / 1e3).collect();
        assert_eq!(rates[..5], [0.5, 1.0, 1.5, 2.0, 2.0]);
        assert_eq!(rates[8], 1.1, "half way down");
        assert_eq!(rates[12..], [0.2, 0.2], "and it stays there");
        assert!(rates[4..13].windows(2).all(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn without_an_end_the_rate_stays_at_its_peak() {
        let schedule = Schedule { learning_rate: 1e-3, ..Schedule::default() };
        assert_eq!((schedule.rate(0), schedule.rate(100_000)), (1e-3, 1e-3));
    }
}
