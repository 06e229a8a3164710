//! Regular expressions of the rules, and the pieces they share.

use fancy_regex::{Captures, Match, Regex};

/// A compiled expression. Text is untrusted: where matching gives up (the engine limits its backtracking), nothing
/// matches.
pub(super) struct Pattern(Option<Regex>);

impl Pattern {
    pub(super) fn new(expression: &str) -> Self {
        let regex = Regex::new(expression);
        debug_assert!(regex.is_ok(), "{expression}");
        Self(regex.ok())
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.as_ref().and_then(|r| r.is_match(text).ok()).unwrap_or(false)
    }

    pub(super) fn find<'t>(&self, text: &'t str) -> Option<Match<'t>> {
        self.0.as_ref().and_then(|r| r.find(text).ok()).flatten()
    }

    pub(super) fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.0.as_ref().and_then(|r| r.captures(text).ok()).flatten()
    }

    pub(super) fn find_all<'t>(&self, text: &'t str) -> Vec<Match<'t>> {
        self.0.as_ref().map(|r| r.find_iter(text).filter_map(Result::ok).collect()).unwrap_or_default()
    }

    pub(super) fn captures_all<'t>(&self, text: &'t str) -> Vec<Captures<'t>> {
        self.0.as_ref().map(|r| r.captures_iter(text).filter_map(Result::ok).collect()).unwrap_or_default()
    }

    /// The text without anything that matches.
    pub(super) fn strip(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let mut at = 0;
        for found in self.find_all(text) {
            kept.push_str(&text[at..found.start()]);
            at = found.end();
        }
        kept.push_str(&text[at..]);
        kept
    }

    /// The pieces between matches.
    pub(super) fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut pieces = Vec::new();
        let mut at = 0;
        for found in self.find_all(text) {
            pieces.push(&text[at..found.start()]);
            at = found.end();
        }
        pieces.push(&text[at..]);
        pieces
    }
}

/// The text of a group that may not have taken part.
pub(super) fn group<'t>(captures: &Captures<'t>, index: usize) -> &'t str {
    captures.get(index).map_or("", |m| m.as_str())
}

/// Defines a pattern that is compiled at its first use. Several parts are joined.
macro_rules! pattern {
    ($name:ident, $($part:expr),+ $(,)?) => {
        static $name: std::sync::LazyLock<$crate::rollout::writer::answer_first::pattern::Pattern> =
            std::sync::LazyLock::new(|| $crate::rollout::writer::answer_first::pattern::Pattern::new(concat!($($part),+)));
    };
}

macro_rules! months {
    () => {
        "January|February|March|April|May|June|July|August|September|October|November|December"
    };
}

macro_rules! days {
    () => {
        "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
    };
}

macro_rules! time {
    () => {
        r"(?:\d{1,2}(?::\d{2})? ?(?:am|pm|a\.m\.|p\.m\.|o'clock)|\d{1,2}:\d{2})"
    };
}

macro_rules! date {
    () => {
        concat!(
            "(?:(?:",
            months!(),
            r") \d{1,2}(?:st|nd|rd|th)?(?:,? \d{4})?|\d{1,2}(?:st|nd|rd|th)? (?:of )?(?:",
            months!(),
            r")(?: \d{4})?)"
        )
    };
}

/// A point in time: dates, days and times of day with their prepositions.
macro_rules! when {
    () => {
        concat!(
            "(?:(?:on |at |this |next )*(?:",
            date!(),
            "|",
            days!(),
            "|",
            time!(),
            ")(?:,? (?:on |at |from )*(?:",
            date!(),
            "|",
            days!(),
            "|",
            time!(),
            "))*)"
        )
    };
}

macro_rules! capitalised {
    () => {
        r"[A-Z][\w'’-]*"
    };
}

/// Capitalised words in a row, a title before them where there is one.
macro_rules! name {
    () => {
        concat!(r"(?:(?:(?:Mr|Mrs|Ms|Dr|Prof)\. )?", capitalised!(), "(?: ", capitalised!(), ")*)")
    };
}

macro_rules! prepositions {
    () => {
        "for|to|about|with|from|of|in|at|on|as|by"
    };
}

pub(super) use {capitalised, date, days, months, name, pattern, prepositions, time, when};

const MONTHS_AND_DAYS: &str = concat!(months!(), "|", days!());

/// Words that begin a clause or cannot be part of a noun group.
const FUNCTION_WORDS: &str = "a an the my our your his her their its i we you he she it they me us and or but so because since that which who whom \
    whose when while if is are was were be been am do does did has have had will would can could must should may might on in at of from with to for \
    by about again now today yesterday tomorrow just still also very really too this that these those there here not never always everywhere";

/// Whether a word, in any case, has no meaning of its own.
pub(super) fn is_function_word(word: &str) -> bool {
    FUNCTION_WORDS.split_ascii_whitespace().any(|w| w == word.to_lowercase())
}

/// Capitalised, but nobody's name.
pub(super) fn is_no_name(word: &str) -> bool {
    ["I", "I'm", "I've", "I'd", "I'll"].contains(&word) || MONTHS_AND_DAYS.split('|').any(|w| w == word)
}
