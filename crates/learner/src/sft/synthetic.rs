//! Invented conversations as the source of episodes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tmem_core::rollout::writer::Draft;
use tmem_core::rollout::writer::answer_first::drafts_by_rules;
use tmem_eval::score::contains_key;
use tmem_eval::synthetic::{GoldFact, Length, Lexicon, Parameters, Plan, Session, Turn};

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

/// Wordings of an agent's own card besides its question.
const OWN_WORDINGS: usize = 4;

/// The generator of [`tmem_eval::synthetic`]: the facts that hold at a conversation's end, and questions that lie
/// next to them and that nothing answers.
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
        let mut known = Vec::new();
        for (number, fact) in gold.facts.into_iter().enumerate() {
            if fact.superseded_by.is_none() {
                known.push(told(fact, plan.not_known(number).map_err(text_error)?));
            }
        }
        let neighbours = plan.neighbours().map_err(text_error)?.into_iter();
        let unknown = neighbours.map(|of| Asked {
            wordings: all_wordings(of.question, of.wordings),
            held_out: of.held_out,
            answer: of.answer,
            not_known: None,
        });
        Ok(EpisodeTexts { known, unknown: unknown.collect(), transcripts })
    }
}

/// A fact in the words of the agent's own card where the rules find one, else of the gold card; with all wordings.
fn told(fact: GoldFact, not_known: Option<String>) -> Asked {
    let GoldFact { question, wordings, held_out, answer, keys, told, .. } = fact;
    let mut wordings = all_wordings(question, wordings);
    // A card may say something else with the same words in it ("You walk the Cathedral Loop." of a recommendation).
    let same = |card: &Draft| {
        contains_key(&card.answer, &keys) && not_known.as_ref().is_none_or(|other| begin_alike(&card.answer, other))
    };
    let own = drafts_by_rules(&told, OWN_WORDINGS).into_iter().find(same);
    let answer = match own {
        Some(own) => {
            let mut first = all_wordings(own.question, own.wordings);
            first.retain(|wording| !held_out.contains(wording));
            wordings.retain(|wording| !first.contains(wording));
            first.extend(wordings);
            wordings = first;
            own.answer
        }
        None => answer,
    };
    Asked { wordings, held_out, answer, not_known }
}

/// Whether two sentences have the same first two words.
fn begin_alike(one: &str, other: &str) -> bool {
    one.split(' ').take(2).eq(other.split(' ').take(2))
}

pub(super) fn all_wordings(question: String, others: Vec<String>) -> Vec<String> {
    std::iter::once(question).chain(others).collect()
}

/// A session as what is said and replied.
pub(crate) fn exchanges_of(session: &Session) -> Vec<Exchange> {
    let text = |turn: Option<&Turn>| turn.map_or_else(String::new, |turn| turn.content.clone());
    let exchange = |turns: &[Turn]| Exchange { user: text(turns.first()), assistant: text(turns.get(1)) };
    session.turns.chunks(2).map(exchange).collect()
}

#[cfg(test)]
mod tests {
    use tmem_eval::synthetic::{Subject, Teller};

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
            for unknown in &texts.unknown {
                assert!(texts.known.iter().all(|card| card.wordings[0] != unknown.wordings[0]), "{unknown:?}");
            }
            let written: usize = texts.transcripts.iter().map(|transcript| transcript.cards.len()).sum();
            assert!(written >= texts.known.len(), "every fact is told in one of the pieces");
            assert!(texts.transcripts.iter().any(|transcript| transcript.cards.is_empty()), "not all is worth keeping");
            assert!(texts.transcripts.iter().all(|transcript| (1..=3).contains(&transcript.turns.len())));
        }
        assert_ne!(conversations.texts(0).unwrap(), conversations.texts(1).unwrap());
    }

    #[test]
    fn cards_are_the_agents_own_where_its_rules_write_of_the_same() {
        let fact = |told: &str| GoldFact {
            id: "dog_name".to_owned(),
            kind: "dog_name".to_owned(),
            subject: Subject::User,
            told_by: Teller::User,
            session: 0,
            session_id: String::new(),
            date: String::new(),
            turn: 0,
            told: told.to_owned(),
            question: "What is my dog called?".to_owned(),
            wordings: vec!["Who is my dog?".to_owned()],
            held_out: vec!["Whom do I walk?".to_owned()],
            answer: "Your dog is called Rex.".to_owned(),
            statement: String::new(),
            keys: vec!["Rex".to_owned()],
            supersedes: None,
            superseded_by: None,
        };
        let not_known = || Some("Your dog's name is not known to me.".to_owned());
        let own = told(fact("By the way, my dog is called Rex."), not_known());
        assert_eq!(
            (own.wordings[0].as_str(), own.answer.as_str()),
            ("What is my dog's name?", "Your dog's name is Rex.")
        );
        assert!(own.wordings.contains(&"Who is my dog?".to_owned()));
        // "You walk Rex." is a card, and another one.
        let gold = told(fact("I walk Rex."), not_known());
        assert_eq!(
            (gold.wordings[0].as_str(), gold.answer.as_str()),
            ("What is my dog called?", "Your dog is called Rex.")
        );
    }

    #[test]
    fn conversations_that_cannot_be_are_refused_at_once() {
        let error = Synthetic::new(SyntheticSettings { sessions: 0, ..SyntheticSettings::default() }).unwrap_err();
        assert!(error.to_string().contains("at least one session"), "{error}");
    }
}
