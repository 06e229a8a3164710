//! A seeded generator of conversations and rule books.
//!
//! A [`Plan`] is a life in facts: a persona with the people around it, facts that are told over months and partly change,
//! dated events, purchases, advice that is taken, and questions about all of it and about things that are never told.
//! From a plan, [`Plan::sessions`] writes the conversation session by session, [`LongMemEvalWriter`] a file in
//! LongMemEval's schema, [`Plan::gold`] the cards a perfect writer would write, and [`Plan::probe`] the files of
//! `trainer probe`. [`rulebook`] does the same for invented rules in CL-bench's schema.
//!
//! Everything that can be said stands in `data/` (its README describes the format). What holds for every output:
//!
//! - the same seed and parameters give the same bytes;
//! - no answer of one fact occurs in any other turn than those that tell this fact, or take or change it;
//! - a question's answer follows from the latest fact told before it is asked;
//! - held-out wordings are never among the wordings for training;
//! - nothing is told about what the unanswerable questions ask for.

mod calendar;
mod choose;
mod dice;
mod error;
mod filler;
mod gold;
mod grammar;
mod keys;
mod lexicon;
mod longmemeval;
mod parameters;
mod plan;
mod probe;
mod question;
pub mod rulebook;
mod scope;
mod session;
mod tell;
mod template;
mod text;
mod untold;
mod value;

pub use error::SyntheticError;
pub use gold::{Gold, GoldFact};
pub use grammar::Subject;
pub use lexicon::{Lexicon, Teller};
pub use longmemeval::{CANONICAL, Instance, InstanceTurn, LongMemEvalWriter, Wording};
pub use parameters::{Length, Parameters};
pub use plan::Plan;
pub use question::{Question, QuestionType};
pub use session::{Session, Sessions, Turn};
pub use untold::Untold;

#[cfg(test)]
mod tests;
