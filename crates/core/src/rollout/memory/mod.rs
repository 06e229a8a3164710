//! Memory strategies: what happens at a trigger, and which text the prompt carries.
//!
//! At a trigger the agent calls [`MemoryStrategy::write`] with the turns not yet written. The strategy may sample
//! text, change its own explicit memory m and hand cards back; the agent then trains the cards into Δ and clears h.
//! A summary writes m and hands back no cards, retrieval keeps the turns in m and answers [`MemoryStrategy::carried`]
//! per query, both channels do both: none of that touches the agent.

mod none;
mod tmem;

use serde::{Deserialize, Serialize};

pub use none::NoMemory;
pub use tmem::Tmem;

use super::event::Event;
use super::policy::{Policy, PolicyError};
use super::writer::{WriterInput, WriterOutput};
use crate::abort::Abort;
use crate::settings::MemoryKind;

/// What an agent does when its context is full.
#[allow(async_fn_in_trait)]
pub trait MemoryStrategy {
    /// Whether the agent is triggered at L_max. Without, the oldest turns fall out at the model's own limit.
    fn is_triggered(&self) -> bool;

    /// Explicit memory m for a prompt that ends in `query` (`None`: for measuring ℓ(m) between turns).
    fn carried(&self, query: Option<&str>) -> Option<String>;

    /// The memory-writing action: may sample from the policy, change m, and hand back cards to be learned.
    ///
    /// # Errors
    /// A failure of the policy. The agent then puts the strategy's old state back.
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
    /// Fast weights.
    Tmem(Tmem),
}

impl Default for Memory {
    fn default() -> Self {
        Self::None(NoMemory {})
    }
}

impl Memory {
    /// An empty memory.
    pub fn new(kind: MemoryKind) -> Self {
        match kind {
            MemoryKind::None => Self::None(NoMemory {}),
            MemoryKind::Tmem => Self::Tmem(Tmem {}),
        }
    }

    /// Which strategy it is.
    pub fn kind(&self) -> MemoryKind {
        match self {
            Self::None(_) => MemoryKind::None,
            Self::Tmem(_) => MemoryKind::Tmem,
        }
    }
}

impl MemoryStrategy for Memory {
    fn is_triggered(&self) -> bool {
        match self {
            Self::None(memory) => memory.is_triggered(),
            Self::Tmem(memory) => memory.is_triggered(),
        }
    }

    fn carried(&self, query: Option<&str>) -> Option<String> {
        match self {
            Self::None(memory) => memory.carried(query),
            Self::Tmem(memory) => memory.carried(query),
        }
    }

    async fn write<P: Policy>(
        &mut self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        match self {
            Self::None(memory) => memory.write(policy, input, observe, abort).await,
            Self::Tmem(memory) => memory.write(policy, input, observe, abort).await,
        }
    }
}
