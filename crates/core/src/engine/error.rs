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
    /// A saved state under another state's name.
    #[error("the saved fast weights are not those that their hash {0} names: save them again")]
    WrongHash(String),
    /// Fast weights with an A of their own in a batch with others.
    #[error(
        "an imported adapter has its own A, which fast weights of one batch share: \
         restore it and ask under it alone"
    )]
    OtherA,
    /// Not even one Δ has room besides the one in force.
    #[error(
        "this GPU binds {limit} bytes at once, two sets of fast weights need {needed}: \
         set a smaller fast.rank or fast.layers, or restore each of them and ask under it alone"
    )]
    NoSlot {
        /// Bytes of two slots.
        needed: u64,
        /// Bytes the device can bind at once.
        limit: u64,
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
