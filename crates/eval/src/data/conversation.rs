//! A conversation in which a person tells facts about themselves, with the questions that ask for them later.

use serde::{Deserialize, Serialize};
use tmem_core::card::Card;
use tmem_core::message::{Message, Role};

use super::{DataFile, check_keys, not_blank};

/// A file such as `conversation_s1.json`. Further fields are allowed and ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Names the conversation in reports.
    pub name: String,
    /// What is told, in the order it is told.
    pub facts: Vec<Fact>,
    /// The conversation itself.
    pub transcript: Vec<Message>,
}

/// One fact: the turn that tells it and the questions that ask for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Names the fact within its conversation.
    pub id: String,
    /// The user turn that tells it.
    pub user_turn: String,
    /// The question an oracle's card has.
    pub question: String,
    /// The answer an oracle's card has.
    pub answer: String,
    /// An answer that contains one of these knows the fact.
    pub keys: Vec<String>,
    /// Wordings of the question that no card may contain.
    #[serde(default)]
    pub held_out: Vec<String>,
    /// Further wordings an oracle's card has.
    #[serde(default)]
    pub wordings: Vec<String>,
}

impl Conversation {
    /// The transcript as (what the person said, what was answered); the answer is empty where there was none.
    pub fn turns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.transcript.iter().enumerate().filter(|(_, message)| message.role == Role::User).map(|(i, message)| {
            let reply = self.transcript.get(i + 1).filter(|next| next.role == Role::Assistant);
            (message.content.as_str(), reply.map_or("", |reply| reply.content.as_str()))
        })
    }

    /// The cards a perfect writer would write: one per fact, with its wordings. Ids count up from `first_id`.
    pub fn oracle_cards(&self, first_id: u64) -> Vec<Card> {
        let turn_of = |fact: &Fact| self.turns().position(|(user, _)| user == fact.user_turn);
        let card = |(id, fact): (u64, &Fact)| Card {
            id,
            question: fact.question.clone(),
            wordings: fact.wordings.clone(),
            answer: fact.answer.clone(),
            source_turn: turn_of(fact),
        };
        (first_id..).zip(&self.facts).map(card).collect()
    }
}

impl DataFile for Conversation {
    fn check(&self) -> Result<(), (String, String)> {
        not_blank("name".to_owned(), &self.name)?;
        if self.facts.is_empty() {
            return Err(("facts".to_owned(), "needs at least one fact".to_owned()));
        }
        for (i, fact) in self.facts.iter().enumerate() {
            let at = |field: &str| format!("facts[{i}].{field}");
            not_blank(at("question"), &fact.question)?;
            not_blank(at("answer"), &fact.answer)?;
            check_keys(&at("keys"), &fact.keys)?;
            for (list, questions) in [("held_out", &fact.held_out), ("wordings", &fact.wordings)] {
                for (j, question) in questions.iter().enumerate() {
                    not_blank(at(&format!("{list}[{j}]")), question)?;
                }
            }
            let trained = |q: &&String| **q == fact.question || fact.wordings.contains(q);
            if let Some(question) = fact.held_out.iter().find(trained) {
                let reason = format!("`{question}` is also a trained wording, so it would not measure recall");
                return Err((at("held_out"), reason));
            }
        }
        for (i, message) in self.transcript.iter().enumerate() {
            not_blank(format!("transcript[{i}].content"), &message.content)?;
        }
        Ok(())
    }
}
