//! Invented conversations as the source of episodes.

use serde::{Deserialize, Serialize};
use tmem_eval::synthetic::{Length, Lexicon, Parameters, Plan};

use super::{Asked, Conversations, EpisodeTexts, text_error};
use crate::LearnError;

/// Which conversations are invented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticSettings {
    /// Seeds all of them. Keep it apart from the seeds that a run is measured on.
    pub seed: u64,
    /// Sessions of a conversation.
    pub sessions: usize,
    /// Exchanges of a session.
    pub exchanges: usize,
}

impl Default for SyntheticSettings {
    fn default() -> Self {
        Self { seed: 7_000_000, sessions: 3, exchanges: 10 }
    }
}

/// The generator of [`tmem_eval::synthetic`]: the facts that hold at a conversation's end, and questions about what was
/// never told in it.
#[derive(Debug)]
pub struct Synthetic {
    lexicon: Lexicon,
    settings: SyntheticSettings,
}

impl Synthetic {
    /// With the lexicon that is built in.
    ///
    /// # Errors
    /// Settings that no conversation meets.
    pub fn new(settings: SyntheticSettings) -> Result<Self, LearnError> {
        let conversations = Self { lexicon: Lexicon::built_in().map_err(text_error)?, settings };
        conversations.texts(0)?;
        Ok(conversations)
    }
}

impl Conversations for Synthetic {
    fn texts(&self, number: u64) -> Result<EpisodeTexts, LearnError> {
        let SyntheticSettings { seed, sessions, exchanges } = self.settings;
        let parameters = Parameters::fitting(seed, sessions, Length::Exchanges(exchanges));
        let plan = Plan::new(&self.lexicon, &parameters, number).map_err(text_error)?;
        let gold = plan.gold().map_err(text_error)?;
        let asked = |question: String, wordings: Vec<String>, held_out: Vec<String>, answer: String| {
            let wordings = std::iter::once(question).chain(wordings).collect();
            Asked { wordings, held_out, answer }
        };
        let facts = gold.facts.into_iter().filter(|fact| fact.superseded_by.is_none());
        let unknown = gold.questions.into_iter().filter(tmem_eval::synthetic::Question::is_unanswerable);
        Ok(EpisodeTexts {
            known: facts.map(|fact| asked(fact.question, fact.wordings, fact.held_out, fact.answer)).collect(),
            unknown: unknown.map(|q| asked(q.question, q.wordings, q.held_out, q.answer)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_conversation_has_facts_and_questions_that_nothing_answers() {
        let conversations = Synthetic::new(SyntheticSettings::default()).unwrap();
        for number in 0..5 {
            let texts = conversations.texts(number).unwrap();
            assert_eq!(texts, conversations.texts(number).unwrap());
            assert!(texts.known.len() >= 4 && !texts.unknown.is_empty(), "conversation {number}");
            for card in texts.known.iter().chain(&texts.unknown) {
                assert!(card.wordings.len() > 1 && !card.held_out.is_empty(), "{card:?}");
                assert!(card.held_out.iter().all(|held_out| !card.wordings.contains(held_out)), "{card:?}");
                assert!(!card.answer.is_empty());
            }
        }
        assert_ne!(conversations.texts(0).unwrap(), conversations.texts(1).unwrap());
    }

    #[test]
    fn conversations_that_cannot_be_are_refused_at_once() {
        let error = Synthetic::new(SyntheticSettings { sessions: 0, ..SyntheticSettings::default() }).unwrap_err();
        assert!(error.to_string().contains("at least one session"), "{error}");
    }
}
