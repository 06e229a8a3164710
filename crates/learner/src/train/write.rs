//! The write operator T in the learner: a few steps on B, as the engine takes them. What the base model is trained
//! under is a Δ like those it will meet.

use serde::{Deserialize, Serialize};
use tmem_core::fast::peft::PeftAdapter;

use super::AdamWSettings;
use super::optimizer::Optimizer;
use crate::LearnError;
use crate::model::{Backward, Batch, FastWeights, LossSums, Model, WeightedLikelihood};

/// How a write is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriteSettings {
    /// Rate of every step.
    pub learning_rate: f64,
    /// Steps; batches are taken in turn.
    pub steps: usize,
    /// The optimizer's constants.
    pub adamw: AdamWSettings,
}

impl Default for WriteSettings {
    fn default() -> Self {
        Self { learning_rate: 1e-3, steps: 20, adamw: AdamWSettings::default() }
    }
}

/// T(Δ, cards): trains the B of `start` (whose A stays) on batches whose sequences are computed under Δ number 0.
/// Returns Δ and the losses before each step. θ0 and the slow adapter are constants.
///
/// # Errors
/// No batch, a Δ that does not fit, a loss that is not finite, or a failure of the device.
pub fn simulate_write(
    model: &Model,
    start: &PeftAdapter,
    batches: &[Batch],
    settings: &WriteSettings,
) -> Result<(PeftAdapter, Vec<LossSums>), LearnError> {
    if batches.is_empty() {
        return Err(LearnError::NoTargets);
    }
    let fast = FastWeights::new(model.config(), std::slice::from_ref(start), model.device())?;
    let mut fast = fast.with_gradients(model.device());
    let mut optimizer = Optimizer::new(&settings.adamw, start.sites.len());
    let mut losses = Vec::with_capacity(settings.steps);
    // What lies below the fast weights is the same at every step.
    let begun: Vec<_> = batches.iter().map(|batch| (batch, model.begin(batch, &fast))).collect();
    for (step, (batch, begun)) in begun.iter().cycle().take(settings.steps).enumerate() {
        let objective = WeightedLikelihood { batch };
        let Backward { losses: loss, gradients } = model.fast_backward(batch, &fast, &objective, begun)?;
        if !loss.total().is_finite() {
            return Err(LearnError::NotFinite { step, what: format!("the loss of a write ({})", loss.total()) });
        }
        optimizer.step(settings.learning_rate, fast.b_mut(), gradients);
        losses.push(loss);
    }
    let written = fast.to_peft(0)?.ok_or(LearnError::NoTargets)?;
    Ok((written, losses))
}
