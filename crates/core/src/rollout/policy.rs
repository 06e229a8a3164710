//! What a rollout asks of a model. The engine on the GPU is one policy, a scripted one serves the tests.

use serde::{Deserialize, Serialize};

use crate::abort::Abort;
use crate::card::Card;
use crate::fast::{DeltaId, StepReport, WriteReport};
use crate::message::Message;

/// Which weights answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// θ0 + Δ, Δ scaled by the gate where the settings have one.
    #[default]
    Fast,
    /// θ0 + Δ with the gate forced open (scale 1).
    FastUngated,
    /// θ0 alone: the frozen twin.
    Frozen,
}

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keeps the k most probable tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the smallest set of tokens with at least this probability; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less probable than this share of the most probable one; 0 drops none.
    pub min_p: f32,
    /// Divides positive (multiplies negative) logits of tokens seen in the context; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Seeds the choice.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

/// One text to be generated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// The conversation, rendered with the model's own chat template.
    pub messages: Vec<Message>,
    /// Text the assistant's message already begins with; the generation continues it and does not repeat it.
    pub assistant_prefix: String,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Which weights answer.
    pub weights: Weights,
    /// Generation ends where one of these appears; the stop text is not part of the result.
    pub stop: Vec<String>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its turn, or a stop text appeared.
    Stop,
    /// `max_tokens` or the model's context length was reached.
    Length,
    /// Stopped from outside.
    Aborted,
}

/// What the gate decided for one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReading {
    /// Nearness to the learned questions: cosine to the nearest of them less half of that to the nearest neutral
    /// prompt, in the centred hidden space.
    pub similarity: f32,
    /// How much nearer the nearest learned question is than the nearest about something never told; `None` where there
    /// is none of those.
    #[serde(default)]
    pub lead: Option<f32>,
    /// The card that question belongs to.
    pub nearest_card: Option<u64>,
    /// Scale of Δ for this prompt, between 0 and 1.
    pub scale: f32,
}

/// A generated text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The text, without the end-of-turn token or the stop text.
    pub text: String,
    /// Its tokens, the end-of-turn token included where it was sampled.
    pub tokens: Vec<u32>,
    /// Log-probability of each token when it was sampled, in nats.
    pub log_probabilities: Vec<f32>,
    /// Tokens of the rendered prompt.
    pub prompt_tokens: usize,
    /// Why it ended.
    pub finish: Finish,
    /// The gate's decision, where a gate was asked.
    pub gate: Option<GateReading>,
    /// The Δ in force.
    pub delta: DeltaId,
}

/// One continuation to be scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRequest {
    /// The conversation before the assistant's message.
    pub messages: Vec<Message>,
    /// Text the assistant's message already begins with.
    pub assistant_prefix: String,
    /// The text whose probability is asked for.
    pub continuation: String,
    /// Which weights score.
    pub weights: Weights,
}

/// The probability of a continuation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Sum of the tokens' log-probabilities, in nats.
    pub log_probability: f32,
    /// Number of tokens scored.
    pub tokens: usize,
}

/// What a policy can fail with.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The prompt does not fit the model.
    #[error("the prompt has {tokens} tokens, the model takes {limit}: shorten it or write to memory first")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens the model can hold.
        limit: usize,
    },
    /// The model behind the policy failed (GPU lost, out of memory, bad template …).
    #[error(transparent)]
    Model(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// A saved state of the fast weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Which state it is.
    pub delta: DeltaId,
    /// B of every site, flat, in site order. Serialised as base64 of its little-endian bytes: exact, and a quarter of
    /// the decimal digits.
    #[serde(with = "base64_f32")]
    pub b: Vec<f32>,
    /// A of every site, flat, where it is not the one that the settings give (an imported adapter).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a: Option<Vec<f32>>,
    /// The cards the state was trained on; the gate needs their questions.
    pub cards: Vec<Card>,
}

/// Vectors as base64 of their little-endian bytes.
pub(crate) mod base64_f32 {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text).map_err(D::Error::custom)?;
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(D::Error::custom("the bytes are not whole f32 values"));
        }
        Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
    }
}

/// The model as a rollout sees it. Futures need not be `Send`: in the browser everything lives on one thread.
#[allow(async_fn_in_trait)]
pub trait Policy {
    /// Most tokens a prompt and its generation can have together.
    fn context_length(&self) -> usize;

    /// Length in tokens of the rendered conversation.
    ///
    /// # Errors
    /// A template that cannot render these messages.
    fn count_tokens(&self, messages: &[Message]) -> Result<usize, PolicyError>;

    /// Generates all requests as one batch. `observe` gets the index of the request and each new piece of its text.
    ///
    /// # Errors
    /// A prompt that is too long, or a failure of the model.
    async fn generate(
        &mut self,
        requests: &[GenerateRequest],
        observe: &mut dyn FnMut(usize, &str),
        abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError>;

    /// Scores all continuations as one batch.
    ///
    /// # Errors
    /// A prompt that is too long, or a failure of the model.
    async fn score(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Score>, PolicyError>;

    /// Embeds texts: for each a direction of unit length, the same whatever else is in the batch and whatever Δ is, so
    /// that texts embedded before and after a write can be compared. All have the same number of dimensions.
    ///
    /// # Errors
    /// A failure of the model. A text longer than the model takes is no error: its beginning is embedded.
    async fn embed(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, PolicyError>;

    /// The write operator T (arXiv 2606.04536): trains Δ on `cards`, starting from the current Δ. `replay` holds all earlier
    /// cards; how many of them are mixed in against forgetting is the setting `fast.replay`, and the gate learns the
    /// questions of all of them.
    ///
    /// # Errors
    /// A failure of the model. A non-finite value is not an error: Δ is rolled back and the report says so.
    async fn learn(
        &mut self,
        cards: &[Card],
        replay: &[Card],
        observe: &mut dyn FnMut(&StepReport),
        abort: &Abort,
    ) -> Result<WriteReport, PolicyError>;

    /// The Δ in force.
    fn delta(&self) -> DeltaId;

    /// Saves Δ.
    ///
    /// # Errors
    /// A failure of the model.
    async fn snapshot(&mut self) -> Result<Snapshot, PolicyError>;

    /// Puts a saved Δ back.
    ///
    /// # Errors
    /// A snapshot of other sites or another rank, or a failure of the model.
    async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), PolicyError>;

    /// Δ ← 0.
    ///
    /// # Errors
    /// A failure of the model.
    async fn reset(&mut self) -> Result<(), PolicyError>;
}
