//! A training step: gradients of one batch or several, summed, clipped, applied.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::optimizer::{Optimizer, clip, norm};
use super::{AdamWSettings, Schedule};
use crate::LearnError;
use crate::model::{Batch, FastWeights, LossSums, Model, Objective, WeightedLikelihood, add_gradient};

/// How steps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSettings {
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// The optimizer's constants.
    pub adamw: AdamWSettings,
    /// Longest gradient; a longer one is scaled down to it.
    pub max_grad_norm: f64,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self { schedule: Schedule::default(), adamw: AdamWSettings::default(), max_grad_norm: 1.0 }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Number of the step, from 0.
    pub step: usize,
    /// The objective over all targets, before the step.
    pub objective: f64,
    /// Σ weight · KL(base ‖ current) over all anchors, before the step.
    pub anchors: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Tokens read.
    pub tokens: usize,
    /// Targets among them.
    pub targets: usize,
}

/// A batch of a step, with its fast weights and its loss.
pub struct Part<'a> {
    /// The sequences.
    pub batch: &'a Batch,
    /// The fast weights that they are computed under.
    pub fast: Option<&'a FastWeights>,
    /// The loss.
    pub objective: &'a dyn Objective,
}

/// Losses and gradients of some parts of a step, summed.
#[derive(Default)]
pub struct GradientSum {
    losses: LossSums,
    gradients: Vec<Option<Tensor<2>>>,
    tokens: usize,
    targets: usize,
}

impl GradientSum {
    /// Adds what other parts came to.
    pub fn add(&mut self, other: Self) {
        self.losses += other.losses;
        self.tokens += other.tokens;
        self.targets += other.targets;
        self.add_gradients(other.gradients);
    }

    fn add_gradients(&mut self, gradients: Vec<Option<Tensor<2>>>) {
        let length = self.gradients.len().max(gradients.len());
        self.gradients.resize_with(length, || None);
        for (sum, gradient) in self.gradients.iter_mut().zip(gradients) {
            add_gradient(sum, gradient);
        }
    }
}

/// What a step of the optimizer follows.
pub struct StepGradients {
    sum: GradientSum,
    /// Euclidean norm of all of it, before clipping.
    pub norm: f64,
}

/// A model in training.
pub struct TrainStep {
    pub(super) model: Model,
    pub(super) optimizer: Optimizer,
    pub(super) settings: TrainSettings,
    /// Steps taken.
    pub(super) steps: usize,
}

impl TrainStep {
    /// Begins the training of what is trained of `model`.
    ///
    /// # Errors
    /// Nothing of it is trained, or settings that are out of range.
    pub fn new(model: Model, settings: TrainSettings) -> Result<Self, LearnError> {
        let parameters = model.parameters().len();
        if parameters == 0 {
            return Err(LearnError::NothingTrained);
        }
        let (rate, limit) = (settings.schedule.learning_rate, settings.max_grad_norm);
        for (name, value) in [("learning_rate", rate), ("max_grad_norm", limit)] {
            if !(value.is_finite() && value > 0.0) {
                let expected = "a positive number".to_owned();
                return Err(LearnError::Setting { name, value: value.to_string(), expected });
            }
        }
        Ok(Self { model, optimizer: Optimizer::new(&settings.adamw, parameters), settings, steps: 0 })
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// One step on the summed [`WeightedLikelihood`] of some batches. Weights are used as they are given: to average
    /// over a step's targets, divide by their number over all of its batches.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn step(&mut self, batches: &[Batch], fast: Option<&FastWeights>) -> Result<StepReport, LearnError> {
        let objectives: Vec<_> = batches.iter().map(|batch| WeightedLikelihood { batch }).collect();
        let part = |(batch, objective)| Part { batch, fast, objective: objective as &dyn Objective };
        let parts: Vec<_> = batches.iter().zip(&objectives).map(part).collect();
        self.apply(&parts)
    }

    /// One step on the sum of the parts' losses.
    ///
    /// # Errors
    /// As [`Self::gradients`].
    pub fn apply(&mut self, parts: &[Part<'_>]) -> Result<StepReport, LearnError> {
        let gradients = self.gradients(parts)?;
        Ok(self.update(gradients))
    }

    /// The gradient of the sum of the parts' losses, for [`Self::update`].
    ///
    /// # Errors
    /// As [`Self::sum`] and [`Self::finish`].
    pub fn gradients(&self, parts: &[Part<'_>]) -> Result<StepGradients, LearnError> {
        self.finish(self.sum(parts)?)
    }

    /// Losses and gradients of parts of a step. They are computed one after the other, so that only one of them is in
    /// memory at a time. Several threads may do this with parts of one step.
    ///
    /// # Errors
    /// Fast weights that do not fit, a loss that is not finite, or a failure of the device.
    pub fn sum(&self, parts: &[Part<'_>]) -> Result<GradientSum, LearnError> {
        let (model, mut sum) = (self.model.with_own_leaves(), GradientSum::default());
        for part in parts {
            let backward = model.backward(part.batch, part.fast, part.objective)?;
            sum.losses += backward.losses;
            if !sum.losses.total().is_finite() {
                return Err(self.not_finite(format!("the loss ({} + {})", sum.losses.objective, sum.losses.anchors)));
            }
            sum.add_gradients(backward.gradients);
            sum.tokens += part.batch.tokens();
            sum.targets += part.batch.targets().len();
        }
        Ok(sum)
    }

    /// Checks the gradient of a whole step.
    ///
    /// # Errors
    /// Parts without a target, or a gradient that is not finite.
    pub fn finish(&self, sum: GradientSum) -> Result<StepGradients, LearnError> {
        if sum.gradients.iter().all(Option::is_none) {
            return Err(LearnError::NoTargets);
        }
        let norm = norm(&sum.gradients)?;
        if !norm.is_finite() {
            return Err(self.not_finite(format!("the gradient's norm ({norm})")));
        }
        Ok(StepGradients { sum, norm })
    }

    /// One step of the optimizer along gradients of the model as it is.
    pub fn update(&mut self, step_gradients: StepGradients) -> StepReport {
        let StepGradients { sum: GradientSum { losses, mut gradients, tokens, targets }, norm } = step_gradients;
        clip(&mut gradients, norm, self.settings.max_grad_norm);
        let (step, learning_rate) = (self.steps, self.settings.schedule.rate(self.steps));
        self.optimizer.step(learning_rate, self.model.parameters_mut(), gradients);
        self.steps += 1;
        StepReport {
            step,
            objective: losses.objective,
            anchors: losses.anchors,
            gradient_norm: norm,
            learning_rate,
            tokens,
            targets,
        }
    }

    /// A step in which there was nothing to learn: the model stays, the schedule goes on.
    pub fn skip(&mut self) {
        self.steps += 1;
    }

    fn not_finite(&self, what: String) -> LearnError {
        LearnError::NotFinite { step: self.steps, what }
    }
}
