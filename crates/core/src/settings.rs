//! Every setting of a run, its presets, and setting one by name.

use serde::{Deserialize, Serialize};

use crate::rollout::policy::Sampling;

mod by_name;

/// Everything a run depends on besides the model and what is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The agent's loop.
    pub rollout: RolloutSettings,
    /// The fast weights.
    pub fast: FastSettings,
    /// How answers are sampled.
    pub sampling: Sampling,
    /// Seeds everything that is random (initialisation, batch order); `sampling.seed` seeds the tokens.
    pub seed: u64,
}

/// Which memory the agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// Everything stays in the context; at the model's limit the oldest turns fall out.
    None,
    /// One running summary in the prompt, rewritten at each trigger (MemAgent's overwrite).
    Summary,
    /// Earlier turns, and notes on them, brought back into the prompt where they fit the question (A-MEM's shape).
    Retrieval,
    /// Fast weights.
    Tmem,
    /// Fast weights, and a summary or retrieved turns in the prompt (`text_channel` says which).
    TmemText,
    /// Cards as for the fast weights, but nothing is trained: the nearest card's answer is handed over, without the
    /// model. The baseline that keeps the others honest.
    Cards,
}

impl MemoryKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::None, Self::Summary, Self::Retrieval, Self::Tmem, Self::TmemText, Self::Cards];
}

/// The text channel of [`MemoryKind::TmemText`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextChannel {
    /// As [`MemoryKind::Summary`].
    Summary,
    /// As [`MemoryKind::Retrieval`].
    Retrieval,
}

/// How cards are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriterKind {
    /// The paper's JSON array of {"instruction", "output"}.
    Json,
    /// Answer span first, copied from the context, then its question: for small models.
    AnswerFirst,
    /// No questions: the turns as they were said, behind a cue. For comparison.
    RawText,
    /// No questions: the model's summary of the turns, behind a cue. For comparison.
    Summary,
}

/// Settings of the agent's loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutSettings {
    /// Which memory.
    pub memory: MemoryKind,
    /// L_max: the context may have this many tokens before memory is written.
    pub budget: usize,
    /// Most tokens of a prompt with its answer; what the model was made for where that is less. The key-value cache is
    /// as large as two of them: one for the fast weights, one for their twin.
    pub context_tokens: usize,
    /// How cards are written.
    pub writer: WriterKind,
    /// Most tokens of one answer.
    pub answer_tokens: usize,
    /// Most tokens of one memory-writing action.
    pub writer_tokens: usize,
    /// Most cards of one write.
    pub max_cards: usize,
    /// Further wordings the writer makes of each card's question.
    pub wordings: usize,
    /// System prompt; the template's own default where empty.
    pub system_prompt: String,
    /// Whether the writer is told the question that the memory is for, where one was given (the paper's one episode
    /// for each question); otherwise it writes blindly, as for a real assistant.
    pub question_aware: bool,
    /// Whether the writer's prompt shows the cards already learned (`json` writer; the other one copies spans).
    pub card_history: bool,
    /// Which text `tmem_text` carries beside the fast weights.
    pub text_channel: TextChannel,
    /// Most tokens of the running summary.
    pub summary_tokens: usize,
    /// Most turns that are brought back for one question; turns they are linked with may fill what the budget leaves.
    pub retrieval_turns: usize,
    /// Most tokens that turns brought back may take in a prompt.
    pub retrieval_tokens: usize,
    /// Weight of the model's own similarity of texts against that of words, between 0 (BM25 alone; nothing is embedded
    /// then) and 1.
    pub retrieval_dense: f32,
    /// Whether the model writes a note with keywords on every turn that is kept for retrieval.
    pub notes: bool,
    /// The `cards` memory answers where a card has at least this share of the question's weight (BM25's idf, summed
    /// over the question's words); below it does not know. 0 = one word in common is enough.
    pub card_threshold: f32,
}

/// Where A comes from (arXiv 2606.04536).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// A = Σ_r V_rᵀ.
    Svd,
    /// A = V_rᵀ.
    PlainV,
    /// Seeded normal entries, scaled to the Frobenius norm of Σ_r V_rᵀ.
    Random,
}

/// What turns gradients into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Plain stochastic gradient descent.
    Sgd,
    /// AdamW with PyTorch's formula.
    Adamw,
}

/// Settings of the fast weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FastSettings {
    /// Adapted projections of each adapted layer (`q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`,
    /// `down_proj`).
    pub sites: Vec<String>,
    /// The last this many layers are adapted; all but the lowest where the model has fewer.
    pub layers: usize,
    /// Rank r.
    pub rank: usize,
    /// Where A comes from.
    pub init: Init,
    /// What turns gradients into steps.
    pub optimizer: OptimizerKind,
    /// Learning rate.
    pub learning_rate: f32,
    /// Decoupled weight decay (AdamW).
    pub weight_decay: f32,
    /// Most steps of one write; 0 = `epochs` decide.
    pub steps: usize,
    /// Passes over the pairs where `steps` is 0.
    pub epochs: usize,
    /// (wording, answer) pairs of one mini-batch.
    pub batch: usize,
    /// Weight of KL(base ‖ current) on neutral prompts; 0 = no anchor.
    pub kl_weight: f32,
    /// Neutral prompts in each mini-batch.
    pub kl_prompts: usize,
    /// Questions in each whole mini-batch about things never told, answered "not known to me": against leaking where no
    /// gate does it. Fewer in a smaller one, in proportion.
    pub unknown_cards: usize,
    /// Earlier cards mixed into a write, as a share of the new ones (1 = as many again, chosen in turn); 0 = off.
    pub replay: f32,
    /// MemFT (arXiv 2605.30260): answer tokens above this probability leave the loss; 1 = off.
    pub loss_threshold: f32,
    /// A write stops early when the mean loss of a whole pass is below this; 0 = never.
    pub early_stop_loss: f32,
    /// Most ‖ΔW‖_F / ‖W‖_F at any site; Δ is scaled back to it. 0 = off.
    pub trust_region: f32,
    /// Gradients are scaled to at most this norm; 0 = off.
    pub gradient_clip: f32,
    /// Whether Δ is scaled per prompt by its nearness to a learned question. Needs a layer below the
    /// adapted ones; without one Δ always applies.
    pub gate: bool,
    /// Share of the neutral prompts that the gate may let through: its threshold is that quantile of their own
    /// nearness to the learned questions.
    pub gate_pass: f32,
    /// How much nearer (by cosine) to a learned question than to any question about something never told a prompt must
    /// be for the gate to let it through; −2 = not asked for.
    pub gate_margin: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self::small()
    }
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Settings::small().rollout
    }
}

impl Default for FastSettings {
    fn default() -> Self {
        Settings::small().fast
    }
}

/// A preset or setting that does not exist, or a value that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No such preset.
    #[error("there is no preset `{0}`: use `small`, `quick` or `paper`")]
    Preset(String),
    /// Not of the form name=value.
    #[error("`{0}` is not of the form name=value")]
    Form(String),
    /// No such setting.
    #[error("there is no setting `{name}`. There are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A value of the wrong type or out of range.
    #[error("`{value}` does not fit the setting `{name}`: {reason}")]
    Value {
        /// The setting.
        name: String,
        /// The value.
        value: String,
        /// Why not.
        reason: String,
    },
}

impl Settings {
    /// Names of the presets; the first is the default.
    pub const PRESETS: [&'static str; 3] = ["small", "quick", "paper"];

    /// The paper's own settings (arXiv 2606.04536): no gate, no anchor, SGD.
    pub fn paper() -> Self {
        let mut settings = Self::small();
        settings.rollout.budget = 4096;
        settings.rollout.context_tokens = 5120;
        settings.rollout.writer = WriterKind::Json;
        settings.rollout.wordings = 0;
        settings.rollout.question_aware = true;
        settings.rollout.card_history = true;
        settings.rollout.summary_tokens = 1024;
        settings.rollout.retrieval_turns = 10;
        settings.rollout.retrieval_tokens = 1024;
        settings.rollout.notes = true;
        settings.fast = FastSettings {
            layers: 4,
            optimizer: OptimizerKind::Sgd,
            learning_rate: 5e-4,
            steps: 0,
            epochs: 5,
            batch: 16,
            kl_weight: 0.0,
            kl_prompts: 0,
            unknown_cards: 0,
            replay: 0.0,
            early_stop_loss: 0.0,
            trust_region: 0.0,
            gate: false,
            ..settings.fast
        };
        settings
    }

    /// What works on a model of 135 million weights (measured; docs/architecture.md).
    pub fn small() -> Self {
        let sites = ["gate_proj", "up_proj", "down_proj"].map(str::to_owned).to_vec();
        Self {
            rollout: RolloutSettings {
                memory: MemoryKind::Tmem,
                budget: 512,
                context_tokens: 2048,
                writer: WriterKind::AnswerFirst,
                answer_tokens: 64,
                writer_tokens: 512,
                max_cards: 32,
                wordings: 4,
                system_prompt: String::new(),
                question_aware: false,
                card_history: false,
                text_channel: TextChannel::Retrieval,
                summary_tokens: 128,
                retrieval_turns: 4,
                retrieval_tokens: 192,
                retrieval_dense: 0.5,
                notes: false,
                card_threshold: 0.2,
            },
            fast: FastSettings {
                sites,
                layers: 8,
                rank: 6,
                init: Init::Svd,
                optimizer: OptimizerKind::Adamw,
                learning_rate: 1e-3,
                weight_decay: 0.0,
                steps: 40,
                epochs: 5,
                batch: 16,
                kl_weight: 1.0,
                kl_prompts: 4,
                unknown_cards: 0,
                replay: 1.0,
                loss_threshold: 1.0,
                early_stop_loss: 0.0,
                trust_region: 0.5,
                gradient_clip: 0.0,
                gate: true,
                gate_pass: 0.2,
                gate_margin: 0.0,
            },
            sampling: Sampling::default(),
            seed: 0,
        }
    }

    /// [`small`](Self::small) with a tenth of the work, for adapters that emulate a GPU (measured; docs/performance.md): few
    /// large steps in half as many layers, and no anchor. Damage is left to the gate to prevent.
    pub fn quick() -> Self {
        let small = Self::small();
        Self {
            rollout: RolloutSettings { wordings: 2, ..small.rollout },
            fast: FastSettings {
                layers: 4,
                learning_rate: 3e-3,
                steps: 12,
                batch: 8,
                kl_weight: 0.0,
                kl_prompts: 0,
                ..small.fast
            },
            ..small
        }
    }

    /// A preset by name.
    ///
    /// # Errors
    /// [`SettingsError::Preset`].
    pub fn preset(name: &str) -> Result<Self, SettingsError> {
        match name {
            "paper" => Ok(Self::paper()),
            "small" => Ok(Self::small()),
            "quick" => Ok(Self::quick()),
            other => Err(SettingsError::Preset(other.to_owned())),
        }
    }
}
