//! Memory strategies: what happens at a trigger, which text the prompt carries, and what is brought back for a question.
//!
//! At a trigger the agent calls [`MemoryStrategy::write`] with the turns not yet written. The strategy may sample
//! text, change its own explicit memory m and hand cards back; what becomes of the cards is [`CardUse`]. Before an
//! answer the agent calls [`MemoryStrategy::recall`] with the question. The agent never asks which strategy it has.
//!
//! | strategy | at a trigger | in every prompt | for a question |
//! |---|---|---|---|
//! | [`NoMemory`] | (none) | | |
//! | [`Summary`] | m rewritten | m | |
//! | [`Retrieval`] | turns, and notes on them, kept | | those that fit it |
//! | [`Tmem`] | cards, trained into Δ | | |
//! | [`TmemText`] | both a text and cards | as its text | as its text |
//! | [`Cards`] | cards, kept | | the nearest card's answer instead of the model's |

mod cards;
mod none;
mod retrieval;
mod summary;
mod tmem;
mod tmem_text;

use serde::{Deserialize, Serialize};

pub use cards::{Cards, UNKNOWN};
pub use none::NoMemory;
pub use retrieval::{Note, Retrieval};
pub use summary::Summary;
pub use tmem::Tmem;
pub use tmem_text::{Text, TmemText};

use super::event::Event;
use super::policy::{Policy, PolicyError};
use super::writer::{WriterInput, WriterOutput};
use crate::abort::Abort;
use crate::card::Card;
use crate::message::Message;
use crate::settings::{MemoryKind, RolloutSettings, Settings};

/// What becomes of the cards that a strategy writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardUse {
    /// It writes none, and Δ stays 0.
    None,
    /// They are kept, and Δ stays 0.
    Kept,
    /// They are trained into Δ.
    Learned,
}

/// A question that memory is asked about before the model is.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The question.
    pub text: &'a str,
    /// Tokens that the prompt still has room for.
    pub room: usize,
    /// Turns from this one on stand in the prompt already.
    pub before: usize,
}

/// What a strategy works from when it is asked.
#[derive(Debug, Clone, Copy)]
pub struct RecallInput<'a> {
    /// The questions.
    pub queries: &'a [Query<'a>],
    /// The cards there are, oldest first.
    pub cards: &'a [Card],
    /// The run's settings.
    pub settings: &'a Settings,
}

/// What memory has to say on a question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recalled {
    /// Text for the prompt of this question alone.
    pub text: Option<String>,
    /// An answer that makes the model's superfluous.
    pub answer: Option<String>,
    /// The turns that the text is made of, ascending.
    pub turns: Vec<usize>,
    /// The card that the answer is from.
    pub card: Option<u64>,
}

/// A piece of explicit memory, for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Passage {
    /// The turn it is about; `None` where it is about all of them.
    pub turn: Option<usize>,
    /// What is remembered.
    pub text: String,
    /// Keywords of the model's own.
    pub keywords: Vec<String>,
}

/// What an agent does when its context is full, and what it remembers of what was in it.
#[allow(async_fn_in_trait)]
pub trait MemoryStrategy {
    /// Whether the agent is triggered at L_max. Without, the oldest turns fall out at the model's own limit.
    fn is_triggered(&self) -> bool {
        true
    }

    /// What becomes of its cards.
    fn card_use(&self) -> CardUse;

    /// Explicit memory that stands in every prompt, whatever is asked.
    fn carried(&self) -> Option<String> {
        None
    }

    /// Most tokens that [`recall`](Self::recall) may add to a prompt. With [`carried`](Self::carried) it is the ℓ(m) of
    /// the trigger, which must not depend on a question: a transcript that is read in has none.
    fn reserve(&self, _settings: &RolloutSettings) -> usize {
        0
    }

    /// The explicit memory, for people.
    fn passages(&self) -> Vec<Passage> {
        Vec::new()
    }

    /// What it has to say on each of the questions, each as if it were the only one. Changes nothing.
    ///
    /// # Errors
    /// A failure of the policy.
    async fn recall<P: Policy>(&self, _policy: &mut P, input: &RecallInput<'_>) -> Result<Vec<Recalled>, PolicyError> {
        Ok(vec![Recalled::default(); input.queries.len()])
    }

    /// The memory-writing action: may sample from the policy, change m, and hand back cards.
    ///
    /// # Errors
    /// A failure of the policy. The agent then puts the strategy's old state back, as it does after an abort.
    async fn write<P: Policy>(
        &mut self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError>;
}

/// The strategies there are, with what they keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Memory {
    /// Everything stays in the context.
    None(NoMemory),
    /// One running summary.
    Summary(Summary),
    /// Turns and notes, brought back where they fit.
    Retrieval(Retrieval),
    /// Fast weights.
    Tmem(Tmem),
    /// Fast weights and a text.
    TmemText(TmemText),
    /// Cards without a model.
    Cards(Cards),
}

impl Default for Memory {
    fn default() -> Self {
        Self::None(NoMemory {})
    }
}

impl Memory {
    /// An empty memory as the settings want it.
    pub fn new(settings: &RolloutSettings) -> Self {
        match settings.memory {
            MemoryKind::None => Self::None(NoMemory {}),
            MemoryKind::Summary => Self::Summary(Summary::default()),
            MemoryKind::Retrieval => Self::Retrieval(Retrieval::default()),
            MemoryKind::Tmem => Self::Tmem(Tmem {}),
            MemoryKind::TmemText => Self::TmemText(TmemText::new(settings.text_channel)),
            MemoryKind::Cards => Self::Cards(Cards {}),
        }
    }

    /// Which strategy it is.
    pub fn kind(&self) -> MemoryKind {
        match self {
            Self::None(_) => MemoryKind::None,
            Self::Summary(_) => MemoryKind::Summary,
            Self::Retrieval(_) => MemoryKind::Retrieval,
            Self::Tmem(_) => MemoryKind::Tmem,
            Self::TmemText(_) => MemoryKind::TmemText,
            Self::Cards(_) => MemoryKind::Cards,
        }
    }

    /// Whether it is of the kind that the settings want.
    pub fn fits(&self, settings: &RolloutSettings) -> bool {
        match self {
            Self::TmemText(memory) if settings.memory == MemoryKind::TmemText => {
                memory.channel() == settings.text_channel
            }
            memory => memory.kind() == settings.memory,
        }
    }
}

/// Hands a call on to the strategy there is.
macro_rules! delegate {
    ($self:ident, $memory:ident => $call:expr) => {
        match $self {
            Memory::None($memory) => $call,
            Memory::Summary($memory) => $call,
            Memory::Retrieval($memory) => $call,
            Memory::Tmem($memory) => $call,
            Memory::TmemText($memory) => $call,
            Memory::Cards($memory) => $call,
        }
    };
}

impl MemoryStrategy for Memory {
    fn is_triggered(&self) -> bool {
        delegate!(self, memory => memory.is_triggered())
    }

    fn card_use(&self) -> CardUse {
        delegate!(self, memory => memory.card_use())
    }

    fn carried(&self) -> Option<String> {
        delegate!(self, memory => memory.carried())
    }

    fn reserve(&self, settings: &RolloutSettings) -> usize {
        delegate!(self, memory => memory.reserve(settings))
    }

    fn passages(&self) -> Vec<Passage> {
        delegate!(self, memory => memory.passages())
    }

    async fn recall<P: Policy>(&self, policy: &mut P, input: &RecallInput<'_>) -> Result<Vec<Recalled>, PolicyError> {
        delegate!(self, memory => memory.recall(policy, input).await)
    }

    async fn write<P: Policy>(
        &mut self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        delegate!(self, memory => memory.write(policy, input, observe, abort).await)
    }
}

/// The person's and the agent's words of a turn, as text in a prompt.
fn transcript(user: &str, assistant: &str) -> String {
    match assistant.trim() {
        "" => format!("User: {}", user.trim()),
        answer => format!("User: {}\nAssistant: {answer}", user.trim()),
    }
}

/// Tokens that a text adds to a system message, rounded up.
fn text_tokens<P: Policy>(policy: &P, text: &str) -> Result<usize, PolicyError> {
    let with = |text: &str| policy.count_tokens(&[Message::system(text), Message::user("?")]);
    Ok((with(text)? + 1).saturating_sub(with("")?))
}
