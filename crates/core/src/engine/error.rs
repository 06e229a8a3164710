//! What the engine can fail with.

use tmem_gpu::GpuError;

use crate::fast::SiteError;
use crate::fast::svd::SvdError;
use crate::model::chat_template::ChatTemplateError;
use crate::model::tokenizer::TokenizerError;
use crate::rollout::policy::PolicyError;

/// A failure of the engine, with the way out in the message.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The GPU refused, was lost, or is out of memory.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The settings name sites that the model does not have.
    #[error(transparent)]
    Sites(#[from] SiteError),
    /// The singular vectors of a weight could not be found.
    #[error(transparent)]
    Svd(#[from] SvdError),
    /// The conversation could not be rendered.
    #[error(transparent)]
    Template(#[from] ChatTemplateError),
    /// A text could not be turned into tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The prompt does not fit.
    #[error("the prompt has {tokens} tokens, the model takes {limit}: shorten it or write to memory first")]
    PromptTooLong {
        /// Tokens of the prompt and what shall follow it.
        tokens: usize,
        /// Tokens there is room for.
        limit: usize,
    },
    /// The cache has no room.
    #[error("no room for {tokens} tokens in a cache of {slots}: use a larger cache or a shorter context")]
    CacheFull {
        /// Tokens asked for.
        tokens: usize,
        /// Tokens the cache holds.
        slots: usize,
    },
    /// The model produced something that is no number.
    #[error("the model's logits are not finite: reset the fast weights, or run the self-test of this device")]
    NotFinite,
    /// A saved state that does not belong to these settings.
    #[error(
        "the saved fast weights hold {found} numbers, these settings have {wanted}: \
         use the settings they were made with"
    )]
    WrongState {
        /// Numbers in the state.
        found: usize,
        /// Numbers wanted.
        wanted: usize,
    },
    /// Fast weights were asked for without sites.
    #[error("these settings adapt no layer: set fast.layers to at least 1")]
    NoSites,
    /// A card that is longer than a training batch.
    #[error("a card has {tokens} tokens with its question, a training batch takes {limit}: shorten its answer")]
    CardTooLong {
        /// Tokens of the card.
        tokens: usize,
        /// Tokens there is room for.
        limit: usize,
    },
    /// Prompts that cannot be trained on together.
    #[error("the prompts of a training batch must begin with the same token, and their answers must not be empty")]
    NoSharedPrefix,
    /// An adapter file that does not fit.
    #[error("the adapter does not fit these settings: {0}")]
    Adapter(String),
}

impl From<EngineError> for PolicyError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::PromptTooLong { tokens, limit } => Self::PromptTooLong { tokens, limit },
            other => Self::Model(Box::new(other)),
        }
    }
}
