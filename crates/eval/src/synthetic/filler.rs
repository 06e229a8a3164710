//! Exchanges that tell nothing about anybody: questions about the world, requests, small talk, sums.

use super::dice::Dice;
use super::error::SyntheticError;
use super::grammar::{Subject, Voice};
use super::lexicon::Lexicon;
use super::scope::Scope;
use super::text::finish;

/// A distractor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filler {
    pub(super) user: String,
    pub(super) assistant: String,
    /// What a right answer contains; empty where there is no one right answer.
    pub(super) keys: Vec<String>,
    /// What it is about: distractors of the same topic differ in wording alone.
    pub(super) topic: Topic,
}

/// A topic: the pool and the place in it.
pub(super) type Topic = (u8, usize);

/// What sort of distractor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Anything.
    Any,
    /// A question or a request: what a person may add to a message that tells something.
    Request,
    /// A question with one short right answer.
    Knowledge,
    /// A request without one right answer.
    Task,
}

/// Draws a distractor.
pub(super) fn draw(lexicon: &Lexicon, sort: Sort, dice: &mut Dice) -> Result<Filler, SyntheticError> {
    let [explanations, tasks, small_talk] = &lexicon.exchanges;
    let roll = match sort {
        Sort::Any => dice.below(100),
        Sort::Request => dice.below(86),
        Sort::Knowledge => 0,
        Sort::Task => 60 + dice.below(26),
    };
    let (pool, number) = match roll {
        0..34 => return knowledge(lexicon, dice),
        34..40 => return Ok(sum(dice)),
        40..60 => (explanations, 2),
        60..86 => (tasks, 3),
        _ => (small_talk, 4),
    };
    let scope = Scope::new(lexicon, &Subject::User, Voice::User);
    let at = dice.below(pool.len());
    match pool.get(at) {
        Some(exchange) => Ok(Filler {
            user: scope.say(&exchange.user, dice)?,
            assistant: scope.say(&exchange.assistant, dice)?,
            keys: Vec::new(),
            topic: (number, at),
        }),
        None => Ok(sum(dice)),
    }
}

fn knowledge(lexicon: &Lexicon, dice: &mut Dice) -> Result<Filler, SyntheticError> {
    // Tables are weighted by their rows, so that every row is as likely as any other.
    let row = dice.below(lexicon.tables.iter().map(|table| table.rows.len()).sum());
    let mut at = row;
    for table in &lexicon.tables {
        let Some((subject, answer)) = table.rows.get(at) else {
            at -= table.rows.len();
            continue;
        };
        let scope = Scope::new(lexicon, &Subject::User, Voice::User).with("s", subject).with("r", &answer.text);
        let (user, assistant) = (scope.say(&table.questions, dice)?, scope.say(&table.answers, dice)?);
        return Ok(Filler { user, assistant, keys: answer.keys.clone(), topic: (0, row) });
    }
    Ok(sum(dice))
}

/// A sum or a conversion, computed.
fn sum(dice: &mut Dice) -> Filler {
    let (a, b) = (dice.between(12, 98), dice.between(3, 29));
    let (question, answer) = match dice.below(5) {
        0 => (format!("What is {a} times {b}?"), format!("{a} times {b} is {}.", a * b)),
        1 => (format!("How much is {a} plus {}?", b * 13), format!("That makes {}.", a + b * 13)),
        2 => (format!("Can you divide {} by {b} for me?", a * b), format!("The result is {a}.")),
        3 => (format!("How many centimetres are {a} metres?"), format!("{a} metres are {} centimetres.", a * 100)),
        _ => (format!("How many seconds are {b} minutes?"), format!("{b} minutes are {} seconds.", b * 60)),
    };
    let key = answer.trim_end_matches('.').split(' ').rfind(|word| word.parse::<u32>().is_ok());
    let keys = key.map(str::to_owned).into_iter().collect();
    Filler { keys, user: finish(&question), assistant: finish(&answer), topic: (1, 100 * a + b) }
}
