//! The agent's state as it is saved, and the actions that led to it.

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::policy::Snapshot;
use crate::card::Card;

/// One turn of the working context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Number of the turn since the last reset, from 0.
    pub index: usize,
    /// What the person said.
    pub user: String,
    /// What the agent answered.
    pub assistant: String,
}

/// Something done to the agent from outside. The list of them replays a rollout (see [`crate::recipe`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// A user turn, answered by the agent.
    Turn {
        /// What the person said.
        text: String,
    },
    /// A user turn whose answer is given.
    Feed {
        /// What the person said.
        text: String,
        /// The answer.
        answer: String,
    },
    /// A question that leaves the context as it is.
    Ask {
        /// The question.
        text: String,
        /// Whether it was asked with the context.
        context: bool,
    },
    /// The question that the memory is for is given, or taken back.
    Purpose {
        /// The question.
        question: Option<String>,
    },
    /// Memory is written. (Braces, here and below: only with them does serde refuse unknown fields.)
    Write {},
    /// The context is cleared.
    Clear {},
    /// Cards from outside are learned as one write.
    Learn {
        /// The cards.
        cards: Vec<Card>,
    },
    /// A card is forgotten.
    Forget {
        /// Its id.
        id: u64,
    },
    /// A card is changed.
    Edit {
        /// The card as it shall be.
        card: Card,
    },
}

/// Everything about the agent but Δ and the settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentState {
    /// Working context h.
    pub context: Vec<Turn>,
    /// The first this many turns of the context are already written to memory.
    pub written: usize,
    /// Explicit memory m and what else the strategy keeps.
    pub memory: Memory,
    /// The question that the memory is for, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Cards learned, oldest first.
    pub cards: Vec<Card>,
    /// Cards whose question a later card answers differently. They are not replayed any more; they are kept because
    /// the same writes taken again need them, and come back where the later card is forgotten.
    #[serde(default)]
    pub superseded: Vec<Card>,
    /// Ids of the cards of each write, in order: taking the same writes again gives the same Δ.
    pub writes: Vec<Vec<u64>>,
    /// User turns since the last reset.
    pub turns: usize,
    /// Id of the next card.
    pub next_card: u64,
    /// Turns that fell out of the context unwritten since the last reset.
    pub dropped_turns: usize,
    /// After a write that failed, the trigger waits until the context has more tokens than this.
    pub trigger_above: usize,
    /// What was done since the last reset.
    pub script: Vec<Action>,
    /// Set when the script alone no longer leads to this state (a write was stopped by hand, Δ was imported); a
    /// recipe then carries the cards instead.
    pub off_script: bool,
}

impl AgentState {
    /// The cards of each write, superseded ones included, in the order they were learned.
    pub(crate) fn written_cards(&self) -> Vec<Vec<Card>> {
        let card = |id: &u64| self.cards.iter().chain(&self.superseded).find(|c| c.id == *id).cloned();
        self.writes.iter().map(|ids| ids.iter().filter_map(card).collect()).collect()
    }
}

/// The whole agent, for a reload of the page or for asking questions that leave no trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSnapshot {
    /// Everything but Δ.
    pub state: AgentState,
    /// Δ.
    pub fast: Snapshot,
}
