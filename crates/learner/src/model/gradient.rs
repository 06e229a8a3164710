//! The loss of a batch and its gradient.
//!
//! Head and loss run in chunks of rows, each with a backward pass of its own down to the head's input; what they leave
//! there goes through the layers in one more pass. So the logits of a large vocabulary are never held whole, and any
//! loss that is a sum over targets can be used.

use burn::tensor::{Device, Gradients, Tensor, TensorData, activation};
use tmem_core::fast::Projection;

use super::forward::{Begun, Pass};
use super::{Batch, FastWeights, HEAD_ROWS, Model, State, read, target_log_probabilities, track};
use crate::LearnError;

/// A loss over the log-probabilities of a batch's targets, a sum over targets.
pub trait Objective {
    /// The summed loss \[1\] of the targets from number `first` on, whose log-probabilities are given, \[targets\].
    fn loss(&self, log_probabilities: Tensor<1>, first: usize) -> Tensor<1>;
}

/// Σ weight · (−log p), and for targets with a reference Σ weight · (e^δ − δ − 1) with δ = log p_ref − log p: an
/// estimate of KL(current ‖ reference) from the tokens at hand, never negative.
#[derive(Debug, Clone, Copy)]
pub struct WeightedLikelihood<'a> {
    /// The batch whose targets' weights count.
    pub batch: &'a Batch,
}

impl Objective for WeightedLikelihood<'_> {
    fn loss(&self, log_probabilities: Tensor<1>, first: usize) -> Tensor<1> {
        let ([rows], device) = (log_probabilities.dims(), log_probabilities.device().without_autodiff());
        let weights: Vec<f32> = self.batch.targets().skip(first).take(rows).map(|target| -target.weight).collect();
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [rows]), &device);
        let likelihood = (log_probabilities.clone() * weights).sum();
        match reference_penalty(self.batch, log_probabilities, first) {
            Some(penalty) => likelihood + penalty,
            None => likelihood,
        }
    }
}

/// Σ weight · (e^δ − δ − 1) with δ = log p_ref − log p, \[1\], over the targets from number `first` on that have a
/// reference; `None` where none has.
pub(crate) fn reference_penalty(batch: &Batch, log_probabilities: Tensor<1>, first: usize) -> Option<Tensor<1>> {
    let ([rows], device) = (log_probabilities.dims(), log_probabilities.device().without_autodiff());
    let references = || batch.targets().skip(first).take(rows).map(|target| target.reference);
    if references().all(|reference| reference.is_none()) {
        return None;
    }
    let constant = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [rows]), &device);
    // Without a reference the weight is 0, and what stands for it does not matter.
    let weights = constant(references().map(|r| r.map_or(0.0, |r| r.weight)).collect());
    let reference = constant(references().map(|r| r.map_or(0.0, |r| r.log_probability)).collect());
    let apart = reference - log_probabilities;
    let penalty = apart.clone().exp() - apart.add_scalar(1.0);
    Some((penalty * weights).sum())
}

/// The sums that make up a loss.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossSums {
    /// The objective over all targets.
    pub objective: f64,
    /// Σ weight · KL(base ‖ current) over all anchors, in nats.
    pub anchors: f64,
}

impl LossSums {
    /// All together.
    pub fn total(self) -> f64 {
        self.objective + self.anchors
    }
}

impl std::ops::AddAssign for LossSums {
    fn add_assign(&mut self, other: Self) {
        self.objective += other.objective;
        self.anchors += other.anchors;
    }
}

/// A loss and its gradient by every parameter, in the order of the model's parameters; `None` where a parameter has no
/// part in the loss.
#[derive(Debug, Clone)]
pub struct Backward {
    /// The loss.
    pub losses: LossSums,
    pub(crate) gradients: Vec<Option<Tensor<2>>>,
}

/// ∂loss/∂B of one projection.
#[derive(Debug, Clone, PartialEq)]
pub struct FastGradient {
    /// Layer, counted from 0 at the input.
    pub layer: usize,
    /// Which projection.
    pub projection: Projection,
    /// \[deltas, outputs, rank\], flat.
    pub gradient: Vec<f32>,
}

impl Model {
    /// The loss of a batch and its gradient by what is trained. Fast weights have none of their own.
    ///
    /// # Errors
    /// Nothing is trained, fast weights that are not there, or a failure of the device.
    pub fn backward(
        &self,
        batch: &Batch,
        fast: Option<&FastWeights>,
        objective: &dyn Objective,
    ) -> Result<Backward, LearnError> {
        let parameters: Vec<&Tensor<2>> = self.parameters().into_iter().map(|(_, tensor)| tensor).collect();
        if parameters.is_empty() {
            return Err(LearnError::NothingTrained);
        }
        self.gradients(batch, fast, objective, &parameters, State::Base, None)
    }

    /// The loss of a batch and its gradient by the B of fast weights
    /// [with gradients](FastWeights::with_gradients). This is what the write operator T follows; the learner itself
    /// never does.
    ///
    /// # Errors
    /// Fast weights that are not there, or a failure of the device.
    pub fn fast_gradients(
        &self,
        batch: &Batch,
        fast: &FastWeights,
        objective: &dyn Objective,
    ) -> Result<(LossSums, Vec<FastGradient>), LearnError> {
        let begun = self.begin(batch, fast);
        let Backward { losses, gradients } = self.fast_backward(batch, fast, objective, &begun)?;
        let mut all = Vec::with_capacity(gradients.len());
        for ((layer, projection, b), gradient) in fast.b().zip(gradients) {
            let gradient = match gradient {
                Some(gradient) => read(&gradient)?,
                None => vec![0.0; b.shape().num_elements()],
            };
            all.push(FastGradient { layer, projection, gradient });
        }
        Ok((losses, all))
    }

    /// [`Self::fast_gradients`] as tensors, in the order of [`FastWeights::b`]; `begun` is the batch up to the lowest
    /// layer of `fast` ([`Self::begin`]).
    pub(crate) fn fast_backward(
        &self,
        batch: &Batch,
        fast: &FastWeights,
        objective: &dyn Objective,
        begun: &Begun,
    ) -> Result<Backward, LearnError> {
        let leaves: Vec<&Tensor<2>> = fast.b().map(|(_, _, b)| b).collect();
        // What is trained slowly is a constant here, and what Δ is held to is the model without Δ.
        self.frozen().gradients(batch, Some(fast), objective, &leaves, State::Trained, Some(begun))
    }

    /// The loss and its gradient by `leaves`; anchors are held to the model in the state `anchor`, without Δ. Where
    /// nothing below a layer matters to the gradient, `begun` may say what those layers leave.
    fn gradients(
        &self,
        batch: &Batch,
        fast: Option<&FastWeights>,
        objective: &dyn Objective,
        leaves: &[&Tensor<2>],
        anchor: State,
        begun: Option<&Begun>,
    ) -> Result<Backward, LearnError> {
        let targets = batch.targets.len();
        let places: Vec<usize> = batch
            .targets
            .iter()
            .map(|&(place, _)| place)
            .chain(batch.anchors.iter().map(|&(place, _)| place))
            .collect();
        let mut sum = GradientSum { leaves, gradients: vec![None; leaves.len()] };
        if places.is_empty() {
            return Ok(Backward { losses: LossSums::default(), gradients: sum.gradients });
        }
        let device = self.plain_device();
        let chosen = fast.map(|fast| fast.of(batch, &device)).transpose()?.flatten();
        let (weights, slow) = self.parts(State::Trained);
        let pass = Pass { config: &self.config, weights, slow, fast: chosen.as_ref(), begun };
        let input = pass.head_input(batch, &places, &device);
        let cut = HeadInput { input: input.clone().inner(), head: weights.head(), device: &self.device };
        let mut upstream = Vec::new();
        let objective_sum = cut.each_chunk(0..targets, &mut sum, &mut upstream, |logits, first| {
            objective.loss(target_log_probabilities(logits, batch, first), first)
        })?;
        let mut anchor_sum = 0.0;
        if !batch.anchors.is_empty() {
            let (base, base_head) = self.head_input(anchor, batch, &places[targets..], None)?;
            anchor_sum = cut.each_chunk(targets..places.len(), &mut sum, &mut upstream, |logits, first| {
                let [rows, _] = logits.dims();
                let base = base.clone().narrow(0, first - targets, rows).matmul(base_head.clone().transpose());
                let weights = batch.anchors[first - targets..][..rows].iter().map(|(_, anchor)| anchor.weight);
                let weights = TensorData::new(weights.collect::<Vec<f32>>(), [rows, 1]);
                weighted_kl(base, logits, Tensor::from_data(weights, &device))
            })?;
        }
        let scale = self.precision.loss_scale();
        let loss = (input * Tensor::cat(upstream, 0)).sum().mul_scalar(scale);
        if loss.is_tracked() {
            sum.add_scaled(loss.backward(), 1.0 / scale);
        }
        let losses = LossSums { objective: objective_sum, anchors: anchor_sum };
        Ok(Backward { losses, gradients: sum.gradients })
    }
}

/// Σ over rows of weight · KL(base ‖ current), from logits \[rows, vocab\] and weights \[rows, 1\].
fn weighted_kl(base: Tensor<2>, current: Tensor<2>, weights: Tensor<2>) -> Tensor<1> {
    let (base, current) = (activation::log_softmax(base, 1), activation::log_softmax(current, 1));
    (base.clone().exp() * (base - current) * weights).sum()
}

/// What the head reads, cut off from the layers below.
struct HeadInput<'a> {
    input: Tensor<2>,
    head: &'a Tensor<2>,
    device: &'a Device,
}

impl HeadInput<'_> {
    /// Runs head and loss over some rows, chunk by chunk. Gradients by the leaves (the head may be one) are added to
    /// `sum`, those by the input are appended to `upstream`; the summed loss is returned.
    fn each_chunk(
        &self,
        rows: std::ops::Range<usize>,
        sum: &mut GradientSum<'_>,
        upstream: &mut Vec<Tensor<2>>,
        loss: impl Fn(Tensor<2>, usize) -> Tensor<1>,
    ) -> Result<f64, LearnError> {
        let mut losses = Vec::new();
        for first in rows.clone().step_by(HEAD_ROWS) {
            let count = HEAD_ROWS.min(rows.end - first);
            let input = track(self.input.clone().narrow(0, first, count), self.device);
            let loss = loss(input.clone().matmul(self.head.clone().transpose()), first);
            let mut gradients = loss.backward();
            losses.push(loss.inner());
            upstream.push(input.grad_remove(&mut gradients).unwrap_or_else(|| input.clone().inner().zeros_like()));
            sum.add(gradients);
        }
        let losses = if losses.is_empty() { Vec::new() } else { read(&Tensor::cat(losses, 0))? };
        Ok(losses.into_iter().map(f64::from).sum())
    }
}

/// Adds a gradient to a sum; `None` is one that is nowhere different from 0.
pub(crate) fn add_gradient(sum: &mut Option<Tensor<2>>, gradient: Option<Tensor<2>>) {
    *sum = match (sum.take(), gradient) {
        (Some(sum), Some(gradient)) => Some(sum + gradient),
        (sum, gradient) => sum.or(gradient),
    };
}

/// Gradients by some leaves, summed over backward passes.
struct GradientSum<'a> {
    leaves: &'a [&'a Tensor<2>],
    gradients: Vec<Option<Tensor<2>>>,
}

impl GradientSum<'_> {
    fn add(&mut self, gradients: Gradients) {
        self.add_scaled(gradients, 1.0);
    }

    fn add_scaled(&mut self, mut gradients: Gradients, scale: f64) {
        for (leaf, sum) in self.leaves.iter().zip(&mut self.gradients) {
            let gradient = leaf.grad_remove(&mut gradients);
            add_gradient(
                sum,
                gradient.map(|gradient| if scale == 1.0 { gradient } else { gradient.mul_scalar(scale) }),
            );
        }
    }
}
