//! Invented conversations as the source of episodes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tmem_eval::synthetic::{Length, Lexicon, Parameters, Plan, Session, Turn};

use super::{Asked, Conversations, EpisodeTexts, Exchange, Transcript, text_error};
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
    /// Exchanges of a piece whose cards are written.
    pub window: usize,
}

impl Default for SyntheticSettings {
    fn default() -> Self {
        Self { seed: 7_000_000, sessions: 3, exchanges: 10, window: 3 }
    }
}

/// The first conversation that ordinary prompts are taken from; no run is that long.
const FIRST_ORDINARY: u64 = 1 << 41;

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

    /// `count` different things that users say in pieces in which nothing is told; of conversations that no episode is
    /// drawn from. Fewer where that is all there are.
    ///
    /// # Errors
    /// A conversation that cannot be made.
    pub fn ordinary_prompts(&self, count: usize) -> Result<Vec<String>, LearnError> {
        let mut prompts = Vec::with_capacity(count);
        let mut seen = HashSet::new();
        for number in FIRST_ORDINARY..FIRST_ORDINARY + count as u64 {
            let pieces = self.texts(number)?.transcripts.into_iter().filter(|piece| piece.cards.is_empty());
            let said = pieces.flat_map(|piece| piece.turns).map(|turn| turn.user);
            prompts.extend(said.filter(|user| seen.insert(user.clone())));
            if prompts.len() >= count {
                break;
            }
        }
        prompts.truncate(count);
        Ok(prompts)
    }
}

impl Conversations for Synthetic {
    fn texts(&self, number: u64) -> Result<EpisodeTexts, LearnError> {
        let SyntheticSettings { seed, sessions, exchanges, window } = self.settings;
        let parameters = Parameters::fitting(seed, sessions, Length::Exchanges(exchanges));
        let plan = Plan::new(&self.lexicon, &parameters, number).map_err(text_error)?;
        let gold = plan.gold().map_err(text_error)?;
        let mut transcripts = Vec::new();
        for (number, session) in plan.sessions().enumerate() {
            let turns = exchanges_of(&session.map_err(text_error)?);
            for (piece, turns) in turns.chunks(window.max(1)).enumerate() {
                // User and assistant turns are counted, two to an exchange.
                let place = 2 * piece * window.max(1)..2 * (piece * window.max(1) + turns.len());
                let told = gold.facts.iter().filter(|fact| fact.session == number && place.contains(&fact.turn));
                let cards = told.map(|fact| (fact.question.clone(), fact.answer.clone())).collect();
                transcripts.push(Transcript { turns: turns.to_vec(), cards });
            }
        }
        let asked = |question: String, wordings: Vec<String>, held_out: Vec<String>, answer: String| {
            let wordings = std::iter::once(question).chain(wordings).collect();
            Asked { wordings, held_out, answer }
        };
        let facts = gold.facts.into_iter().filter(|fact| fact.superseded_by.is_none());
        let unknown = gold.questions.into_iter().filter(tmem_eval::synthetic::Question::is_unanswerable);
        Ok(EpisodeTexts {
            known: facts.map(|fact| asked(fact.question, fact.wordings, fact.held_out, fact.answer)).collect(),
            unknown: unknown.map(|q| asked(q.question, q.wordings, q.held_out, q.answer)).collect(),
            transcripts,
        })
    }
}

/// A session as what is said and replied.
pub(crate) fn exchanges_of(session: &Session) -> Vec<Exchange> {
    let text = |turn: Option<&Turn>| turn.map_or_else(String::new, |turn| turn.content.clone());
    let exchange = |turns: &[Turn]| Exchange { user: text(turns.first()), assistant: text(turns.get(1)) };
    session.turns.chunks(2).map(exchange).collect()
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
            let written: usize = texts.transcripts.iter().map(|transcript| transcript.cards.len()).sum();
            assert!(written >= texts.known.len(), "every fact is told in one of the pieces");
            assert!(texts.transcripts.iter().any(|transcript| transcript.cards.is_empty()), "not all is worth keeping");
            assert!(texts.transcripts.iter().all(|transcript| (1..=3).contains(&transcript.turns.len())));
        }
        assert_ne!(conversations.texts(0).unwrap(), conversations.texts(1).unwrap());
    }

    #[test]
    fn conversations_that_cannot_be_are_refused_at_once() {
        let error = Synthetic::new(SyntheticSettings { sessions: 0, ..SyntheticSettings::default() }).unwrap_err();
        assert!(error.to_string().contains("at least one session"), "{error}");
    }
}
