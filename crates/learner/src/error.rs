//! What the learner can fail with.

use std::path::PathBuf;

use burn::tensor::TensorReadError;
use tmem_core::fast::peft::PeftError;

use crate::BackendError;

/// A failure of the learner, with the way out in the message.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// A backend that is not there.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An adapter that cannot be read or written.
    #[error(transparent)]
    Peft(#[from] PeftError),
    /// A sequence that the model cannot read.
    #[error("sequence {index} {reason}")]
    Sequence {
        /// Place among the sequences given, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// Fast weights that do not fit the model or each other.
    #[error("the fast weights {0}")]
    Fast(String),
    /// Settings out of range.
    #[error("{name} = {value} is not possible: {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is possible.
        expected: String,
    },
    /// A batch from which nothing can be learned.
    #[error("nothing to learn: the step's sequences have no target with a weight")]
    NoTargets,
    /// A model with nothing to train.
    #[error("the model has nothing to train: give it a slow adapter, or train all of it")]
    NothingTrained,
    /// A loss or gradient that is no number.
    #[error(
        "step {step}: {what} is not finite; nothing was changed. Use a smaller learning rate or a lower max_grad_norm"
    )]
    NotFinite {
        /// Steps taken before it.
        step: usize,
        /// The loss or the gradient's norm.
        what: String,
    },
    /// A conversation that cannot be made or turned into tokens.
    #[error("a training text cannot be made: {0}")]
    Text(String),
    /// A checkpoint that cannot be written or read.
    #[error("the checkpoint {path}: {reason}")]
    Checkpoint {
        /// File or folder.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// A saved state that is not of this run.
    #[error("the saved training state does not fit: {0}")]
    State(String),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
}

impl From<TensorReadError> for LearnError {
    fn from(error: TensorReadError) -> Self {
        Self::Device(error.to_string())
    }
}
