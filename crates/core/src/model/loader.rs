//! A model file on its way to the GPU.

use sha2::{Digest, Sha256};
use tmem_gpu::Gpu;

use super::chat_template::{ChatTemplate, ChatTemplateError};
use super::config::{ConfigError, ModelConfig};
use super::gguf::{GgufError, GgufHeader, GgufReader, Metadata, TensorInfo};
use super::slow_adapter::SlowAdapter;
use super::tokenizer::{Tokenizer, TokenizerError};
use super::weights::{ModelWeights, TensorDescription, WeightsBuilder, WeightsError};
use crate::fast::peft::{PeftError, PeftFiles};
use crate::hash::hexadecimal;

/// Why a model file cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not a readable GGUF file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Not a model of a supported kind.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No usable tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// No usable chat template.
    #[error(transparent)]
    ChatTemplate(#[from] ChatTemplateError),
    /// Not a complete model, or no room for it.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The vocabulary and the embedding disagree.
    #[error("the tokenizer knows {tokens} tokens, the embedding has {rows} rows: the file is damaged")]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The file could not be read.
    #[error("the model file cannot be read: {0}")]
    Read(String),
    /// The slow adapter is not one of this model.
    #[error("the slow adapter: {0}")]
    SlowAdapter(#[from] PeftError),
    /// A loader that failed once cannot go on.
    #[error("loading failed before: start again")]
    Failed,
}

/// A model on the GPU, with its text side.
#[derive(Debug)]
pub struct Model {
    /// Sizes and constants.
    pub config: ModelConfig,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Messages to text.
    pub chat_template: ChatTemplate,
    /// The weights.
    pub weights: ModelWeights,
    /// `general.name` of the file.
    pub name: String,
    /// Sha-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// Sha-256 of the slow adapter that was merged into the weights.
    pub slow_adapter: Option<String>,
}

impl Model {
    /// What tells θ0 apart from every other: the file's hash, or one of it and the slow adapter's. Links, saved chats and
    /// runs are of one such θ0.
    pub fn identity(&self) -> String {
        identity(&self.sha256, self.slow_adapter.as_deref())
    }
}

/// [`Model::identity`] of a model file and a slow adapter, by their sha-256.
pub fn identity(model_sha256: &str, slow_adapter_sha256: Option<&str>) -> String {
    match slow_adapter_sha256 {
        None => model_sha256.to_owned(),
        Some(adapter) => hexadecimal(&Sha256::digest(format!("{model_sha256} with slow adapter {adapter}"))),
    }
}

/// Takes a GGUF file in chunks of any size, in order, and leaves it on the GPU. The file is never held whole.
pub struct ModelLoader {
    gpu: Gpu,
    reader: GgufReader,
    hash: Sha256,
    slow: Option<PeftFiles>,
    largest: u64,
    parts: Option<Parts>,
    failed: bool,
}

struct Parts {
    config: ModelConfig,
    builder: WeightsBuilder,
    slow_adapter: Option<String>,
}

impl ModelLoader {
    /// A loader onto `gpu`.
    pub fn new(gpu: &Gpu) -> Self {
        let (reader, hash) = (GgufReader::new(), Sha256::new());
        let largest = gpu.largest_binding();
        Self { gpu: gpu.clone(), reader, hash, slow: None, largest, parts: None, failed: false }
    }

    /// Holds no weight in a buffer of more than these bytes where it can be helped; the device's own limit otherwise. For
    /// tests.
    #[must_use]
    pub fn with_largest_weight(mut self, bytes: u64) -> Self {
        self.largest = bytes;
        self
    }

    /// Merges a slow adapter into the weights as they come.
    #[must_use]
    pub fn with_slow_adapter(mut self, files: PeftFiles) -> Self {
        self.slow = Some(files);
        self
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// The first thing that is wrong with the file, as early as it can be known. The loader is of no use afterwards.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        if self.failed {
            return Err(LoadError::Failed);
        }
        let done = self.take(bytes);
        self.failed = done.is_err();
        done
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        self.hash.update(bytes);
        let Self { gpu, reader, slow, largest, parts, .. } = self;
        // The header is read first; only then is it known where the tensors go.
        reader.push(bytes, |header, piece| {
            let parts = match parts {
                Some(parts) => parts,
                None => {
                    let config = ModelConfig::from_gguf(header)?;
                    let slow = slow.as_ref().map(|files| SlowAdapter::from_peft(&config, files)).transpose()?;
                    let slow_adapter = slow.as_ref().map(|adapter| adapter.sha256().to_owned());
                    let builder = WeightsBuilder::new(gpu, &config, describe(header), slow, *largest)?;
                    parts.insert(Parts { config, builder, slow_adapter })
                }
            };
            Ok::<(), LoadError>(parts.builder.push(piece.index, piece.first_row, piece.bytes)?)
        })
    }

    /// The model, once the whole file has been pushed.
    ///
    /// # Errors
    /// A file that ended too early, or that has no usable tokenizer or template.
    pub fn finish(self) -> Result<Model, LoadError> {
        if self.failed {
            return Err(LoadError::Failed);
        }
        let header = self.reader.finish()?;
        let Parts { config, builder, slow_adapter } = self.parts.ok_or(LoadError::Failed)?;
        let weights = builder.finish()?;
        let TextSide { tokenizer, chat_template, name } = TextSide::from_gguf(&header.metadata, config.vocab)?;
        let sha256 = hexadecimal(&self.hash.finalize());
        Ok(Model { config, tokenizer, chat_template, weights, name, sha256, slow_adapter })
    }
}

/// What a model file holds besides numbers.
pub(super) struct TextSide {
    pub(super) tokenizer: Tokenizer,
    pub(super) chat_template: ChatTemplate,
    pub(super) name: String,
}

impl TextSide {
    /// Reads it, for an embedding of `vocab` rows.
    pub(super) fn from_gguf(metadata: &Metadata, vocab: usize) -> Result<Self, LoadError> {
        let tokenizer = Tokenizer::from_gguf(metadata)?;
        if tokenizer.vocabulary() > vocab {
            return Err(LoadError::Vocabulary { tokens: tokenizer.vocabulary(), rows: vocab });
        }
        let chat_template = ChatTemplate::from_gguf(metadata, &tokenizer)?;
        let name = metadata.find::<&str>("general.name")?.unwrap_or("unnamed").to_owned();
        Ok(Self { tokenizer, chat_template, name })
    }
}

/// The tensors that a header lists.
pub(super) fn describe(header: &GgufHeader) -> Vec<TensorDescription> {
    let describe =
        |t: &TensorInfo| TensorDescription { name: t.name.clone(), rows: t.rows, row_len: t.row_len, source: t.source };
    header.tensors.iter().map(describe).collect()
}
