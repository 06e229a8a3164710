//! What a model looks like: sizes and constants of the Llama family.

use serde::Deserialize;

use super::gguf::{GgufError, GgufHeader};

/// Which components of a head RoPE rotates together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Components 2i and 2i + 1 (the original Llama; GGUF files of the `llama` architecture, whose query and key rows
    /// the converter reordered for it).
    Interleaved,
    /// Components i and i + d/2 (Hugging Face's `rotate_half`).
    Half,
}

/// Sizes and constants of a Llama-style model: RMSNorm before attention and feed-forward, RoPE, grouped-query
/// attention, SwiGLU, no biases.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Components of a head (`heads · head_dim` need not be `hidden`).
    pub head_dim: usize,
    /// Width of the feed-forward block.
    pub ffn: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Longest sequence the model was trained on, in tokens.
    pub context: usize,
    /// Base of RoPE's angles: component pair i of d/2 turns by position · theta^(−2i/d).
    pub rope_theta: f32,
    /// Which components RoPE pairs.
    pub rope_style: RopeStyle,
    /// Added to the mean square in RMSNorm.
    pub norm_epsilon: f32,
    /// True where the token embedding is also the output matrix.
    pub tied_embeddings: bool,
}

/// Why a model's description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An entry of a GGUF file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A `config.json` that is not JSON or lacks an entry.
    #[error("config.json: {0}")]
    Json(String),
    /// Another architecture.
    #[error("models of architecture `{0}` are not supported, only those of the Llama family (`llama`)")]
    Architecture(String),
    /// A variant of the architecture that the engine does not compute.
    #[error("the model uses {0}, which is not supported")]
    Unsupported(String),
    /// Numbers that do not fit together or are beyond any model.
    #[error("the model's description is not consistent: {0}")]
    Inconsistent(String),
}

impl ModelConfig {
    /// Reads the description in a GGUF file's metadata (keys `llama.*`).
    ///
    /// # Errors
    /// Another architecture, a missing or wrong entry (named), numbers that do not fit together, or an embedding
    /// tensor that disagrees with them.
    pub fn from_gguf(header: &GgufHeader) -> Result<Self, ConfigError> {
        let metadata = &header.metadata;
        let architecture: &str = metadata.get("general.architecture")?;
        if architecture != "llama" {
            return Err(ConfigError::Architecture(architecture.to_owned()));
        }
        if let Some(scaling) = metadata.find::<&str>("llama.rope.scaling.type")?.filter(|&s| s != "none") {
            return Err(ConfigError::Unsupported(format!("RoPE scaling of type `{scaling}`")));
        }
        if header.tensor("rope_freqs.weight").is_some() {
            return Err(ConfigError::Unsupported("RoPE frequency factors (`rope_freqs.weight`)".into()));
        }
        if metadata.find::<u32>("llama.expert_count")?.is_some_and(|n| n > 0) {
            return Err(ConfigError::Unsupported("a mixture of experts".into()));
        }
        let embedding = "token_embd.weight";
        let (_, embedding) =
            header.tensor(embedding).ok_or_else(|| GgufError::tensor(embedding, "is missing from the file"))?;
        let hidden: usize = metadata.get("llama.embedding_length")?;
        let heads: usize = metadata.get("llama.attention.head_count")?;
        let head_dim = match metadata.find("llama.attention.key_length")? {
            Some(length) => length,
            None => quotient("llama.embedding_length", hidden, "llama.attention.head_count", heads)?,
        };
        let same_as_head = |key: &str| match metadata.find::<usize>(key) {
            Ok(Some(length)) if length != head_dim => {
                Err(ConfigError::Unsupported(format!("`{key}` = {length} with heads of {head_dim}")))
            }
            other => Ok(other.map(|_| ())?),
        };
        same_as_head("llama.attention.value_length")?;
        same_as_head("llama.rope.dimension_count")?;
        let config = Self {
            layers: metadata.get("llama.block_count")?,
            hidden,
            heads,
            kv_heads: metadata.find("llama.attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            ffn: metadata.get("llama.feed_forward_length")?,
            vocab: embedding.rows,
            context: metadata.get("llama.context_length")?,
            rope_theta: metadata.find("llama.rope.freq_base")?.unwrap_or(10_000.0),
            rope_style: RopeStyle::Interleaved,
            norm_epsilon: metadata.get("llama.attention.layer_norm_rms_epsilon")?,
            tied_embeddings: header.tensor("output.weight").is_none(),
        };
        if embedding.row_len != hidden {
            let reason = format!("has rows of {}, `llama.embedding_length` is {hidden}", embedding.row_len);
            return Err(GgufError::tensor(&embedding.name, reason).into());
        }
        if let Some(vocab) = metadata.find::<usize>("llama.vocab_size")?.filter(|&v| v != config.vocab) {
            let reason = format!("has {} rows, `llama.vocab_size` is {vocab}", embedding.rows);
            return Err(GgufError::tensor(&embedding.name, reason).into());
        }
        config.validated()
    }

    /// Reads a Hugging Face `config.json` (as beside a safetensors file).
    ///
    /// # Errors
    /// Not JSON, a missing entry, another architecture, or numbers that do not fit together.
    pub fn from_hf_config_json(json: &str) -> Result<Self, ConfigError> {
        let raw: HfConfig = serde_json::from_str(json).map_err(|error| ConfigError::Json(error.to_string()))?;
        if raw.model_type != "llama" {
            return Err(ConfigError::Architecture(raw.model_type));
        }
        if raw.attention_bias || raw.mlp_bias {
            return Err(ConfigError::Unsupported("biases in linear layers".into()));
        }
        if raw.hidden_act != "silu" {
            return Err(ConfigError::Unsupported(format!("the activation `{}`", raw.hidden_act)));
        }
        // Written as `rope_scaling` up to transformers 4, as `rope_parameters` (with theta) from 5 on.
        let rope = raw.rope_parameters.or(raw.rope_scaling).unwrap_or_default();
        if let Some(kind) = rope.rope_type.as_deref().filter(|&kind| kind != "default") {
            return Err(ConfigError::Unsupported(format!("RoPE scaling of type `{kind}`")));
        }
        Self {
            layers: raw.num_hidden_layers,
            hidden: raw.hidden_size,
            heads: raw.num_attention_heads,
            kv_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
            head_dim: match raw.head_dim {
                Some(dim) => dim,
                None => quotient("hidden_size", raw.hidden_size, "num_attention_heads", raw.num_attention_heads)?,
            },
            ffn: raw.intermediate_size,
            vocab: raw.vocab_size,
            context: raw.max_position_embeddings,
            rope_theta: rope.rope_theta.or(raw.rope_theta).unwrap_or(10_000.0),
            rope_style: RopeStyle::Half,
            norm_epsilon: raw.rms_norm_eps,
            tied_embeddings: raw.tie_word_embeddings,
        }
        .validated()
    }

    /// Query heads that share a key and value head.
    pub fn heads_per_kv_head(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Length of all query heads together (the outputs of the query projection).
    pub fn query_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Length of all key heads together (the outputs of the key projection, and of the value projection).
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn validated(self) -> Result<Self, ConfigError> {
        // Generous bounds: beyond them the numbers are damage, and products of two stay within 32 bits.
        let bounded = [
            ("layers", self.layers, 1 << 10),
            ("hidden size", self.hidden, 1 << 16),
            ("heads", self.heads, 1 << 10),
            ("key and value heads", self.kv_heads, 1 << 10),
            ("head size", self.head_dim, 1 << 10),
            ("feed-forward size", self.ffn, 1 << 20),
            ("vocabulary", self.vocab, 1 << 22),
            ("context length", self.context, 1 << 24),
        ];
        for (what, value, limit) in bounded {
            if value == 0 || value > limit {
                return Err(ConfigError::Inconsistent(format!("{what} = {value}, expected 1 to {limit}")));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let reason = format!("{} heads cannot share {} key and value heads evenly", self.heads, self.kv_heads);
            return Err(ConfigError::Inconsistent(reason));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::Inconsistent(format!("RoPE needs an even head size, not {}", self.head_dim)));
        }
        if !self.rope_theta.is_finite() || self.rope_theta < 1.0 {
            return Err(ConfigError::Inconsistent(format!("RoPE base = {}", self.rope_theta)));
        }
        if !self.norm_epsilon.is_finite() || !(0.0..1.0).contains(&self.norm_epsilon) {
            return Err(ConfigError::Inconsistent(format!("RMSNorm epsilon = {}", self.norm_epsilon)));
        }
        Ok(self)
    }
}

fn quotient(what: &str, value: usize, by_what: &str, by: usize) -> Result<usize, ConfigError> {
    match value.checked_rem(by) {
        Some(0) => Ok(value / by),
        _ => Err(ConfigError::Inconsistent(format!("`{what}` = {value} is not a multiple of `{by_what}` = {by}"))),
    }
}

#[derive(Deserialize)]
struct HfConfig {
    model_type: String,
    num_hidden_layers: usize,
    hidden_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "silu")]
    hidden_act: String,
    rope_theta: Option<f32>,
    rope_scaling: Option<HfRope>,
    rope_parameters: Option<HfRope>,
}

#[derive(Default, Deserialize)]
struct HfRope {
    rope_type: Option<String>,
    rope_theta: Option<f32>,
}

fn silu() -> String {
    "silu".to_owned()
}

#[cfg(test)]
impl ModelConfig {
    /// A shape no larger than it must be, in which no two sizes are equal.
    pub(crate) fn for_tests() -> Self {
        Self {
            layers: 4,
            hidden: 12,
            heads: 2,
            kv_heads: 1,
            head_dim: 8,
            ffn: 20,
            vocab: 30,
            context: 64,
            rope_theta: 1e4,
            rope_style: RopeStyle::Interleaved,
            norm_epsilon: 1e-5,
            tied_embeddings: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gguf::tests::header_of;
    use super::super::gguf::writer::GgufWriter;
    use super::*;

    fn tiny() -> GgufWriter {
        GgufWriter::new()
            .string("general.architecture", "llama")
            .u32("llama.block_count", 2)
            .u32("llama.embedding_length", 12)
            .u32("llama.attention.head_count", 3)
            .u32("llama.feed_forward_length", 20)
            .u32("llama.context_length", 64)
            .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    }

    fn embedding(writer: GgufWriter) -> GgufWriter {
        writer.tensor("token_embd.weight", &[12, 7], 0, &[0; 12 * 7 * 4])
    }

    fn read(writer: GgufWriter) -> Result<ModelConfig, ConfigError> {
        ModelConfig::from_gguf(&header_of(&writer.finish()).unwrap())
    }

    #[test]
    fn missing_entries_have_the_defaults_of_the_llama_architecture() {
        let config = read(embedding(tiny())).unwrap();
        let expected = ModelConfig {
            layers: 2,
            hidden: 12,
            heads: 3,
            kv_heads: 3,
            head_dim: 4,
            ffn: 20,
            vocab: 7,
            context: 64,
            rope_theta: 10_000.0,
            rope_style: RopeStyle::Interleaved,
            norm_epsilon: 1e-5,
            tied_embeddings: true,
        };
        assert_eq!(config, expected);
        assert_eq!((config.heads_per_kv_head(), config.query_dim(), config.kv_dim()), (1, 12, 12));
    }

    #[test]
    fn given_entries_win_and_an_output_tensor_unties_the_head() {
        let config = read(
            embedding(
                tiny()
                    .u32("llama.attention.head_count_kv", 1)
                    .u32("llama.attention.key_length", 6)
                    .u32("llama.rope.dimension_count", 6)
                    .f32("llama.rope.freq_base", 1e5),
            )
            .tensor("output.weight", &[12, 7], 0, &[0; 12 * 7 * 4]),
        )
        .unwrap();
        assert_eq!((config.kv_heads, config.head_dim, config.query_dim()), (1, 6, 18));
        assert_eq!((config.rope_theta, config.tied_embeddings), (1e5, false));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases: [(GgufWriter, &str); 8] = [
            (tiny(), "token_embd.weight"),
            (embedding(GgufWriter::new()), "general.architecture"),
            (embedding(GgufWriter::new().string("general.architecture", "gemma")), "gemma"),
            (embedding(GgufWriter::new().string("general.architecture", "llama")), "llama.embedding_length"),
            (embedding(tiny().u32("llama.attention.head_count_kv", 2)), "3 heads cannot share 2"),
            (embedding(tiny().u32("llama.rope.dimension_count", 2)), "llama.rope.dimension_count"),
            (embedding(tiny().u32("llama.vocab_size", 8)), "llama.vocab_size"),
            (embedding(tiny().f32("llama.rope.freq_base", f32::NAN)), "llama.rope.freq_base"),
        ];
        for (writer, part) in cases {
            let message = read(writer).unwrap_err().to_string();
            assert!(message.contains(part), "{message:?} does not name {part:?}");
        }
    }

    #[test]
    fn a_hugging_face_config_is_read_in_both_of_its_rope_spellings() {
        let common = r#""model_type":"llama","num_hidden_layers":2,"hidden_size":48,"num_attention_heads":6,
            "num_key_value_heads":2,"intermediate_size":64,"vocab_size":100,"max_position_embeddings":128,
            "rms_norm_eps":1e-5"#;
        for rope in [r#""rope_theta":5e4"#, r#""rope_parameters":{"rope_type":"default","rope_theta":5e4}"#] {
            let config = ModelConfig::from_hf_config_json(&format!("{{{common},{rope}}}")).unwrap();
            assert_eq!((config.rope_theta, config.rope_style, config.head_dim), (5e4, RopeStyle::Half, 8));
            assert!(!config.tied_embeddings);
        }
        let scaled = format!(r#"{{{common},"rope_scaling":{{"rope_type":"llama3"}}}}"#);
        assert!(ModelConfig::from_hf_config_json(&scaled).unwrap_err().to_string().contains("llama3"));
        assert!(ModelConfig::from_hf_config_json("{").unwrap_err().to_string().contains("config.json"));
    }
}
