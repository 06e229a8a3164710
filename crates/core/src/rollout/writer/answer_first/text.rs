//! Cutting sentences, clauses and noun groups out of plain English, and turning them to the second person.

use super::pattern::{is_function_word, pattern};

pattern!(SENTENCE_END, r"[.!?]+(?= |$)");
pattern!(TITLE_END, r"\b(?:Mr|Mrs|Ms|Dr|Prof|St)\.$");
pattern!(
    CLAUSE_END,
    r"(?:,| and (?:I|we|it|he|she|they|the|my|our|this|that)\b| but | because | since | so | which | who | that | when | while |;|:| - | – | — |$)"
);

/// Adverbs that may end a clause without belonging to what it speaks of.
const TRAILING: [&str; 13] = [
    "again",
    "now",
    "everywhere",
    "today",
    "too",
    "badly",
    "here",
    "there",
    "still",
    "really",
    "anyway",
    "already",
    "then",
];

/// Splits at . ! ? before a space, titles (`Dr.`) excepted.
pub(super) fn sentences(turn: &str) -> Vec<&str> {
    let (mut sentences, mut start) = (Vec::new(), 0);
    for end in SENTENCE_END.find_all(turn) {
        if TITLE_END.is_match(&turn[start..end.end()]) {
            continue;
        }
        sentences.push(turn[start..end.start()].trim());
        start = end.end();
    }
    sentences.push(turn[start..].trim());
    sentences.retain(|s| !s.is_empty());
    sentences
}

/// I → you, my → your, am → are …; the first letter becomes upper case.
pub(super) fn second_person(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut turned = Vec::with_capacity(words.len());
    for (i, word) in words.iter().enumerate() {
        let core = word.trim_end_matches([',', '.', '!', '?', ';', ':']);
        let low = core.to_lowercase().replace('’', "'");
        let after_i = i > 0 && matches!(words[i - 1].to_lowercase().as_str(), "i" | "we");
        let other = match low.as_str() {
            "i" | "me" | "we" | "us" => "you",
            "i'm" | "we're" => "you're",
            "i've" | "we've" => "you've",
            "i'd" => "you'd",
            "i'll" => "you'll",
            "my" | "our" => "your",
            "mine" | "ours" => "yours",
            "myself" => "yourself",
            "am" => "are",
            "was" if after_i => "were",
            _ => core,
        };
        turned.push(format!("{other}{}", &word[core.len()..]));
    }
    upper_first(&turned.join(" "))
}

/// [`second_person`] for the middle of a sentence.
pub(super) fn second_person_within(text: &str) -> String {
    change_first(&second_person(text), |c| c.to_lowercase().collect())
}

fn upper_first(text: &str) -> String {
    change_first(text, |c| c.to_uppercase().collect())
}

fn change_first(text: &str, change: impl Fn(char) -> String) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| change(first) + chars.as_str()).unwrap_or_default()
}

/// Lower-cases the first letter, except of "I".
pub(super) fn lower_first(text: &str) -> String {
    if text.starts_with("I ") || text.starts_with("I'") {
        return text.to_owned();
    }
    change_first(text, |c| c.to_lowercase().collect())
}

/// The text up to the next border of a clause, without trailing adverbs.
pub(super) fn cut(text: &str) -> String {
    let end = CLAUSE_END.find(text).map_or(text.len(), |m| m.start());
    let clause = text[..end].trim_matches([' ', '.', '!', '?', '"', '\'']);
    let mut words: Vec<&str> = clause.split(' ').collect();
    while words.len() > 1 && words.last().is_some_and(|w| TRAILING.contains(&w.to_lowercase().as_str())) {
        words.pop();
    }
    words.join(" ")
}

/// Words that begin a measure of time behind a noun group ("Bergen two years ago").
const MEASURES: [&str; 8] = ["next", "last", "every", "each", "all", "two", "three", "ago"];

/// The leading noun group: words up to a border, a function word other than "of", or a measure of time.
pub(super) fn noun_phrase(text: &str) -> String {
    let clause = cut(text);
    let words: Vec<&str> = clause.split(' ').collect();
    let ends = |word: &&str| match word.to_lowercase().as_str() {
        "of" => false,
        low => is_function_word(low) || MEASURES.contains(&low),
    };
    let end = words.iter().skip(1).position(ends).map_or(words.len(), |at| at + 1);
    words[..end].join(" ")
}

/// The text without its article or possessive.
pub(super) fn strip_article(text: &str) -> &str {
    ["a ", "an ", "the ", "my ", "our "].iter().find_map(|article| text.strip_prefix(article)).unwrap_or(text)
}

/// The last word.
pub(super) fn head(text: &str) -> &str {
    text.rsplit(' ').next().unwrap_or(text)
}

/// The first word.
pub(super) fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

/// Whether there are letters and all of them are lower case.
pub(super) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)
}
