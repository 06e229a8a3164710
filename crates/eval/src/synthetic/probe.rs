//! Conversations in the format of `trainer probe`: [`crate::data::Conversation`] and [`crate::data::Controls`].

use std::collections::HashSet;

use tmem_core::message::{Message, Role};

use super::dice::Dice;
use super::error::SyntheticError;
use super::filler::Sort;
use super::plan::{Plan, stream};
use super::session::harmless;
use crate::data::{Controls, Conversation, Fact, KeyedQuestion};

/// General-knowledge questions and neutral prompts of the controls.
const CONTROLS: usize = 20;

impl Plan<'_> {
    /// The conversation without its dates, and controls to go with it. Facts that no longer hold and dated events are
    /// left out: the format knows no time. Holds the whole transcript.
    ///
    /// # Errors
    /// [`SyntheticError`].
    pub fn probe(&self) -> Result<(Conversation, Controls), SyntheticError> {
        let mut transcript = Vec::new();
        // The user turn to which each fact's answer is credited: advice is credited to the turn that takes it.
        let mut credited = vec![String::new(); self.facts.len()];
        for session in self.sessions() {
            let turns = session?.turns;
            for (at, turn) in turns.iter().enumerate() {
                if let Some(fact) = turn.tells {
                    let user = if turn.role == Role::User { Some(turn) } else { turns.get(at + 1) };
                    credited[fact] = user.map(|turn| turn.content.clone()).unwrap_or_default();
                }
            }
            transcript.extend(turns.into_iter().map(|turn| Message { role: turn.role, content: turn.content }));
        }
        let gold = self.gold()?;
        let lasting = |fact: &super::GoldFact| fact.superseded_by.is_none() && fact.kind != "event";
        let facts = gold.facts.into_iter().zip(credited).filter(|(fact, _)| lasting(fact));
        let facts = facts.map(|(fact, user_turn)| Fact {
            id: fact.id,
            user_turn,
            question: fact.question,
            answer: fact.answer,
            keys: fact.keys,
            held_out: fact.held_out,
            wordings: fact.wordings,
        });
        let conversation = Conversation { name: self.name().to_owned(), facts: facts.collect(), transcript };
        let unanswerable = gold.questions.into_iter().filter(super::Question::is_unanswerable);
        let controls = Controls {
            general_knowledge: self.knowledge()?,
            neutral_prompts: self.prompts()?,
            unknown_questions: unanswerable.map(|question| question.question).collect(),
        };
        Ok((conversation, controls))
    }

    fn knowledge(&self) -> Result<Vec<KeyedQuestion>, SyntheticError> {
        let fillers = self.controls(Sort::Knowledge)?.into_iter();
        Ok(fillers.map(|filler| KeyedQuestion { question: filler.user, keys: filler.keys }).collect())
    }

    fn prompts(&self) -> Result<Vec<String>, SyntheticError> {
        Ok(self.controls(Sort::Task)?.into_iter().map(|filler| filler.user).collect())
    }

    fn controls(&self, sort: Sort) -> Result<Vec<super::filler::Filler>, SyntheticError> {
        let mut dice = Dice::new(self.seed, stream::CONTROLS);
        let mut known = HashSet::new();
        let mut fillers = Vec::with_capacity(CONTROLS);
        for _ in 0..CONTROLS {
            let filler = harmless(self, sort, &known, &mut dice)?;
            if known.insert(filler.topic) {
                fillers.push(filler);
            }
        }
        Ok(fillers)
    }
}
