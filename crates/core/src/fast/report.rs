//! What a write tells about itself.

use serde::{Deserialize, Serialize};

/// Names one state of the fast weights. Two equal ids within a rollout are the same Δ, and equal hashes on the same
/// adapter are the same bits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeltaId {
    /// Number of writes since the last reset; 0 means Δ = 0.
    pub version: u64,
    /// Sha-256 of B's bytes (little-endian f32, in site order), in hexadecimal.
    pub hash: String,
}

/// Size of Δ at one site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteNorm {
    /// Layer, counted from 0 at the input.
    pub layer: usize,
    /// Projection, by its usual name (`gate_proj`, …).
    pub projection: String,
    /// ‖ΔW‖_F / ‖W‖_F.
    pub relative: f32,
}

/// One optimizer step of a write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Step, counted from 0.
    pub step: usize,
    /// Steps planned.
    pub steps: usize,
    /// Mean cross entropy over the answer tokens of the batch, in nats, before the step.
    pub loss: f32,
    /// Mean KL(base ‖ current) over the anchor positions of the batch, in nats, before the step.
    pub kl: f32,
    /// Share of answer tokens that are already the model's most probable choice above 0.5.
    pub learned: f32,
    /// ‖ΔW‖_F / ‖W‖_F of every site after the step, in site order.
    pub norms: Vec<f32>,
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum WriteOutcome {
    /// All planned steps were taken.
    Completed,
    /// The loss was low enough before the last planned step.
    StoppedEarly,
    /// Stopped from outside; Δ holds the steps taken so far.
    Aborted,
    /// A value was not finite; Δ is what it was before the write.
    RolledBack {
        /// What was not finite.
        reason: String,
    },
    /// There was nothing to learn.
    Nothing,
}

/// A whole write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteReport {
    /// How it ended.
    pub outcome: WriteOutcome,
    /// Each step.
    pub steps: Vec<StepReport>,
    /// Size of Δ per site afterwards.
    pub norms: Vec<SiteNorm>,
    /// Δ afterwards.
    pub delta: DeltaId,
    /// Number of (wording, answer) pairs trained on, replayed ones included.
    pub pairs: usize,
    /// Times the trust region scaled Δ back.
    pub trust_region_hits: usize,
}
