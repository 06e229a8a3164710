//! The probe: conversations are written into the fast weights one after the other; after each, everything learned so
//! far is asked for without any context, and controls show what the writing damaged.

mod ask;
mod engine;
mod record;
mod report;
mod run;
mod score;
mod scripted;

use serde::{Deserialize, Serialize};
use tmem_core::message::Message;
use tmem_core::rollout::AgentError;
use tmem_core::rollout::policy::{Policy, PolicyError, Weights};
use tmem_core::settings::Settings;

pub use ask::{Asked, Kind, Reply};
pub use report::{
    ControlScores, ConversationScores, Figures, ProbeReport, Scores, Seconds, StageReport, Tokens, WriteSummary,
};
pub use run::{Probe, Progress};

/// Who writes the cards of a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardSource {
    /// A perfect writer: one card per fact of the file.
    Oracle,
    /// The model itself, through the rollout and its writer.
    #[default]
    Own,
}

/// What a subject has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens read.
    pub tokens_read: u64,
    /// Tokens generated.
    pub tokens_generated: u64,
    /// The most bytes ever held on the GPU at once.
    pub peak_gpu_bytes: u64,
}

/// A policy that can be probed.
#[allow(async_fn_in_trait)]
pub trait Subject: Policy {
    /// KL(frozen ‖ `weights`) of the first token of the answer to each prompt, in nats, one value per prompt.
    ///
    /// # Errors
    /// A prompt that is too long, or a failure of the model.
    async fn kl_to_frozen(&mut self, prompts: &[Vec<Message>], weights: Weights) -> Result<Vec<f32>, PolicyError>;

    /// What was used since the subject was made.
    fn usage(&self) -> Usage;

    /// Takes other settings into use. What it had learned may be lost.
    ///
    /// # Errors
    /// Settings that do not fit the model.
    async fn configure(&mut self, settings: &Settings) -> Result<(), PolicyError>;
}

/// Why a probe ended before its report.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The model failed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The rollout could not go on.
    #[error(transparent)]
    Agent(AgentError),
    /// Stopped from outside.
    #[error("stopped")]
    Aborted,
    /// A conversation without the part this probe needs.
    #[error("conversation `{0}` has no transcript to read: use its oracle cards, or give a file with one")]
    NoTranscript(String),
}

impl From<AgentError> for ProbeError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Aborted => Self::Aborted,
            other => Self::Agent(other),
        }
    }
}
