//! From rewards to advantages: how much better an episode did than others of the same task.

use serde::{Deserialize, Serialize};
use tmem_eval::stats::MeanSd;

/// How an episode's reward becomes its advantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// Less the mean of its group (GRPO, arXiv 2402.03300).
    Grpo,
    /// Less the mean of the others of its group (RLOO, arXiv 2402.14740).
    Rloo,
    /// Less the mean of the whole step (REINFORCE with a batch mean as its baseline).
    Reinforce,
}

/// By what advantages are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleRewards {
    /// The standard deviation of the group's rewards.
    Group,
    /// The standard deviation of the step's rewards.
    Batch,
    /// Nothing.
    None,
}

/// Added to a standard deviation, as TRL does.
const SMALL: f64 = 1e-4;

/// Advantages of groups of rewards, in the same shape. A group whose rewards are all alike has none.
pub fn advantages(rewards: &[Vec<f64>], estimator: Estimator, scale: ScaleRewards) -> Vec<Vec<f64>> {
    let all: Vec<f64> = rewards.concat();
    let (batch_mean, batch_deviation) = moments(&all);
    let of_group = |group: &Vec<f64>| {
        let (sum, count) = (group.iter().sum::<f64>(), group.len() as f64);
        let divisor = match scale {
            ScaleRewards::Group => moments(group).1 + SMALL,
            ScaleRewards::Batch => batch_deviation + SMALL,
            ScaleRewards::None => 1.0,
        };
        let baseline = |reward: f64| match estimator {
            Estimator::Grpo => sum / count,
            Estimator::Rloo if group.len() > 1 => (sum - reward) / (count - 1.0),
            Estimator::Rloo => reward,
            Estimator::Reinforce => batch_mean,
        };
        group.iter().map(|&reward| (reward - baseline(reward)) / divisor).collect()
    };
    rewards.iter().map(of_group).collect()
}

/// Mean and standard deviation of a sample; 0 where there is too little for either.
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    MeanSd::of(values).map_or((0.0, 0.0), |of| (of.mean, of.sd.unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rounded(groups: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        groups.into_iter().map(|group| group.into_iter().map(|a| (a * 1e3).round() / 1e3).collect()).collect()
    }

    #[test]
    fn each_estimator_has_its_baseline() {
        let rewards = [vec![1.0, 0.0, 0.5], vec![0.0, 0.0, 0.0]];
        let of = |estimator, scale| rounded(advantages(&rewards, estimator, scale));
        assert_eq!(of(Estimator::Grpo, ScaleRewards::None), [vec![0.5, -0.5, 0.0], vec![0.0; 3]]);
        assert_eq!(of(Estimator::Rloo, ScaleRewards::None), [vec![0.75, -0.75, 0.0], vec![0.0; 3]]);
        assert_eq!(of(Estimator::Reinforce, ScaleRewards::None), [vec![0.75, -0.25, 0.25], vec![-0.25; 3]]);
        assert_eq!(of(Estimator::Grpo, ScaleRewards::Group), [vec![1.0, -1.0, 0.0], vec![0.0; 3]]);
        let deviation = (0.875f64 / 5.0).sqrt();
        let scaled = ((0.5 / (deviation + SMALL)) * 1e3).round() / 1e3;
        assert_eq!(of(Estimator::Grpo, ScaleRewards::Batch)[0][0], scaled);
    }

    proptest! {
        #[test]
        fn a_group_is_neither_praised_nor_blamed_as_a_whole(
            rewards in prop::collection::vec(prop::collection::vec(-1.0f64..1.0, 2..9), 1..5),
            scale in prop_oneof![Just(ScaleRewards::Group), Just(ScaleRewards::Batch), Just(ScaleRewards::None)],
        ) {
            for estimator in [Estimator::Grpo, Estimator::Rloo] {
                for group in advantages(&rewards, estimator, scale) {
                    prop_assert!(group.iter().sum::<f64>().abs() < 1e-6 * group.len() as f64 / SMALL);
                }
            }
            let all: f64 = advantages(&rewards, Estimator::Reinforce, ScaleRewards::None).concat().iter().sum();
            prop_assert!(all.abs() < 1e-9);
        }
    }
}
