//! The supervised warm start: before any reinforcement, θ0 is shown what a base model must do well.
//!
//! A step is a few episodes. An episode takes the gold cards of a conversation, writes some of them into a Δ as
//! the agent would (T, simulated), and asks under θ0 + sg(Δ): the cards in wordings that were not trained, and questions
//! about what was never told, with Δ and without. So θ0 becomes easy to specialise and learns when to say that it does
//! not know. It also writes the cards of pieces of the conversation, in the JSON writer's form. Replies to ordinary
//! prompts are held to the base model by KL.

mod episode;
mod near;
mod run;
mod synthetic;
mod texts;

pub use episode::{Asked, EpisodeSettings, EpisodeTexts, Exchange, Transcript};
pub use run::{Conversations, Sft, SftEvaluation, SftReport, SftSettings};
pub(crate) use synthetic::exchanges_of;
pub use synthetic::{Synthetic, SyntheticSettings};
pub use texts::Texts;

use crate::LearnError;

/// A text that cannot be made.
pub(crate) fn text_error<E: std::error::Error>(error: E) -> LearnError {
    LearnError::Text(error.to_string())
}
