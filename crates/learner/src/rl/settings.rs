//! How a reinforcement run goes. Names as in TRL's `GRPOConfig` where it has them.

use serde::{Deserialize, Serialize};

use super::{Estimator, RewardSettings, ScaleRewards};
use crate::LearnError;
use crate::train::TrainSettings;

/// How the losses of tokens are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Over the tokens of each episode, then over episodes (GRPO, arXiv 2402.03300).
    Grpo,
    /// Summed, over episodes times `max_completion_length` (Dr. GRPO, arXiv 2503.20783): no bias towards length.
    DrGrpo,
    /// Over all tokens of the step (DAPO, arXiv 2503.14476).
    Dapo,
}

/// Settings of a reinforcement run. Tokens are sampled at temperature 1 from the whole distribution: from what is
/// learned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RlSettings {
    /// Seeds sampling.
    pub seed: u64,
    /// Tasks of a step.
    pub tasks: usize,
    /// Episodes of each task.
    pub num_generations: usize,
    /// Most tokens of a memory-writing action.
    pub max_completion_length: usize,
    /// Weight of KL(current ‖ base) at every sampled token, under the same Δ; 0 = none.
    pub beta: f32,
    /// A ratio of probabilities below 1 − epsilon no longer counts for a token of negative advantage.
    pub epsilon: f32,
    /// A ratio above 1 + epsilon_high no longer counts for a token of positive advantage.
    pub epsilon_high: f32,
    /// How the losses of tokens are averaged.
    pub loss_type: LossType,
    /// How an episode's reward becomes its advantage.
    pub estimator: Estimator,
    /// By what advantages are divided.
    pub scale_rewards: ScaleRewards,
    /// Steps of the optimizer for each set of episodes.
    pub num_iterations: usize,
    /// Whether actions that reached their token limit are left out of the loss.
    pub mask_truncated_completions: bool,
    /// The run stops where sampler and learner disagree by more than this on a token's log-probability, on average, in
    /// nats.
    pub max_gap: f64,
    /// The run stops after this many steps in a row in which no group's rewards differ; 0 = never.
    pub flat_steps: usize,
    /// The run stops at a gradient longer than this.
    pub largest_gradient: f64,
    /// Tokens of a packed row; 0 gives every action a row of its own.
    pub row_tokens: usize,
    /// Tokens that go through the learner at once.
    pub batch_tokens: usize,
    /// What episodes are rewarded for.
    pub reward: RewardSettings,
    /// Optimizer and schedule.
    pub train: TrainSettings,
}

impl Default for RlSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            tasks: 8,
            num_generations: 8,
            max_completion_length: 256,
            beta: 0.0,
            epsilon: 0.2,
            epsilon_high: 0.2,
            loss_type: LossType::Dapo,
            estimator: Estimator::Grpo,
            scale_rewards: ScaleRewards::Group,
            num_iterations: 1,
            mask_truncated_completions: false,
            max_gap: 0.05,
            flat_steps: 20,
            largest_gradient: 1e3,
            row_tokens: 0,
            batch_tokens: 2048,
            reward: RewardSettings::default(),
            train: TrainSettings::default(),
        }
    }
}

impl RlSettings {
    /// Refuses settings that no run can have.
    ///
    /// # Errors
    /// [`LearnError::Setting`] names the first.
    pub fn check(&self) -> Result<(), LearnError> {
        let wrong = |name, value: String, expected: &str| {
            Err(LearnError::Setting { name, value, expected: expected.to_owned() })
        };
        let counts = [
            ("tasks", self.tasks, 1),
            ("num_generations", self.num_generations, 2),
            ("max_completion_length", self.max_completion_length, 1),
            ("num_iterations", self.num_iterations, 1),
            ("batch_tokens", self.batch_tokens, 1),
        ];
        for (name, value, least) in counts {
            if value < least {
                return wrong(name, value.to_string(), &format!("at least {least}"));
            }
        }
        let shares = [("beta", self.beta), ("epsilon", self.epsilon), ("epsilon_high", self.epsilon_high)];
        for (name, value) in shares {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(name, value.to_string(), "0 or more");
            }
        }
        for (name, value) in [("max_gap", self.max_gap), ("largest_gradient", self.largest_gradient)] {
            if value.is_nan() || value <= 0.0 {
                return wrong(name, value.to_string(), "a positive number");
            }
        }
        self.reward.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_run_can_have_is_refused_by_name() {
        RlSettings::default().check().unwrap();
        let cases = [
            (RlSettings { num_generations: 1, ..RlSettings::default() }, "num_generations"),
            (RlSettings { epsilon: -0.1, ..RlSettings::default() }, "epsilon"),
            (RlSettings { max_gap: f64::NAN, ..RlSettings::default() }, "max_gap"),
            (
                RlSettings {
                    reward: RewardSettings { f1: f64::NAN, ..RewardSettings::default() },
                    ..RlSettings::default()
                },
                "reward.f1",
            ),
        ];
        for (settings, name) in cases {
            let message = settings.check().unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
        }
    }
}
