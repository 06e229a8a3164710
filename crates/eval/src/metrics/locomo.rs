//! LoCoMo's official score, by category of question.

use super::porter;
use super::squad::{multiset_f1, without_words};

/// The categories as the file numbers them (the paper has another order).
pub mod category {
    /// Answers are lists; every part counts.
    pub const MULTI_HOP: u8 = 1;
    /// Dates and durations.
    pub const TEMPORAL: u8 = 2;
    /// Answers need knowledge of the world; the gold answer ends at the first semicolon.
    pub const OPEN_DOMAIN: u8 = 3;
    /// One fact.
    pub const SINGLE_HOP: u8 = 4;
    /// Nothing in the conversation answers it.
    pub const ADVERSARIAL: u8 = 5;
}

/// The official normal form: commas deleted, lower case, ASCII punctuation deleted (not replaced: "self-care" becomes
/// "selfcare"), "a", "an", "the" and "and" removed, single spaces.
pub fn normalise(text: &str) -> String {
    let kept: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    without_words(&kept, &["a", "an", "the", "and"])
}

/// Token F1 of the stems of the normal forms; 0 where there is no overlap.
pub fn f1(prediction: &str, answer: &str) -> f64 {
    let stems = |text: &str| normalise(text).split_whitespace().map(porter::stem).collect::<Vec<_>>();
    multiset_f1(stems(prediction), stems(answer))
}

/// The official score of one answer.
///
/// - Category 1: both sides are split at commas; mean over the gold parts of the best F1 of any predicted part.
/// - Category 3: F1 against the gold answer's text before its first semicolon (the prediction is not cut).
/// - Category 5: 1 if the answer says that nothing is known ("no information available", "not mentioned"), else 0.
/// - Otherwise: F1.
pub fn score(category: u8, prediction: &str, answer: &str) -> f64 {
    match category {
        category::MULTI_HOP => {
            let parts: Vec<f64> = answer
                .split(',')
                .map(|gold| prediction.split(',').map(|part| f1(part.trim(), gold.trim())).fold(0.0, f64::max))
                .collect();
            parts.iter().sum::<f64>() / parts.len().max(1) as f64
        }
        category::OPEN_DOMAIN => f1(prediction, answer.split(';').next().unwrap_or_default().trim()),
        category::ADVERSARIAL => {
            let said = prediction.to_lowercase();
            f64::from(said.contains("no information available") || said.contains("not mentioned"))
        }
        _ => f1(prediction, answer),
    }
}

/// The option that an answer to a category 5 question chooses, as the official code reads it: an answer of one letter,
/// or of three characters as in "(a)"; any longer one stands for itself.
pub fn chosen_option<'a>(prediction: &'a str, options: &'a [String; 2]) -> &'a str {
    let said = prediction.trim();
    let [a, b] = options;
    match said.chars().count() {
        1 | 3 if said.to_lowercase().contains('a') => a,
        1 | 3 => b,
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        prediction: String,
        answer: serde_json::Value,
        category: u8,
        score: f64,
    }

    #[test]
    fn every_case_of_the_fixture_is_exact() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/locomo_scorer_fixtures.json")).unwrap();
        assert_eq!(cases.len(), 31);
        for case in cases {
            let answer = case.answer.as_str().map_or_else(|| case.answer.to_string(), str::to_owned);
            let scored = score(case.category, &case.prediction, &answer);
            let gap = (scored - case.score).abs();
            assert!(gap < 1e-15, "{:?} against {answer:?}: {scored}, not {}", case.prediction, case.score);
        }
    }

    #[test]
    fn an_uncut_gold_answer_of_category_3_does_not_score_fully() {
        let gold = "Likely no; because she said so";
        assert!(score(category::OPEN_DOMAIN, gold, gold) < 1.0);
    }

    #[test]
    fn letters_choose_an_option() {
        let options = ["Not mentioned in the conversation".to_owned(), "self-care".to_owned()];
        assert_eq!(chosen_option(" (a)", &options), options[0]);
        assert_eq!(chosen_option("B", &options), "self-care");
        assert_eq!(chosen_option("(b)", &options), "self-care");
        assert_eq!(chosen_option("It is (a).", &options), "It is (a).");
    }
}
