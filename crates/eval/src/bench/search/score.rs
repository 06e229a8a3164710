//! MEM1's two scorers. They disagree in normalisation, in what counts as an answer and in partial credit; both are
//! sums over the objectives, between 0 and k.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::metrics::squad;

/// Scores of an episode. Divide by `objectives` for a mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SearchScores {
    /// The training reward: positional exact matches, SQuAD's normalisation.
    pub reward: f64,
    /// The evaluation script's exact matches.
    pub em: f64,
    /// The evaluation script's token F1 (over sets of tokens).
    pub f1: f64,
    /// Number of questions.
    pub objectives: usize,
}

/// The training reward of a text that begins with the prompt. The prompt shows an answer itself, so only a second
/// `<answer>` counts; the last one is taken. Without one the reward is 0 (upstream's code fails there). Answers
/// too few lose their objectives, answers too many are ignored.
pub fn training_reward(prompt_and_response: &str, gold: &[Vec<String>]) -> f64 {
    let answers = answers(prompt_and_response);
    let [_, .., last] = answers.as_slice() else { return 0.0 };
    let matched = |(answer, gold): &(&str, &Vec<String>)| gold.iter().any(|gold| squad::exact_match(answer, gold));
    last.split(';').zip(gold).filter(matched).count() as f64
}

/// Exact match and token F1 of the evaluation script, of a text without the prompt: the last `<answer>`, 0 where the
/// answer tags do not balance or the number of answers is not that of the questions. Normalisation: lower case, ASCII
/// punctuation becomes a space, articles stay.
pub fn eval_scores(response: &str, gold: &[Vec<String>]) -> (f64, f64) {
    let response = response.to_lowercase();
    if !balanced(&response) {
        return (0.0, 0.0);
    }
    let Some(last) = answers(&response).pop() else { return (0.0, 0.0) };
    let given: Vec<String> = last.split(';').map(preprocess).collect();
    if given.len() != gold.len() {
        return (0.0, 0.0);
    }
    let (mut em, mut f1) = (0.0, 0.0);
    for (answer, gold) in given.iter().zip(gold) {
        let gold: Vec<String> = gold.iter().map(|gold| preprocess(gold)).collect();
        em += f64::from(gold.contains(answer));
        f1 += squad::best(&gold, |gold| {
            let tokens = |text| str::split_whitespace(text).collect::<HashSet<_>>();
            squad::multiset_f1(tokens(answer), tokens(gold))
        });
    }
    (em, f1)
}

/// What stands in each pair of answer tags, white space around it dropped.
fn answers(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("<answer>") {
        let Some((content, after)) = after.split_once("</answer>") else { break };
        found.push(content.trim());
        rest = after;
    }
    found
}

/// As many opening as closing tags, and a closing one behind each opening one.
fn balanced(text: &str) -> bool {
    let (opened, closed) = (text.matches("<answer>").count(), text.matches("</answer>").count());
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("<answer>") {
        let Some((_, after)) = after.split_once("</answer>") else { return false };
        rest = after;
    }
    opened == closed
}

fn preprocess(text: &str) -> String {
    let spaced: String = text.to_lowercase().chars().map(|c| if c.is_ascii_punctuation() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}
