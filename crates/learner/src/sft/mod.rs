//! The supervised warm start: before any reinforcement, θ0 is shown what a base model must do well.
//!
//! A step is a few episodes. An episode takes the cards of a conversation, as the agent would write them, writes some of
//! them into a Δ as the agent would (T, simulated), and asks under θ0 + sg(Δ): the cards in wordings that were not
//! trained, and questions next to them that Δ does not answer. The same questions are asked before the write; the answer
//! then begins like a card's and says that it is not known, so that a write has only the last words to change, and
//! whatever a question is worded like, they are changed at the same place. The model also reads answers from the
//! conversation, and writes the cards of pieces of it in the JSON writer's form. Replies to ordinary prompts are held to
//! the base model by KL.

mod episode;
mod run;
mod synthetic;
mod texts;
mod told;

pub use episode::{Asked, EpisodeSettings, EpisodeTexts, Exchange, Part, Transcript};
pub use run::{Conversations, Sft, SftEvaluation, SftReport, SftSettings};
pub(crate) use synthetic::exchanges_of;
pub use synthetic::{Synthetic, SyntheticSettings};
pub use texts::Texts;
pub use told::Told;

use crate::LearnError;

/// A text that cannot be made.
pub(crate) fn text_error<E: std::error::Error>(error: E) -> LearnError {
    LearnError::Text(error.to_string())
}
