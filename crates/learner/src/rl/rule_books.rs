//! Rule books: the rules are told, then tasks are set that only they solve. Answers are judged by rubrics, each of which
//! can be checked without a model ([`tmem_eval::synthetic::rulebook`]).

use serde::{Deserialize, Serialize};
use tmem_eval::synthetic::rulebook::{RuleBooks, Task as RuleTask, TaskGold};

use super::task::{Task, TaskQuestion, Tasks};
use crate::LearnError;
use crate::sft::{Exchange, text_error};

/// Which rule books are invented, and how they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleBookSettings {
    /// Seeds all of them. Keep it apart from the seeds that a run is measured on.
    pub seed: u64,
    /// Lines of the book in a turn.
    pub lines: usize,
    /// Most tasks on a book.
    pub tasks: usize,
}

impl Default for RuleBookSettings {
    fn default() -> Self {
        Self { seed: 7_000_000, lines: 4, tasks: 2 }
    }
}

/// The generator of [`tmem_eval::synthetic::rulebook`].
pub(super) struct RuleBookTasks {
    books: RuleBooks,
    settings: RuleBookSettings,
}

impl RuleBookTasks {
    pub(super) fn new(settings: RuleBookSettings) -> Result<Self, LearnError> {
        for (name, count) in [("tasks.lines", settings.lines), ("tasks.tasks", settings.tasks)] {
            if count == 0 {
                return Err(LearnError::Setting { name, value: "0".into(), expected: "at least 1".into() });
            }
        }
        Ok(Self { books: RuleBooks::built_in().map_err(text_error)?, settings })
    }
}

impl Tasks for RuleBookTasks {
    fn task(&self, number: u64) -> Result<Task, LearnError> {
        let RuleBookSettings { seed, lines, tasks } = self.settings;
        let context = self.books.context(seed, number).map_err(text_error)?;
        let text: Vec<&str> = context.book.lines().filter(|line| !line.is_empty()).collect();
        let turns = text
            .chunks(lines)
            .map(|lines| Exchange { user: lines.join("\n"), assistant: "I have read these rules.".to_owned() });
        let set = context.tasks.iter().zip(&context.gold.tasks);
        let questions = set.filter_map(|(task, gold)| question(task, gold, &context.book));
        Ok(Task { turns: turns.collect(), questions: questions.take(tasks).collect() })
    }
}

/// A task that is set without anything asked before it.
fn question(task: &RuleTask, gold: &TaskGold, book: &str) -> Option<TaskQuestion> {
    let text = task.messages.get(1)?.content.strip_prefix(book)?.trim_start().to_owned();
    (task.messages.len() == 2).then(|| TaskQuestion {
        text,
        answer: gold.response.clone(),
        keys: Vec::new(),
        rubric: gold.checks.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rl::Outcome;

    #[test]
    fn a_book_is_told_whole_and_its_tasks_come_without_it() {
        let tasks = RuleBookTasks::new(RuleBookSettings::default()).unwrap();
        for number in 0..6 {
            let task = tasks.task(number).unwrap();
            assert_eq!(task, tasks.task(number).unwrap());
            let told: String = task.turns.iter().map(|turn| format!("{}\n", turn.user)).collect();
            assert!(told.contains("\n12. "), "every rule is told: {told}");
            assert!(!task.questions.is_empty() && task.questions.len() <= 2);
            for question in &task.questions {
                assert!(question.is_answerable() && !question.rubric.is_empty());
                assert!(!question.text.is_empty() && !question.text.contains("\n12. "), "{}", question.text);
            }
        }
    }

    #[test]
    fn a_right_response_meets_the_whole_rubric_and_an_empty_one_none_of_it() {
        let tasks = RuleBookTasks::new(RuleBookSettings::default()).unwrap();
        for number in 0..6 {
            let questions = tasks.task(number).unwrap().questions;
            let answers: Vec<String> = questions.iter().map(|question| question.answer.clone()).collect();
            assert_eq!(Outcome::score(&questions, &answers).rubric, 1.0);
            assert_eq!(Outcome::score(&questions, &vec![String::new(); answers.len()]).rubric, 0.0);
        }
    }

    #[test]
    fn books_that_nothing_is_asked_about_are_refused() {
        assert!(RuleBookTasks::new(RuleBookSettings { tasks: 0, ..Default::default() }).is_err());
    }
}
