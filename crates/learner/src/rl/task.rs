//! What an episode is about: a conversation that is told, and questions about it afterwards.

use serde::{Deserialize, Serialize};
use tmem_eval::synthetic::rulebook::Check;
use tmem_eval::synthetic::{Length, Lexicon, Parameters, Plan};

use super::rule_books::RuleBookTasks;
use super::{Codes, RuleBookSettings};
use crate::LearnError;
use crate::sft::{Exchange, SyntheticSettings, exchanges_of, text_error};

/// A conversation with questions about it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Task {
    /// What is said, oldest first.
    pub turns: Vec<Exchange>,
    /// What is asked when the context is gone.
    pub questions: Vec<TaskQuestion>,
}

/// A question of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskQuestion {
    /// The question, in a wording that was not used before.
    pub text: String,
    /// What to say.
    pub answer: String,
    /// A right answer contains one of these; empty where nothing was told that answers the question.
    pub keys: Vec<String>,
    /// What a right answer fulfils besides, or instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rubric: Vec<Check>,
}

impl TaskQuestion {
    /// Whether it was told what is asked.
    pub fn is_answerable(&self) -> bool {
        !self.keys.is_empty() || !self.rubric.is_empty()
    }
}

/// Where tasks come from: the same number gives the same task.
pub trait Tasks {
    /// Task number `number`.
    ///
    /// # Errors
    /// A task that cannot be made.
    fn task(&self, number: u64) -> Result<Task, LearnError>;
}

/// Which tasks a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskSettings {
    /// Door codes: the smallest task there is.
    Codes(Codes),
    /// Invented conversations.
    Conversations(ConversationSettings),
    /// Invented rule books, whose tasks are judged by rubrics.
    RuleBooks(RuleBookSettings),
}

impl TaskSettings {
    /// The tasks.
    ///
    /// # Errors
    /// Settings that no task meets.
    pub fn open(&self) -> Result<Box<dyn Tasks>, LearnError> {
        let tasks: Box<dyn Tasks> = match *self {
            Self::Codes(codes) => Box::new(codes),
            Self::Conversations(settings) => Box::new(Conversations::new(settings)?),
            Self::RuleBooks(settings) => Box::new(RuleBookTasks::new(settings)?),
        };
        tasks.task(0)?;
        Ok(tasks)
    }
}

/// Which conversations are invented, and how much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConversationSettings {
    /// Seeds all of them. Keep it apart from the seeds that a run is measured on.
    pub seed: u64,
    /// Sessions of a conversation.
    pub sessions: usize,
    /// Exchanges of a session.
    pub exchanges: usize,
    /// Most questions about what was told, one for each fact that still holds.
    pub known: usize,
    /// Most questions about what was not.
    pub unknown: usize,
}

impl Default for ConversationSettings {
    fn default() -> Self {
        let SyntheticSettings { seed, sessions, exchanges, .. } = SyntheticSettings::default();
        Self { seed, sessions, exchanges, known: 6, unknown: 2 }
    }
}

/// The generator of [`tmem_eval::synthetic`].
struct Conversations {
    lexicon: Lexicon,
    settings: ConversationSettings,
}

impl Conversations {
    fn new(settings: ConversationSettings) -> Result<Self, LearnError> {
        Ok(Self { lexicon: Lexicon::built_in().map_err(text_error)?, settings })
    }
}

impl Tasks for Conversations {
    fn task(&self, number: u64) -> Result<Task, LearnError> {
        let ConversationSettings { seed, sessions, exchanges, known, unknown } = self.settings;
        let parameters = Parameters::fitting(seed, sessions, Length::Exchanges(exchanges));
        let plan = Plan::new(&self.lexicon, &parameters, number).map_err(text_error)?;
        let mut turns = Vec::new();
        for session in plan.sessions() {
            turns.extend(exchanges_of(&session.map_err(text_error)?));
        }
        let gold = plan.gold().map_err(text_error)?;
        let first = |held_out: Vec<String>, question: String| held_out.into_iter().next().unwrap_or(question);
        let facts = gold.facts.into_iter().filter(|fact| fact.superseded_by.is_none() && !fact.keys.is_empty());
        let mut questions: Vec<TaskQuestion> = facts
            .map(|fact| TaskQuestion {
                text: first(fact.held_out, fact.question),
                answer: fact.answer,
                keys: fact.keys,
                rubric: Vec::new(),
            })
            .take(known)
            .collect();
        let never_told = gold.questions.into_iter().filter(tmem_eval::synthetic::Question::is_unanswerable);
        questions.extend(never_told.take(unknown).map(|question| TaskQuestion {
            text: first(question.held_out, question.question),
            answer: question.answer,
            keys: Vec::new(),
            rubric: Vec::new(),
        }));
        Ok(Task { turns, questions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_told_in_exchanges_and_asked_in_other_words() {
        let settings = ConversationSettings { sessions: 1, exchanges: 6, known: 3, unknown: 1, ..Default::default() };
        let tasks = TaskSettings::Conversations(settings).open().unwrap();
        for number in 0..4 {
            let task = tasks.task(number).unwrap();
            assert_eq!(task, tasks.task(number).unwrap());
            assert!(
                task.turns.len() >= 6
                    && task.turns.iter().all(|turn| !turn.user.is_empty() && !turn.assistant.is_empty())
            );
            let (known, unknown): (Vec<_>, Vec<_>) =
                task.questions.iter().partition(|question| question.is_answerable());
            assert_eq!((known.len(), unknown.len()), (3, 1), "{task:?}");
            let said: String = task.turns.iter().map(|turn| format!("{} {}\n", turn.user, turn.assistant)).collect();
            assert!(task.questions.iter().all(|question| !said.contains(&question.text)));
        }
        assert_ne!(tasks.task(0).unwrap(), tasks.task(1).unwrap());
    }

    #[test]
    fn settings_that_no_task_meets_are_refused() {
        let settings = ConversationSettings { sessions: 0, ..Default::default() };
        assert!(TaskSettings::Conversations(settings).open().is_err());
        assert!(TaskSettings::Codes(Codes { told: 13, ..Codes::default() }).open().is_err());
    }
}
