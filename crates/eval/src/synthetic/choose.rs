//! Which questions go into a file that has not room for all.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::error::SyntheticError;
use super::plan::{Plan, stream};
use super::question::Question;

impl Plan<'_> {
    /// At most `wanted` questions: each type in turn, unanswerable ones as types of their own, random within a type. The
    /// same for every call.
    ///
    /// # Errors
    /// As [`Plan::questions`].
    pub fn some_questions(&self, wanted: usize) -> Result<Vec<Question>, SyntheticError> {
        let mut questions = self.questions()?;
        Dice::new(self.seed, stream::CHOICE).shuffle(&mut questions);
        let wanted = wanted.min(questions.len());
        let mut by_type: BTreeMap<_, Vec<Question>> = BTreeMap::new();
        for question in questions {
            by_type.entry((question.is_unanswerable(), question.question_type)).or_default().push(question);
        }
        let mut chosen = Vec::with_capacity(wanted);
        while chosen.len() < wanted {
            let room = wanted - chosen.len();
            chosen.extend(by_type.values_mut().filter_map(Vec::pop).take(room));
        }
        Ok(chosen)
    }
}
