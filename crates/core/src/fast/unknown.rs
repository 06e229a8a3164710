//! Questions about things that were never told, against leaking: a model that has just learned "your dog's name is
//! Biscuit" will gladly answer "Biscuit" to "what is my horse's name?". A few such questions in every batch, answered
//! with their own subject and "not known to me", teach it to decide after the subject rather than before.

use std::collections::HashSet;

use crate::card::Card;

/// Subjects by the shape of their question.
const SHAPES: &[(&str, &str, &[&str])] = &[
    (
        "What is my {}'s name?",
        "Your {}'s name is not known to me.",
        &["teacher", "cousin", "boss", "grandmother", "hamster", "rabbit", "son", "roommate", "best friend", "nephew"],
    ),
    (
        "What is my {} called?",
        "Your {}'s name is not known to me.",
        &["grandfather", "niece", "canary", "tortoise", "boat", "husband"],
    ),
    (
        "What is my favourite {}?",
        "Your favourite {} is not known to me.",
        &["season", "animal", "sport", "city", "dish", "painter", "shop"],
    ),
    ("When is my {}?", "Your {} is on a date not known to me.", &["haircut", "interview", "holiday", "next lesson"]),
    (
        "When is my {}'s birthday?",
        "Your {}'s birthday is on a date not known to me.",
        &["boss", "cousin", "son", "neighbour"],
    ),
    (
        "Where does my {} live?",
        "Your {} lives in a place not known to me.",
        &["cousin", "boss", "grandmother", "best friend"],
    ),
    ("Who is {}?", "{} is not known to me.", &["Hannah Weber", "Marco Bellini", "Yusuf Demir", "Greta Olsen"]),
    (
        "What is my {}?",
        "Your {} is not known to me.",
        &[
            "passport number",
            "bank account number",
            "middle name",
            "blood type",
            "zodiac sign",
            "wifi password",
            "hair colour",
            "salary",
        ],
    ),
];

/// Words that say nothing about the subject of a question.
const COMMON: &[&str] = &[
    "what",
    "is",
    "my",
    "the",
    "of",
    "a",
    "an",
    "do",
    "does",
    "did",
    "i",
    "am",
    "who",
    "when",
    "where",
    "which",
    "how",
    "s",
    "name",
    "called",
    "favourite",
    "favorite",
    "live",
    "birthday",
    "many",
    "have",
    "number",
    "colour",
    "last",
    "next",
    "to",
    "for",
    "with",
    "go",
    "your",
    "you",
    "in",
    "on",
    "it",
];

/// The words of a text that carry its subject, lower-case and without a plural s.
fn subject_words(text: &str) -> HashSet<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| if word.len() > 3 { word.strip_suffix('s').unwrap_or(word) } else { word })
        .filter(|word| !COMMON.contains(word))
        .map(str::to_owned)
        .collect()
}

/// Question cards about nothing that `known` cards speak of: a question that shares a word with a learned card might
/// contradict it and is left out.
pub fn unknown_cards<'a>(known: impl Iterator<Item = &'a Card>) -> Vec<Card> {
    let words: HashSet<String> =
        known.flat_map(|card| card.questions().chain([card.answer.as_str()])).flat_map(subject_words).collect();
    SHAPES
        .iter()
        .flat_map(|(question, answer, subjects)| {
            subjects.iter().map(move |subject| (question.replace("{}", subject), answer.replace("{}", subject)))
        })
        .filter(|(question, _)| subject_words(question).is_disjoint(&words))
        .map(|(question, answer)| Card { id: u64::MAX, question, answer, wordings: Vec::new(), source_turn: None })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_a_learned_subject_is_left_out() {
        let card = |question: &str, answer: &str| Card {
            id: 1,
            question: question.into(),
            answer: answer.into(),
            wordings: Vec::new(),
            source_turn: None,
        };
        let all = unknown_cards(std::iter::empty());
        assert!(all.iter().any(|c| c.answer == "Your teacher's name is not known to me."));
        let known = [card("Who are my cousins?", "Your cousins are Ann and Bo."), card("Who?", "Hannah.")];
        let rest = unknown_cards(known.iter());
        assert!(rest.len() < all.len());
        assert!(rest.iter().all(|c| !c.question.contains("cousin") && !c.question.contains("Hannah")));
    }
}
