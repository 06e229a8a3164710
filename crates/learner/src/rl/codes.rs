//! The smallest task there is: doors and their codes. For smoke runs and for the toy model that knows nothing else
//! (`tests/fixtures/scripts/make_toy_writer.py`, whose words these are).

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::task::{Task, TaskQuestion, Tasks};
use crate::LearnError;
use crate::sft::Exchange;

const COLOURS: [&str; 12] =
    ["red", "blue", "green", "black", "white", "brown", "pink", "grey", "gold", "silver", "orange", "purple"];
const CODES: [&str; 24] = [
    "fox", "owl", "cat", "dog", "bear", "wolf", "lion", "frog", "duck", "goat", "deer", "crab", "hawk", "mole", "swan",
    "toad", "wasp", "moth", "seal", "mule", "crow", "dove", "lamb", "hare",
];

/// Some doors and their codes are told; the codes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Codes {
    /// Seeds all tasks.
    pub seed: u64,
    /// Codes that are told.
    pub told: usize,
    /// Further doors that are asked about.
    pub unknown: usize,
}

impl Default for Codes {
    fn default() -> Self {
        Self { seed: 0, told: 2, unknown: 1 }
    }
}

impl Tasks for Codes {
    fn task(&self, number: u64) -> Result<Task, LearnError> {
        let doors = self.told + self.unknown;
        if self.told == 0 || doors > COLOURS.len() {
            let (name, value) = ("told + unknown", doors.to_string());
            let expected = format!("at least one door is told of, and there are {}", COLOURS.len());
            return Err(LearnError::Setting { name, value, expected });
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(number);
        let (mut colours, mut codes) = (COLOURS, CODES);
        colours.shuffle(&mut random);
        codes.shuffle(&mut random);
        let codes = &codes[..self.told];
        let turns = colours.iter().zip(codes).map(|(colour, code)| Exchange {
            user: format!("The code of the {colour} door is {code}."),
            assistant: "Noted.".to_owned(),
        });
        let mut question = |colour: &str| {
            let wordings =
                [format!("What is the code of the {colour} door?"), format!("Which code opens the {colour} door?")];
            wordings[random.random_range(0..wordings.len())].clone()
        };
        let mut questions = Vec::with_capacity(doors);
        for (at, colour) in colours.iter().take(doors).enumerate() {
            let code = codes.get(at).copied();
            questions.push(TaskQuestion {
                text: question(colour),
                answer: code.unwrap_or("You have not told me that code.").to_owned(),
                keys: code.into_iter().map(str::to_owned).collect(),
                rubric: Vec::new(),
            });
        }
        Ok(Task { turns: turns.collect(), questions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_is_told_is_asked_for() {
        let codes = Codes { told: 3, unknown: 2, ..Codes::default() };
        for number in 0..20 {
            let task = codes.task(number).unwrap();
            assert_eq!(task, codes.task(number).unwrap());
            assert_eq!((task.turns.len(), task.questions.len()), (3, 5));
            for (turn, question) in task.turns.iter().zip(&task.questions) {
                assert!(turn.user.ends_with(&format!(" is {}.", question.answer)), "{task:?}");
                assert_eq!(question.keys, [question.answer.as_str()]);
            }
            assert!(task.questions[3..].iter().all(|question| !question.is_answerable()));
        }
    }
}
