//! Question-answer cards: what a memory-writing action writes and the fast weights learn.

use serde::{Deserialize, Serialize};

/// One question-answer pair with all its wordings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Card {
    /// Identifies the card within a rollout; ids are never used twice, so that a forgotten card stays forgotten.
    pub id: u64,
    /// The question as first written.
    pub question: String,
    /// Further wordings of the same question, trained to the same answer.
    #[serde(default)]
    pub wordings: Vec<String>,
    /// The answer the model shall give.
    pub answer: String,
    /// Index of the user turn the answer was found in, counted from the start of the rollout; `None` for cards that
    /// came from outside (imported, or written by hand).
    #[serde(default)]
    pub source_turn: Option<usize>,
}

impl Card {
    /// The question and its wordings.
    pub fn questions(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.question.as_str()).chain(self.wordings.iter().map(String::as_str))
    }
}
