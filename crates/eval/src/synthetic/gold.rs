//! What a perfect memory would hold of a conversation, and what to ask it.

use serde::{Deserialize, Serialize};

use super::calendar;
use super::dice::Dice;
use super::error::SyntheticError;
use super::grammar::{Subject, Voice};
use super::lexicon::Teller;
use super::plan::{Matter, Plan, stream};
use super::question::Question;

/// The side file of a conversation: one line of `gold.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gold {
    /// The conversation's name.
    pub conversation: String,
    /// When the questions are asked.
    pub question_date: String,
    /// Words of all turns.
    pub words: usize,
    /// Every fact told, also those that no longer hold. Questions name them by their place in this list.
    pub facts: Vec<GoldFact>,
    /// Every question.
    pub questions: Vec<Question>,
}

/// A fact as a card, with its place in the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldFact {
    /// Unique in its conversation: the kind, whom it is about, `-2` where it changes an earlier one.
    pub id: String,
    /// The kind of fact: an id of `data/kinds`, `event` or `purchase`.
    pub kind: String,
    /// Whom it is about.
    pub subject: Subject,
    /// Who tells it.
    pub told_by: Teller,
    /// The session that tells it, from 0.
    pub session: usize,
    /// The session's id.
    pub session_id: String,
    /// The session's date.
    pub date: String,
    /// The turn of that session that tells it, from 0, user and assistant turns counted.
    pub turn: usize,
    /// That turn's text.
    pub told: String,
    /// The question of a card.
    pub question: String,
    /// Further wordings of it, for training.
    pub wordings: Vec<String>,
    /// Wordings for testing, none of them among the others.
    pub held_out: Vec<String>,
    /// The answer, addressed to the user.
    pub answer: String,
    /// The fact as a note about the user.
    pub statement: String,
    /// An answer that contains one of these is right. The telling turn contains one, except for dated events, whose date
    /// is that of their session.
    pub keys: Vec<String>,
    /// The earlier fact that this one changes.
    pub supersedes: Option<usize>,
    /// The later fact that changes this one.
    pub superseded_by: Option<usize>,
}

impl Plan<'_> {
    /// The side file. Writes the conversation once to find the turns.
    ///
    /// # Errors
    /// [`SyntheticError`].
    pub fn gold(&self) -> Result<Gold, SyntheticError> {
        let mut places = vec![(0, String::new()); self.facts.len()];
        let mut words = 0;
        for session in self.sessions() {
            for (at, turn) in session?.turns.into_iter().enumerate() {
                words += super::text::count_words(&turn.content);
                if let Some(place) = turn.tells.and_then(|fact| places.get_mut(fact)) {
                    *place = (at, turn.content);
                }
            }
        }
        // Its own stream of choices: asking for the gold changes no question.
        let mut dice = Dice::new(self.seed, stream::CONTROLS);
        let mut facts = Vec::with_capacity(self.facts.len());
        for ((index, fact), (turn, told)) in self.facts.iter().enumerate().zip(places) {
            let wordings = self.wordings(index)?;
            let kind = match fact.matter {
                Matter::Kind(kind) => self.lexicon.kinds[kind].id.as_str(),
                Matter::Event(_) => "event",
                Matter::Purchase(_) => "purchase",
            };
            facts.push(GoldFact {
                id: fact.id.clone(),
                kind: kind.to_owned(),
                subject: fact.subject.clone(),
                told_by: self.teller(fact),
                session: fact.session,
                session_id: self.session_id(fact.session),
                date: self.session_date(fact.session),
                turn,
                told,
                question: wordings.question,
                wordings: wordings.wordings,
                held_out: wordings.held_out,
                answer: self.answer(index, Voice::Assistant, &mut dice)?,
                statement: self.answer(index, Voice::Note, &mut dice)?,
                keys: self.answer_keys(index),
                supersedes: fact.supersedes,
                superseded_by: fact.superseded_by,
            });
        }
        Ok(Gold {
            conversation: self.name().to_owned(),
            question_date: calendar::stamp(self.asked),
            words,
            facts,
            questions: self.questions()?,
        })
    }
}
