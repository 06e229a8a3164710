//! Invented rule books with tasks, in CL-bench's schema.
//!
//! CL-bench itself must not be trained on (its licence forbids updating parameters on it); these contexts may. Every
//! number of an answer is computed from the same figures that the rules state, so each rubric can be checked without a
//! judge: a right response contains the keys of all its checks.

mod book;
mod game;
mod procedure;

use serde::{Deserialize, Serialize};
use tmem_core::message::Message;

use super::dice::Dice;
use super::error::SyntheticError;
use super::keys::tokens;
use super::parameters::Parameters;
use book::Book;
pub use book::RuleBooks;

/// One task in CL-bench's schema: one line of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// System, then user and assistant in turns; the last message is the user's.
    pub messages: Vec<Message>,
    /// What a response must fulfil, all of it.
    pub rubrics: Vec<String>,
    /// Where the task belongs.
    pub metadata: Metadata,
}

/// A task's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Unique, in the form of a UUID.
    pub task_id: String,
    /// Shared by all tasks on one rule book.
    pub context_id: String,
    /// CL-bench's category.
    pub context_category: String,
    /// CL-bench's sub-category.
    pub sub_category: String,
}

/// The side file of a rule book: one line of `rulebook_gold.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleBookGold {
    /// The rule book.
    pub context_id: String,
    /// One card per rule that matters.
    pub cards: Vec<RuleCard>,
    /// The tasks' answers, in the order of the file.
    pub tasks: Vec<TaskGold>,
}

/// A rule as a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCard {
    /// The question.
    pub question: String,
    /// The rule that answers it, in the words of the book.
    pub answer: String,
    /// The number of the rule.
    pub rule: usize,
}

/// What a right response to a task contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskGold {
    /// The task.
    pub task_id: String,
    /// A right response.
    pub response: String,
    /// One check per rubric, in their order.
    pub checks: Vec<Check>,
}

/// A rubric that needs no judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The rubric.
    pub rubric: String,
    /// The response contains all of these as whole words, in this order.
    pub keys: Vec<String>,
}

impl Check {
    /// Whether a response passes.
    pub fn passes(&self, response: &str) -> bool {
        let (response, mut from) = (tokens(response), 0);
        self.keys.iter().all(|key| {
            let key = tokens(key);
            let found = response[from..].windows(key.len().max(1)).position(|window| window == key.as_slice());
            from += found.map_or(0, |at| at + key.len());
            found.is_some()
        })
    }
}

/// A rule book with everything that is asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The book's text.
    pub book: String,
    /// The lines for CL-bench's file.
    pub tasks: Vec<Task>,
    /// The line for the side file.
    pub gold: RuleBookGold,
}

impl RuleBooks {
    /// Rule book number `context` of a seed: games and procedures in turn.
    ///
    /// # Errors
    /// [`SyntheticError`] where a data file is broken.
    pub fn context(&self, seed: u64, context: u64) -> Result<Context, SyntheticError> {
        let mixed = Parameters::mixed(seed, context ^ 0x5275_6C65);
        let mut dice = Dice::new(mixed, 0);
        let (book, drafts) = if context.is_multiple_of(2) {
            game::write(&self.game, &mut dice)?
        } else {
            procedure::write(&self.procedure, &mut dice)?
        };
        Ok(assemble(book, drafts, &mut dice))
    }
}

/// A task before it has its ids and its rule book.
#[derive(Debug)]
struct TaskDraft {
    /// What was asked and answered before about the same book, if anything.
    before: Option<(String, String)>,
    prompt: String,
    checks: Vec<Check>,
    response: String,
}

impl TaskDraft {
    fn new(prompt: String) -> Self {
        Self { before: None, prompt, checks: Vec::new(), response: String::new() }
    }

    /// Adds a sentence of the response with the rubric that asks for it.
    fn check(&mut self, sentence: &str, rubric: String, keys: &[String]) {
        if !self.response.is_empty() {
            // `Winner: NAME` and `Fee: N crowns` are asked for as lines of their own.
            self.response.push(if sentence.ends_with('.') { ' ' } else { '\n' });
        }
        self.response.push_str(sentence);
        self.checks.push(Check { rubric, keys: keys.to_vec() });
    }
}

fn assemble(book: Book, drafts: Vec<TaskDraft>, dice: &mut Dice) -> Context {
    let (text, context_id) = (book.text(), uuid(dice.bits()));
    let (mut tasks, mut answers) = (Vec::new(), Vec::new());
    for draft in drafts {
        let task_id = uuid(dice.bits());
        let mut messages = vec![Message::system(book.system.as_str())];
        let with_book = |question: &str| Message::user(format!("{text}\n\n{question}"));
        match &draft.before {
            Some((question, answer)) => {
                messages.push(with_book(question));
                messages.push(Message::assistant(answer.as_str()));
                messages.push(Message::user(draft.prompt));
            }
            None => messages.push(with_book(&draft.prompt)),
        }
        tasks.push(Task {
            messages,
            rubrics: draft.checks.iter().map(|check| check.rubric.clone()).collect(),
            metadata: Metadata {
                task_id: task_id.clone(),
                context_id: context_id.clone(),
                context_category: book.category.clone(),
                sub_category: book.sub_category.clone(),
            },
        });
        answers.push(TaskGold { task_id, response: draft.response, checks: draft.checks });
    }
    Context { book: text, tasks, gold: RuleBookGold { context_id, cards: book.cards, tasks: answers } }
}

/// The bits as a UUID of version 4.
fn uuid(bits: u128) -> String {
    let hex = format!("{:032x}", (bits & !(0xF << 76) & !(0x3 << 62)) | 0x4 << 76 | 0x2 << 62);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests;
