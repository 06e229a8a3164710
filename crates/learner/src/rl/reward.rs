//! What an episode is rewarded for: the outcome, and what it cost.

use serde::{Deserialize, Serialize};
use tmem_eval::score::{contains_key, normalise, token_f1};

use super::task::TaskQuestion;
use crate::LearnError;

/// The weights of what makes up a reward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardSettings {
    /// Of the mean token F1 of answers to what was told.
    pub f1: f64,
    /// Of the share of them that are right to the word.
    pub exact_match: f64,
    /// Of the share of them that contain the answer.
    pub contains: f64,
    /// Of the mean share of their rubrics that answers fulfil, over the questions that have one.
    pub rubric: f64,
    /// Against the share of questions about what was never told that are answered with something that was.
    pub leak: f64,
    /// Against the divergence from the frozen model on ordinary prompts, in nats.
    pub damage: f64,
    /// Against every card that was written.
    pub card: f64,
    /// Against every item written that had to be dropped.
    pub dropped: f64,
}

impl Default for RewardSettings {
    fn default() -> Self {
        Self { f1: 1.0, exact_match: 0.0, contains: 0.0, rubric: 0.0, leak: 0.0, damage: 0.0, card: 0.0, dropped: 0.0 }
    }
}

impl RewardSettings {
    pub(super) fn check(&self) -> Result<(), LearnError> {
        let all = [
            ("reward.f1", self.f1),
            ("reward.exact_match", self.exact_match),
            ("reward.contains", self.contains),
            ("reward.rubric", self.rubric),
            ("reward.leak", self.leak),
            ("reward.damage", self.damage),
            ("reward.card", self.card),
            ("reward.dropped", self.dropped),
        ];
        match all.into_iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            None => Ok(()),
            Some((name, value)) => {
                Err(LearnError::Setting { name, value: value.to_string(), expected: "0 or more".into() })
            }
        }
    }

    /// The reward of an outcome.
    pub fn of(&self, outcome: &Outcome) -> f64 {
        self.f1 * outcome.f1
            + self.exact_match * outcome.exact_match
            + self.contains * outcome.contains
            + self.rubric * outcome.rubric
            - self.leak * outcome.leak
            - self.damage * outcome.damage
            - self.card * outcome.cards
            - self.dropped * outcome.dropped
    }
}

/// What came of an episode, or the mean over several.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Mean token F1 of answers to what was told.
    pub f1: f64,
    /// Share of them that are right to the word.
    pub exact_match: f64,
    /// Share of them that contain the answer.
    pub contains: f64,
    /// Mean share of their rubrics that answers fulfil, over the questions that have one.
    #[serde(default)]
    pub rubric: f64,
    /// Share of questions about what was never told that were answered with something that was.
    pub leak: f64,
    /// KL(frozen ‖ current) of the first token on ordinary prompts, in nats; 0 where it is not asked for.
    pub damage: f64,
    /// Cards written.
    pub cards: f64,
    /// Items written that had to be dropped.
    pub dropped: f64,
}

impl Outcome {
    /// Scores the answers to a task's questions, in their order.
    pub(super) fn score(questions: &[TaskQuestion], answers: &[String]) -> Self {
        let told: Vec<&String> = questions.iter().flat_map(|question| &question.keys).collect();
        let (mut known, mut judged, mut unknown, mut outcome) = (0.0, 0.0, 0.0, Self::default());
        for (question, answer) in questions.iter().zip(answers) {
            if question.is_answerable() {
                known += 1.0;
                outcome.f1 += token_f1(answer, &question.answer);
                outcome.exact_match += f64::from(normalise(answer) == normalise(&question.answer));
                outcome.contains += f64::from(contains_key(answer, &question.keys));
                if !question.rubric.is_empty() {
                    judged += 1.0;
                    let passed = question.rubric.iter().filter(|check| check.passes(answer)).count();
                    outcome.rubric += passed as f64 / question.rubric.len() as f64;
                }
            } else {
                unknown += 1.0;
                outcome.leak += f64::from(contains_key(answer, &told));
            }
        }
        for part in [&mut outcome.f1, &mut outcome.exact_match, &mut outcome.contains] {
            *part /= f64::max(known, 1.0);
        }
        outcome.rubric /= f64::max(judged, 1.0);
        outcome.leak /= f64::max(unknown, 1.0);
        outcome
    }

    /// The mean of several.
    pub fn mean<'a>(outcomes: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut sum, mut count) = ([0.0; 8], 0.0);
        for outcome in outcomes {
            count += 1.0;
            sum.iter_mut().zip(outcome.parts()).for_each(|(sum, part)| *sum += part);
        }
        let [f1, exact_match, contains, rubric, leak, damage, cards, dropped] =
            sum.map(|part| part / f64::max(count, 1.0));
        Self { f1, exact_match, contains, rubric, leak, damage, cards, dropped }
    }

    fn parts(&self) -> [f64; 8] {
        let Self { f1, exact_match, contains, rubric, leak, damage, cards, dropped } = *self;
        [f1, exact_match, contains, rubric, leak, damage, cards, dropped]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(answer: &str, keys: &[&str]) -> TaskQuestion {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        TaskQuestion { text: "?".into(), answer: answer.into(), keys, rubric: Vec::new() }
    }

    #[test]
    fn answers_are_scored_and_leaks_counted_apart() {
        let questions = [
            question("Your dog is Rex.", &["Rex"]),
            question("On Friday.", &["Friday"]),
            question("You did not say.", &[]),
        ];
        let answers = ["Your dog is Rex.", "On Monday.", "It is Rex."].map(str::to_owned);
        let outcome = Outcome::score(&questions, &answers);
        let expected = Outcome { f1: 0.75, exact_match: 0.5, contains: 0.5, leak: 1.0, ..Outcome::default() };
        assert_eq!(outcome, expected);
        let settings = RewardSettings { leak: 0.5, card: 0.1, ..RewardSettings::default() };
        assert_eq!(settings.of(&Outcome { cards: 2.0, ..outcome }), 0.75 - 0.5 - 0.2);
        assert_eq!(Outcome::mean(&[outcome, Outcome::default()]).f1, 0.375);
        assert_eq!(Outcome::mean(&[]), Outcome::default());
    }
}
