//! What a rollout tells while it runs: one stream for the page, the command line, evaluation, training and replay.

use serde::{Deserialize, Serialize};

use super::memory::{Passage, Recalled};
use super::policy::{Finish, GateReading, GenerateRequest, Generation, Weights};
use super::writer::Dropped;
use crate::card::Card;
use crate::fast::{DeltaId, StepReport, WriteReport};
use crate::message::Message;

/// Whose text a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The agent: θ0 + Δ.
    Agent,
    /// The frozen twin: θ0 alone.
    Twin,
    /// The agent writing cards.
    Writer,
}

/// Which kind of action a segment is (arXiv 2606.04536).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// An answer.
    Ordinary,
    /// Text a writer sampled.
    MemoryWriting,
}

/// Sampled tokens with all that reinforcement learning needs (arXiv 2606.04536): log π_{θ0+Δ}(tokens | messages, prefix).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Kind of action.
    pub kind: SegmentKind,
    /// The conversation it was sampled after.
    pub messages: Vec<Message>,
    /// Text the assistant's message already began with.
    pub assistant_prefix: String,
    /// Sampled tokens.
    pub tokens: Vec<u32>,
    /// Log-probability of each token when it was sampled, in nats.
    pub log_probabilities: Vec<f32>,
    /// The weights it was sampled under.
    pub weights: Weights,
    /// The Δ in force.
    pub delta: DeltaId,
    /// Scale of Δ, where a gate was asked.
    pub gate_scale: Option<f32>,
    /// Why it ended.
    pub finish: Finish,
}

impl Segment {
    pub(crate) fn new(kind: SegmentKind, request: &GenerateRequest, generation: &Generation) -> Self {
        Self {
            kind,
            messages: request.messages.clone(),
            assistant_prefix: request.assistant_prefix.clone(),
            tokens: generation.tokens.clone(),
            log_probabilities: generation.log_probabilities.clone(),
            weights: request.weights,
            delta: generation.delta.clone(),
            gate_scale: generation.gate.as_ref().map(|g| g.scale),
            finish: generation.finish,
        }
    }
}

/// What the frozen twin said to the same prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Twin {
    /// Its text.
    pub text: String,
    /// Tokens it generated.
    pub tokens: usize,
    /// Why it ended.
    pub finish: Finish,
}

/// An ordinary action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked or said.
    pub question: String,
    /// The agent's text.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub tokens: usize,
    /// Why it ended.
    pub finish: Finish,
    /// The gate's decision, where a gate was asked.
    pub gate: Option<GateReading>,
    /// The Δ in force.
    pub delta: DeltaId,
    /// The frozen twin's answer, where it was asked.
    pub twin: Option<Twin>,
    /// What memory brought to this question: text for the prompt, or the answer itself. The latter has no tokens.
    #[serde(default)]
    pub recalled: Recalled,
}

impl Answer {
    pub(super) fn new(question: &str, agent: Generation, twin: Option<Generation>, recalled: Recalled) -> Self {
        Self {
            question: question.to_owned(),
            text: agent.text,
            prompt_tokens: agent.prompt_tokens,
            tokens: agent.tokens.len(),
            finish: agent.finish,
            gate: agent.gate,
            delta: agent.delta,
            twin: twin.map(|t| Twin { text: t.text, tokens: t.tokens.len(), finish: t.finish }),
            recalled,
        }
    }
}

/// Something the person should know although the rollout goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Warning {
    /// The oldest turns fell out of the context because the model cannot hold more.
    TurnsDropped {
        /// Turns dropped now.
        turns: usize,
        /// Turns dropped since the last reset.
        total: usize,
    },
    /// The oldest turns do not stand in the prompt of a question, because the model cannot hold them with it. The
    /// context keeps them.
    TurnsLeftOut {
        /// Turns left out; of several questions the most.
        turns: usize,
    },
    /// The writer reached its token limit; what it wrote last may be missing.
    WriterTruncated {
        /// The limit.
        limit: usize,
    },
    /// The running summary reached its token limit; it is kept as far as it got.
    SummaryTruncated {
        /// The limit.
        limit: usize,
    },
    /// The writer found nothing to remember.
    NothingWritten {
        /// Items it wrote that had to be dropped.
        dropped: usize,
    },
    /// Earlier cards are no longer replayed, because new ones answer their questions differently.
    CardsSuperseded {
        /// Ids of the earlier cards.
        ids: Vec<u64>,
    },
    /// A write or retraining was given up: context, cards and Δ are what they were before it.
    WriteAbandoned {
        /// Why.
        reason: String,
    },
    /// A recorded action could not be replayed.
    ActionSkipped {
        /// Its place in the script.
        index: usize,
        /// Why.
        reason: String,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TurnsDropped { turns, total } => {
                write!(f, "{turns} oldest turn(s) fell out of the context ({total} so far): the model cannot hold more")
            }
            Self::TurnsLeftOut { turns } => {
                write!(f, "{turns} oldest turn(s) were left out of a prompt: the model cannot hold more")
            }
            Self::SummaryTruncated { limit } => {
                write!(f, "the summary was cut at its limit of {limit} tokens: raise rollout.summary_tokens")
            }
            Self::WriterTruncated { limit } => {
                write!(f, "the writer reached its limit of {limit} tokens: raise rollout.writer_tokens")
            }
            Self::NothingWritten { dropped: 0 } => f.write_str("the writer found nothing to remember"),
            Self::NothingWritten { dropped } => {
                write!(f, "nothing was remembered: all {dropped} item(s) written had to be dropped")
            }
            Self::CardsSuperseded { ids } => {
                let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
                write!(f, "new cards take the place of card {}: the later answer holds", ids.join(", "))
            }
            Self::WriteAbandoned { reason } => {
                write!(f, "nothing was learned ({reason}); the context is kept and writing is tried again later")
            }
            Self::ActionSkipped { index, reason } => write!(f, "action {index} of the recipe was skipped: {reason}"),
        }
    }
}

/// News from a rollout, in the order it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The person said something.
    TurnStarted {
        /// Number of the turn since the last reset, from 0.
        turn: usize,
        /// What was said.
        text: String,
    },
    /// A piece of generated text.
    Token {
        /// Whose.
        speaker: Speaker,
        /// Place of the question in the batch; 0 for turns and single questions.
        index: usize,
        /// The piece.
        text: String,
    },
    /// The gate decided for a prompt.
    Gate {
        /// Place of the question in the batch.
        index: usize,
        /// The decision.
        reading: GateReading,
    },
    /// An ordinary action is complete.
    Answer(Answer),
    /// Sampled tokens, for reinforcement learning.
    Segment(Segment),
    /// A turn is in the context.
    TurnFinished {
        /// Number of the turn.
        turn: usize,
        /// ℓ(h) + ℓ(m) now, in tokens.
        tokens: usize,
        /// L_max.
        budget: usize,
    },
    /// ℓ(h) + ℓ(m) is above L_max.
    Trigger {
        /// ℓ(h) + ℓ(m), in tokens; the turn about to be answered included.
        tokens: usize,
        /// L_max.
        budget: usize,
    },
    /// A memory-writing action begins.
    WritingStarted {
        /// Turns it is about.
        turns: usize,
    },
    /// A memory-writing action is complete.
    CardsWritten {
        /// What will be learned.
        cards: Vec<Card>,
        /// What was not, and why.
        dropped: Vec<Dropped>,
    },
    /// The cards of a write are kept as they are; the strategy trains nothing.
    CardsKept {
        /// How many.
        cards: usize,
    },
    /// The explicit memory m has changed.
    MemoryWritten {
        /// What is new in it: the new summary, or the turns and notes that are kept from now on.
        passages: Vec<Passage>,
        /// What was dropped: turns that no prompt can hold, notes on something else. With cards it is told with them.
        dropped: Vec<Dropped>,
    },
    /// Training begins.
    LearningStarted {
        /// Cards to be learned.
        cards: usize,
        /// Earlier cards at hand against forgetting.
        replay: usize,
        /// Whether Δ was set to zero and earlier writes are taken again (after a card was forgotten or edited).
        from_zero: bool,
    },
    /// One optimizer step.
    Step(StepReport),
    /// Training is over.
    WriteFinished(WriteReport),
    /// h ← ∅.
    ContextCleared {
        /// Turns that were in it.
        turns: usize,
    },
    /// A card was forgotten.
    CardForgotten {
        /// Its id.
        id: u64,
    },
    /// A card was changed.
    CardEdited {
        /// The card now.
        card: Card,
    },
    /// Everything was set back to the start.
    Reset,
    /// Something the person should know.
    Warning(Warning),
}
