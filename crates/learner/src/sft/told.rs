//! Conversations of one's own as the source of episodes.

use tmem_core::fast::unknown_cards;
use tmem_eval::data::{Conversation, Fact};

use super::run::FIRST_EVALUATED;
use super::synthetic::all_wordings;
use super::{Asked, Conversations, EpisodeTexts, Exchange, Transcript};
use crate::LearnError;

/// Conversations in the form that `trainer probe` reads, with gold cards. Every tenth, and at least one where there are
/// several, is for evaluation alone. Questions about what is not told are the agent's own; what to say to the facts' questions
/// before they are told such a file does not say.
#[derive(Debug)]
pub struct Told {
    trained: Vec<EpisodeTexts>,
    evaluated: Vec<EpisodeTexts>,
}

impl Told {
    /// From at least one conversation; a piece whose cards are written has `window` exchanges.
    ///
    /// # Errors
    /// No conversation.
    pub fn new(conversations: &[Conversation], window: usize) -> Result<Self, LearnError> {
        let mut trained: Vec<EpisodeTexts> = conversations.iter().map(|told| texts_of(told, window)).collect();
        if trained.is_empty() {
            return Err(LearnError::Text("there is no conversation to train on: name a file of one".to_owned()));
        }
        let kept = if trained.len() == 1 { 0 } else { trained.len().div_ceil(10) };
        let evaluated = trained.split_off(trained.len() - kept);
        Ok(Self { trained, evaluated })
    }

    /// How many are for evaluation alone: the last ones. 0 where there is a single one, which has to serve for both.
    pub fn evaluated(&self) -> usize {
        self.evaluated.len()
    }
}

impl Conversations for Told {
    fn texts(&self, number: u64) -> Result<EpisodeTexts, LearnError> {
        let evaluates = number >= FIRST_EVALUATED && !self.evaluated.is_empty();
        let texts = if evaluates { &self.evaluated } else { &self.trained };
        Ok(texts[(number % texts.len() as u64) as usize].clone())
    }
}

fn texts_of(conversation: &Conversation, window: usize) -> EpisodeTexts {
    let fact = |fact: &Fact| Asked {
        wordings: all_wordings(fact.question.clone(), fact.wordings.clone()),
        held_out: fact.held_out.clone(),
        answer: fact.answer.clone(),
        not_known: None,
    };
    let unknown = unknown_cards(conversation.oracle_cards(0).iter()).into_iter().map(|card| Asked {
        wordings: vec![card.question],
        held_out: Vec::new(),
        answer: card.answer,
        not_known: None,
    });
    let turns: Vec<Exchange> = conversation
        .turns()
        .map(|(user, assistant)| Exchange { user: user.to_owned(), assistant: assistant.to_owned() })
        .collect();
    let piece = |turns: &[Exchange]| {
        let told = |fact: &&Fact| turns.iter().any(|turn| turn.user == fact.user_turn);
        let cards = conversation.facts.iter().filter(told).map(|fact| (fact.question.clone(), fact.answer.clone()));
        Transcript { turns: turns.to_vec(), cards: cards.collect() }
    };
    EpisodeTexts {
        known: conversation.facts.iter().map(fact).collect(),
        unknown: unknown.collect(),
        transcripts: turns.chunks(window.max(1)).map(piece).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three exchanges, of which the first and the last tell something.
    fn conversation(name: &str) -> Conversation {
        let text = serde_json::json!({
            "name": name,
            "facts": [
                {"id": "dog", "user_turn": "My dog is called Rex.", "question": "What is my dog's name?",
                 "answer": "Your dog's name is Rex.", "keys": ["Rex"], "held_out": ["Whom do I walk?"]},
                {"id": "home", "user_turn": "I live in Ghent.", "question": "Where do I live?",
                 "answer": "You live in Ghent.", "keys": ["Ghent"], "wordings": ["Which is my town?"]},
            ],
            "transcript": [
                {"role": "user", "content": "My dog is called Rex."}, {"role": "assistant", "content": "A fine name."},
                {"role": "user", "content": "What a day."}, {"role": "assistant", "content": "Indeed."},
                {"role": "user", "content": "I live in Ghent."}, {"role": "assistant", "content": "Lovely."},
            ],
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_conversation_becomes_facts_pieces_and_questions_that_nothing_answers() {
        let told = Told::new(&[conversation("one")], 2).unwrap();
        let texts = told.texts(5).unwrap();
        assert_eq!(texts, told.texts(FIRST_EVALUATED).unwrap());
        assert_eq!(texts.known[1].wordings, ["Where do I live?", "Which is my town?"]);
        assert_eq!(texts.known[0].held_out, ["Whom do I walk?"]);
        let cards: Vec<usize> = texts.transcripts.iter().map(|piece| piece.cards.len()).collect();
        assert_eq!((texts.transcripts[0].turns.len(), cards), (2, vec![1, 1]));
        let asked: Vec<&str> = texts.unknown.iter().map(|unknown| unknown.wordings[0].as_str()).collect();
        assert!(asked.contains(&"What is my cat's name?") && !asked.contains(&"What is my dog's name?"));
    }

    #[test]
    fn some_of_several_conversations_are_for_evaluation_alone() {
        let of = |count: usize| {
            let all: Vec<Conversation> = (0..count).map(|i| conversation(&i.to_string())).collect();
            let told = Told::new(&all, 1).unwrap();
            (told.trained.len(), told.evaluated())
        };
        assert_eq!([of(1), of(2), of(11)], [(1, 0), (1, 1), (9, 2)]);
        assert!(Told::new(&[], 1).unwrap_err().to_string().contains("no conversation"));
    }
}
