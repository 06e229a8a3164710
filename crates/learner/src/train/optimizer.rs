//! AdamW over the parameters of a model, with one bound on the norm of the whole gradient.
//!
//! burn clips each tensor's gradient for itself; here the gradient is one vector, as in PyTorch's `clip_grad_norm_`.

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::LearnError;
use crate::model::{read, track};

/// AdamW's constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWSettings {
    /// Decay of the mean of gradients.
    pub beta_1: f32,
    /// Decay of the mean of squared gradients.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f32,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// The moments of one parameter.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    pub(super) steps: usize,
    pub(super) first: Tensor<2>,
    pub(super) second: Tensor<2>,
}

/// AdamW with the moments of every parameter, in the order of the model's.
pub(super) struct Optimizer {
    adamw: AdamW,
    /// `None` for a parameter that never had a gradient.
    pub(super) moments: Vec<Option<Moments>>,
}

impl Optimizer {
    pub(super) fn new(settings: &AdamWSettings, parameters: usize) -> Self {
        let adamw = AdamWConfig::new()
            .with_beta_1(settings.beta_1)
            .with_beta_2(settings.beta_2)
            .with_epsilon(settings.epsilon)
            .with_weight_decay(settings.weight_decay)
            .build();
        Self { adamw, moments: vec![None; parameters] }
    }

    /// One step. Parameters without a gradient stay as they are.
    pub(super) fn step(&mut self, rate: f64, parameters: Vec<&mut Tensor<2>>, gradients: Vec<Option<Tensor<2>>>) {
        for ((parameter, gradient), moments) in parameters.into_iter().zip(gradients).zip(&mut self.moments) {
            let Some(gradient) = gradient else { continue };
            let state = moments.take().map(|Moments { steps, first, second }| AdamWState {
                momentum: AdaptiveMomentumState { time: steps, moment_1: first, moment_2: second, max_moment_2: None },
            });
            let device = parameter.device();
            let (value, state) = self.adamw.step(rate, parameter.clone().inner(), gradient, state);
            *parameter = track(value, &device);
            *moments = state.map(|AdamWState { momentum }| Moments {
                steps: momentum.time,
                first: momentum.moment_1,
                second: momentum.moment_2,
            });
        }
    }
}

/// The Euclidean norm of all gradients as one vector.
pub(super) fn norm(gradients: &[Option<Tensor<2>>]) -> Result<f64, LearnError> {
    let squares: Vec<Tensor<1>> = gradients.iter().flatten().map(|g| g.clone().square().sum()).collect();
    if squares.is_empty() {
        return Ok(0.0);
    }
    let squares = read(&Tensor::cat(squares, 0))?;
    Ok(squares.into_iter().map(f64::from).sum::<f64>().sqrt())
}

/// Scales gradients of norm `norm` down to norm `limit` where they are longer.
pub(super) fn clip(gradients: &mut [Option<Tensor<2>>], norm: f64, limit: f64) {
    if norm > limit {
        for gradient in gradients.iter_mut().flatten() {
            *gradient = gradient.clone().mul_scalar(limit / norm);
        }
    }
}
