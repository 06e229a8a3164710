//! What a probe reports. The serialised form is the file format of `trainer probe --json`.

use serde::{Deserialize, Serialize};
use tmem_core::card::Card;
use tmem_core::fast::{DeltaId, SiteNorm, WriteOutcome};
use tmem_core::settings::Settings;

use super::{Asked, CardSource};

/// A whole probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The model's name and hash.
    pub model: String,
    /// The adapter it ran on.
    pub adapter: String,
    /// The preset the settings started from.
    pub preset: String,
    /// Who wrote the cards.
    pub cards: CardSource,
    /// All settings.
    pub settings: Settings,
    /// The seed.
    pub seed: u64,
    /// One stage per conversation written.
    pub stages: Vec<StageReport>,
}

/// What was known and what was damaged after one conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// Name of the conversation just written.
    pub after: String,
    /// Recall of this and all earlier conversations with the fast weights, gated as the settings say.
    pub conversations: Vec<ConversationScores>,
    /// Damage with the fast weights, gated as the settings say.
    pub controls: ControlScores,
    /// The same figures with the gate forced open.
    pub ungated: Figures,
    /// The same figures of the frozen twin.
    pub frozen: Figures,
    /// What was written.
    pub write: WriteSummary,
    /// Where the time went.
    pub seconds: Seconds,
    /// Tokens of this stage.
    pub tokens: Tokens,
    /// The most bytes held on the GPU at once, up to the end of this stage.
    pub peak_gpu_bytes: u64,
    /// Every question with its answers.
    pub answers: Vec<Asked>,
}

/// Recall and damage under one choice of weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Recall per conversation.
    pub conversations: Vec<ConversationScores>,
    /// Damage.
    pub controls: ControlScores,
}

/// Recall of one conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversationScores {
    /// The conversation.
    pub name: String,
    /// The questions as an oracle's cards have them.
    pub trained: Scores,
    /// Wordings that no oracle's card has; absent where the file has none.
    pub held_out: Option<Scores>,
}

/// Means over questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Share of answers that contain a key.
    pub contains: f64,
    /// Mean token F1 against the reference answer.
    pub f1: f64,
}

/// What the controls say. A figure is absent where the controls have nothing to ask for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ControlScores {
    /// Share of right answers to general knowledge, among the questions the frozen twin answers rightly.
    pub knowledge_kept: Option<f64>,
    /// Share of unknown questions answered with a key of any conversation written so far.
    pub leak: Option<f64>,
    /// Mean over the neutral prompts of KL(frozen twin ‖ these weights), in nats.
    pub kl: Option<f64>,
}

/// All writes of one stage; a transcript longer than the token budget is written in several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WriteSummary {
    /// How each write ended.
    pub outcomes: Vec<WriteOutcome>,
    /// Cross entropy of each step, in nats, before the step.
    pub losses: Vec<f32>,
    /// KL(base ‖ current) of each step on its anchor prompts, in nats, before the step.
    pub kl: Vec<f32>,
    /// ‖ΔW‖_F / ‖W‖_F per site after the last write.
    pub norms: Vec<SiteNorm>,
    /// (wording, answer) pairs trained on, replayed ones included.
    pub pairs: usize,
    /// Times the trust region scaled Δ back.
    pub trust_region_hits: usize,
    /// Δ after the last write.
    pub delta: DeltaId,
    /// The cards written in this stage.
    pub cards: Vec<Card>,
    /// Items the writer wrote that were not learned.
    pub dropped: usize,
    /// What the rollout warned of.
    pub warnings: Vec<String>,
}

/// Seconds of one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Reading the conversation.
    pub prefill: f64,
    /// Writing the cards.
    pub writing: f64,
    /// Training the fast weights.
    pub training: f64,
    /// Asking all questions and controls.
    pub answering: f64,
}

/// Tokens of one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Prompt tokens read.
    pub read: u64,
    /// Tokens generated.
    pub generated: u64,
}
