//! The loss of a policy gradient with clipped ratios (PPO, arXiv 1707.06347) over sampled tokens.

use std::cell::RefCell;

use burn::tensor::{Tensor, TensorData};

use crate::LearnError;
use crate::model::{Batch, Objective, read, reference_penalty};

/// Σ over targets of −min(ρ w, clip(ρ, 1 − ε, 1 + ε_high) w) with ρ = p / p_old and w the target's weight: its
/// advantage times its share of the loss. Targets with a reference are held to it as by
/// [`WeightedLikelihood`](crate::model::WeightedLikelihood).
#[derive(Debug)]
pub struct PolicyGradient<'a> {
    batch: &'a Batch,
    old: Option<&'a [f32]>,
    epsilon: f32,
    epsilon_high: f32,
    /// What the model says now, chunk by chunk.
    current: RefCell<Vec<Tensor<1>>>,
}

impl<'a> PolicyGradient<'a> {
    /// Of a batch whose targets had the log-probabilities `old` when they were sampled. Without, they are taken to be
    /// those of the model as it is: ρ = 1, and the gradient is that of Σ w log p.
    pub fn new(batch: &'a Batch, old: Option<&'a [f32]>, epsilon: f32, epsilon_high: f32) -> Self {
        Self { batch, old, epsilon, epsilon_high, current: RefCell::default() }
    }

    /// The log-probabilities that the loss was last taken of, in the order of the batch's targets.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn log_probabilities(&self) -> Result<Vec<f32>, LearnError> {
        let chunks = self.current.borrow();
        if chunks.is_empty() { Ok(Vec::new()) } else { read(&Tensor::cat(chunks.clone(), 0)) }
    }
}

impl Objective for PolicyGradient<'_> {
    fn loss(&self, log_probabilities: Tensor<1>, first: usize) -> Tensor<1> {
        let ([rows], device) = (log_probabilities.dims(), log_probabilities.device().without_autodiff());
        if first == 0 {
            self.current.borrow_mut().clear();
        }
        self.current.borrow_mut().push(log_probabilities.clone().inner());
        let constant = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [rows]), &device);
        let weights = constant(self.batch.targets().skip(first).take(rows).map(|target| target.weight).collect());
        let old = match self.old {
            Some(old) => constant(old[first..first + rows].to_vec()),
            None => log_probabilities.clone().inner(),
        };
        let ratio = (log_probabilities.clone() - old).exp();
        let clipped = ratio.clone().clamp(1.0 - self.epsilon, 1.0 + self.epsilon_high);
        let gain = (ratio * weights.clone()).min_pair(clipped * weights);
        reference_penalty(self.batch, log_probabilities, first)
            .map_or_else(|| -gain.clone().sum(), |penalty| penalty - gain.clone().sum())
    }
}

#[cfg(test)]
mod tests {
    use tmem_core::model::ModelConfig;

    use super::*;
    use crate::Backend;
    use crate::model::{Reference, Sequence, Target, track};

    const WEIGHTS: [f32; 5] = [1.0, 1.0, -1.0, -1.0, 0.5];
    const OLD: [f32; 5] = [-1.0, -1.0, -1.0, -1.0, -2.0];
    const NOW: [f32; 5] = [-1.1, -0.5, -0.9, -1.6, -2.0];

    fn batch(reference: Option<Reference>) -> Batch {
        let json = r#"{"model_type":"llama","num_hidden_layers":1,"hidden_size":8,"num_attention_heads":2,
            "intermediate_size":8,"vocab_size":50,"max_position_embeddings":8,"rms_norm_eps":1e-5}"#;
        let config = ModelConfig::from_hf_config_json(json).unwrap();
        let target = |(position, weight)| Target { position, token: 1, weight, reference };
        let targets = (0..).zip(WEIGHTS).map(target).collect();
        Batch::pack(&config, &[Sequence { tokens: vec![1; 5], targets, ..Sequence::default() }], 0).unwrap()
    }

    /// The loss and its gradient by every log-probability.
    fn loss(objective: &PolicyGradient<'_>) -> (f64, Vec<f64>) {
        let device = Backend::Flex.device(false).unwrap();
        let input = Tensor::<2>::from_data(TensorData::new(NOW.to_vec(), [1, 5]), &device.clone().without_autodiff());
        let input = track(input, &device);
        let loss = objective.loss(input.clone().reshape([5]), 0);
        let mut gradients = loss.backward();
        let gradient = input.grad_remove(&mut gradients).unwrap();
        let value = read(&loss.inner()).unwrap()[0];
        (f64::from(value), read(&gradient).unwrap().into_iter().map(f64::from).collect())
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-5
    }

    #[test]
    fn ratios_beyond_the_clip_no_longer_pull() {
        let batch = batch(None);
        let objective = PolicyGradient::new(&batch, Some(&OLD), 0.2, 0.3);
        let (value, gradient) = loss(&objective);
        let ratio: Vec<f64> = NOW.iter().zip(OLD).map(|(now, old)| f64::from(now - old).exp()).collect();
        // Above 1.3 with praise and below 0.8 with blame the clipped term is the smaller one.
        let expected = -(ratio[0] + 1.3 - ratio[2] - 0.8 + 0.5 * ratio[4]);
        assert!(close(value, expected), "{value} {expected}");
        for (found, expected) in gradient.iter().zip([-ratio[0], 0.0, ratio[2], 0.0, -0.5 * ratio[4]]) {
            assert!(close(*found, expected), "{gradient:?}");
        }
        assert_eq!(objective.log_probabilities().unwrap(), NOW);
    }

    #[test]
    fn without_old_ones_the_gradient_is_the_advantage() {
        let batch = batch(None);
        let (value, gradient) = loss(&PolicyGradient::new(&batch, None, 0.2, 0.2));
        assert!(close(value, -0.5), "{value}");
        assert!(gradient.iter().zip(WEIGHTS).all(|(found, weight)| close(*found, -f64::from(weight))), "{gradient:?}");
    }

    #[test]
    fn a_reference_holds_the_policy_back() {
        let batch = batch(Some(Reference { log_probability: -1.0, weight: 0.1 }));
        let (value, gradient) = loss(&PolicyGradient::new(&batch, None, 0.2, 0.2));
        let apart: Vec<f64> = NOW.iter().map(|now| -1.0 - f64::from(*now)).collect();
        let expected = -0.5 + apart.iter().map(|d| 0.1 * (d.exp() - d - 1.0)).sum::<f64>();
        assert!(close(value, expected), "{value} {expected}");
        for ((found, d), weight) in gradient.iter().zip(apart).zip(WEIGHTS) {
            assert!(close(*found, 0.1 * (1.0 - d.exp()) - f64::from(weight)), "{gradient:?}");
        }
    }
}
