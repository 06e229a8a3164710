//! The model in burn: built from the same file as the engine's, computed apart from its kernels.

mod attention;
mod batch;
mod fast;
mod forward;
mod gradient;
mod precision;
mod slow;
mod weights;

use burn::tensor::{Device, FloatDType, Int, Tensor, activation};
use tmem_core::model::{HostModel, ModelConfig};

pub use batch::{Anchor, Batch, FastUse, Reference, Sequence, Target};
pub use fast::FastWeights;
pub use gradient::{Backward, FastGradient, LossSums, Objective, WeightedLikelihood};
pub use precision::Precision;
pub use slow::{SlowAdapter, SlowSettings};
pub use weights::Weights;

use crate::LearnError;
pub(crate) use forward::Begun;
use forward::{Pass, indices};
pub(crate) use gradient::{add_gradient, reference_penalty};
pub(crate) use weights::matrix;

/// Rows of logits that are held at once: bounds memory by chunk · vocabulary, whatever the batch.
const HEAD_ROWS: usize = 128;

/// What of a model is trained.
#[derive(Debug, Clone)]
enum Trained {
    Nothing,
    Slow(SlowAdapter),
    All(Box<Weights>),
}

/// Which of a model's two states is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// θ0 as the file has it.
    Base,
    /// What training has made of it so far.
    Trained,
}

/// θ0 with what is trained of it.
#[derive(Debug, Clone)]
pub struct Model {
    config: ModelConfig,
    /// With gradients.
    device: Device,
    base: Weights,
    precision: Precision,
    trained: Trained,
}

impl Model {
    /// Uploads a model; nothing of it is trained yet.
    pub fn new(model: &HostModel, device: &Device) -> Self {
        let base = Weights::new(&model.config, &model.weights, &device.clone().without_autodiff());
        let (config, device) = (model.config.clone(), device.clone());
        Self { config, device, base, precision: Precision::F32, trained: Trained::Nothing }
    }

    /// Holds what is frozen of the layers in another precision. A copy of all of θ0 that is trained stays in f32, so it
    /// is to be asked for afterwards.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { base: self.base.in_precision(precision), precision, ..self }
    }

    /// Trains a slow adapter; θ0 itself stays.
    #[must_use]
    pub fn with_slow_adapter(self, adapter: SlowAdapter) -> Self {
        Self { trained: Trained::Slow(adapter), ..self }
    }

    /// Trains a copy of all of θ0.
    #[must_use]
    pub fn with_all_trained(self) -> Self {
        let trained = Trained::All(Box::new(self.base.map(|tensor| track(tensor.cast(FloatDType::F32), &self.device))));
        Self { trained, ..self }
    }

    /// θ0 with an adapter merged into it, nothing of it trained.
    #[must_use]
    pub fn merged(&self, adapter: &SlowAdapter) -> Self {
        Self { base: self.base.merged(adapter), trained: Trained::Nothing, ..self.clone() }
    }

    /// The same model with leaves of its own for what is trained. burn locks the graphs that a leaf is part of: two threads
    /// that share leaves wait for each other, at times for ever.
    #[must_use]
    pub(crate) fn with_own_leaves(&self) -> Self {
        let mut own = self.clone();
        for parameter in own.parameters_mut() {
            *parameter = track(parameter.clone(), &self.device);
        }
        own
    }

    /// Sizes and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The slow adapter, where one is trained.
    pub fn slow_adapter(&self) -> Option<&SlowAdapter> {
        match &self.trained {
            Trained::Slow(adapter) => Some(adapter),
            Trained::Nothing | Trained::All(_) => None,
        }
    }

    /// What is trained, by name, in a fixed order.
    pub(crate) fn parameters(&self) -> Vec<(String, &Tensor<2>)> {
        match &self.trained {
            Trained::Nothing => Vec::new(),
            Trained::Slow(adapter) => adapter.named(),
            Trained::All(weights) => weights.named(),
        }
    }

    /// What is trained, to be replaced, in the order of [`Self::parameters`].
    pub(crate) fn parameters_mut(&mut self) -> Vec<&mut Tensor<2>> {
        match &mut self.trained {
            Trained::Nothing => Vec::new(),
            Trained::Slow(adapter) => adapter.tensors_mut(),
            Trained::All(weights) => weights.tensors_mut(),
        }
    }

    /// Logits at every target of a batch, one row of the vocabulary a target. For tests and small batches: they are
    /// all held at once.
    ///
    /// # Errors
    /// Fast weights that are not there, or a failure of the device.
    pub fn logits(&self, state: State, batch: &Batch, fast: Option<&FastWeights>) -> Result<Vec<Vec<f32>>, LearnError> {
        let mut all = Vec::with_capacity(batch.targets.len());
        self.each_logits(state, batch, fast, |logits, _| {
            all.extend(read(&logits)?.chunks(self.config.vocab).map(<[f32]>::to_vec));
            Ok(())
        })?;
        Ok(all)
    }

    /// Log-probability of every target of a batch, in nats, in the order of [`Batch::targets`].
    ///
    /// # Errors
    /// Fast weights that are not there, or a failure of the device.
    pub fn log_probabilities(
        &self,
        state: State,
        batch: &Batch,
        fast: Option<&FastWeights>,
    ) -> Result<Vec<f32>, LearnError> {
        let mut all = Vec::with_capacity(batch.targets.len());
        self.each_logits(state, batch, fast, |logits, first| {
            all.extend(read(&target_log_probabilities(logits, batch, first))?);
            Ok(())
        })?;
        Ok(all)
    }

    /// Gives `take` the logits at all targets, without gradients, in chunks; with each the index of its first target.
    fn each_logits(
        &self,
        state: State,
        batch: &Batch,
        fast: Option<&FastWeights>,
        mut take: impl FnMut(Tensor<2>, usize) -> Result<(), LearnError>,
    ) -> Result<(), LearnError> {
        if batch.targets.is_empty() {
            return Ok(());
        }
        let places: Vec<usize> = batch.targets.iter().map(|&(place, _)| place).collect();
        let (input, head) = self.head_input(state, batch, &places, fast)?;
        for first in (0..places.len()).step_by(HEAD_ROWS) {
            let rows = HEAD_ROWS.min(places.len() - first);
            take(input.clone().narrow(0, first, rows).matmul(head.clone().transpose()), first)?;
        }
        Ok(())
    }

    /// What the head reads at `places`, and the head, without gradients.
    fn head_input(
        &self,
        state: State,
        batch: &Batch,
        places: &[usize],
        fast: Option<&FastWeights>,
    ) -> Result<(Tensor<2>, Tensor<2>), LearnError> {
        let device = self.plain_device();
        let fast = fast.map(|fast| fast.of(batch, &device)).transpose()?.flatten();
        let frozen = self.frozen();
        let (weights, slow) = frozen.parts(state);
        let pass = Pass { config: &self.config, weights, slow, fast: fast.as_ref(), begun: None };
        let input = pass.head_input(batch, places, &device).inner();
        Ok((input, weights.head().clone()))
    }

    /// A batch up to the lowest layer that `fast` changes, for [`Self::fast_backward`]: the same for every B.
    pub(crate) fn begin(&self, batch: &Batch, fast: &FastWeights) -> Begun {
        let device = self.plain_device();
        let frozen = self.frozen();
        let (weights, slow) = frozen.parts(State::Trained);
        let pass = Pass { config: &self.config, weights, slow, fast: None, begun: None };
        pass.up_to(fast.first_layer(), batch, &device)
    }

    /// Weights and slow adapter that make up the model in one of its states.
    fn parts(&self, state: State) -> (&Weights, Option<&SlowAdapter>) {
        match (state, &self.trained) {
            (State::Base, _) | (_, Trained::Nothing) => (&self.base, None),
            (_, Trained::Slow(adapter)) => (&self.base, Some(adapter)),
            (_, Trained::All(weights)) => (weights, None),
        }
    }

    /// The same model without gradients by what is trained.
    fn frozen(&self) -> Self {
        let trained = match &self.trained {
            Trained::Nothing => Trained::Nothing,
            Trained::Slow(adapter) => Trained::Slow(adapter.detached()),
            Trained::All(weights) => Trained::All(Box::new(weights.map(Tensor::inner))),
        };
        Self { trained, ..self.clone() }
    }

    /// The device without gradients.
    fn plain_device(&self) -> Device {
        self.device.clone().without_autodiff()
    }
}

/// Log-probabilities \[rows\] of a batch's targets from number `first` on, from their logits \[rows, vocab\].
fn target_log_probabilities(logits: Tensor<2>, batch: &Batch, first: usize) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let tokens = batch.targets[first..first + rows].iter().map(|(_, target)| target.token as usize);
    let tokens: Tensor<2, Int> = indices(tokens, &logits.device().without_autodiff()).reshape([rows, 1]);
    activation::log_softmax(logits, 1).gather(1, tokens).reshape([rows])
}

/// A leaf that gradients are kept for, in the way that `device` keeps them.
pub(crate) fn track(tensor: Tensor<2>, device: &Device) -> Tensor<2> {
    let tensor = tensor.inner().autodiff();
    match device.gradient_checkpointing_strategy() {
        Some(strategy) => tensor.with_gradient_checkpointing_strategy(strategy).require_grad(),
        None => tensor.require_grad(),
    }
}

/// A tensor's values.
pub(crate) fn read<const D: usize>(tensor: &Tensor<D>) -> Result<Vec<f32>, LearnError> {
    Ok(tensor.clone().inner().try_into_vec_as::<f32>()?)
}
