//! The scores of SQuAD, on which nearly all question answering rests: exact match and token F1 after lower-casing,
//! deleting ASCII punctuation and removing the articles.

use std::collections::HashMap;

/// SQuAD's normal form: lower case, ASCII punctuation deleted, "a", "an" and "the" removed, single spaces.
pub fn normalise(text: &str) -> String {
    let kept: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    without_words(&kept, &["a", "an", "the"])
}

/// Removes whole words (runs of letters and digits, as a regular expression's `\b` sees them) and collapses white space.
pub(crate) fn without_words(text: &str, removed: &[&str]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut word_start = 0;
    let mut in_word = false;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let of_word = c.is_alphanumeric() || c == '_';
        if in_word && !of_word {
            let word = &text[word_start..at];
            kept.push_str(if removed.contains(&word) { " " } else { word });
        }
        if !in_word && of_word {
            word_start = at;
        }
        in_word = of_word;
        if !of_word {
            kept.push(c);
        }
    }
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether prediction and answer have the same normal form.
pub fn exact_match(prediction: &str, answer: &str) -> bool {
    normalise(prediction) == normalise(answer)
}

/// Token F1 of the normal forms. Where one side is "yes", "no" or "noanswer" and the other is something else, 0
/// (HotpotQA's guard: "yes, it was" is not half right where "no" is).
pub fn f1(prediction: &str, answer: &str) -> f64 {
    let (prediction, answer) = (normalise(prediction), normalise(answer));
    let closed = |text: &str| matches!(text, "yes" | "no" | "noanswer");
    if (closed(&prediction) || closed(&answer)) && prediction != answer {
        return 0.0;
    }
    multiset_f1(prediction.split_whitespace(), answer.split_whitespace())
}

/// Whether the normal form of an answer stands within that of the prediction.
pub fn substring_match(prediction: &str, answer: &str) -> bool {
    let answer = normalise(answer);
    !answer.is_empty() && normalise(prediction).contains(&answer)
}

/// How many tokens two texts have, and how many of them in common, each counted once.
pub(crate) struct Overlap {
    pub(crate) common: usize,
    pub(crate) prediction: usize,
    pub(crate) answer: usize,
}

impl Overlap {
    pub(crate) fn of<T: Eq + std::hash::Hash>(
        prediction: impl IntoIterator<Item = T>,
        answer: impl IntoIterator<Item = T>,
    ) -> Self {
        let mut unmatched: HashMap<T, usize> = HashMap::new();
        let mut answer_tokens = 0usize;
        for token in answer {
            *unmatched.entry(token).or_default() += 1;
            answer_tokens += 1;
        }
        let (mut tokens, mut common) = (0usize, 0usize);
        for token in prediction {
            tokens += 1;
            if let Some(count) = unmatched.get_mut(&token).filter(|count| **count > 0) {
                *count -= 1;
                common += 1;
            }
        }
        Self { common, prediction: tokens, answer: answer_tokens }
    }
}

/// 2PR / (P + R) over multisets of tokens; 0 without a common token.
pub(crate) fn multiset_f1<T: Eq + std::hash::Hash>(
    prediction: impl IntoIterator<Item = T>,
    answer: impl IntoIterator<Item = T>,
) -> f64 {
    let Overlap { common, prediction: tokens, answer: answer_tokens } = Overlap::of(prediction, answer);
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / tokens as f64, common as f64 / answer_tokens as f64);
    2.0 * precision * recall / (precision + recall)
}

/// The best of a score over several right answers; 0 without any.
pub fn best<S: AsRef<str>>(answers: &[S], score: impl Fn(&str) -> f64) -> f64 {
    answers.iter().map(|answer| score(answer.as_ref())).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_and_punctuation_do_not_count() {
        assert_eq!(normalise("The  U.S.A., an ally — a-b"), "usa ally — ab");
        assert_eq!(normalise("Theatre a’la"), "theatre ’la");
        assert!(exact_match("The Beatles!", "beatles"));
        assert!(substring_match("It was the year 1999.", "Year 1999"));
        assert!(!substring_match("anything", "the"));
    }

    #[test]
    fn f1_is_guarded_for_closed_questions() {
        assert_eq!(f1("yes it was", "no"), 0.0);
        assert_eq!(f1("Yes.", "yes"), 1.0);
        assert_eq!(f1("red car", "a red bus"), 0.5);
        assert_eq!(f1("", ""), 0.0);
        assert_eq!(best(&["red bus", "green car"], |gold| f1("green car", gold)), 1.0);
    }
}
