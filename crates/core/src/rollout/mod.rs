//! The decision process of the paper (arXiv 2606.04536): an agent acts, is triggered, writes, learns, clears its context and
//! goes on.
//!
//! [`Agent`] holds the state s = (h, m, Δ): working context, explicit memory, fast weights. Everything it does is told
//! in one stream of [`Event`]s; nothing else leaks out. What happens at a trigger is the business of a
//! [`memory`] strategy, how cards are written that of a [`writer`], and which model acts that of a [`policy`].

mod agent;
mod agent_memory;
mod asking;
pub mod event;
pub mod memory;
pub mod policy;
pub mod scripted;
mod state;
#[cfg(test)]
mod tests;
pub mod writer;

pub use agent::{Agent, AgentError};
pub use agent_memory::Written;
pub use asking::{AskOptions, Question};
pub use event::{Answer, Event, Segment, SegmentKind, Speaker, Twin, Warning};
pub use memory::{Passage, Recalled};
pub use state::{Action, AgentSnapshot, AgentState, Turn};
