//! Turns that report what named people said, as transcripts of conversations do.
//!
//! `Ann said, "I live in Ghent."` and, with a photo, `Ann said, "Look!" and shared a photo of a dog.`: the context lines of
//! LoCoMo (arXiv 2402.17753). One turn may hold several such lines, and the session's date may stand before them
//! (`[1:56 pm on 8 May, 2023] Ann said, …` or a line `DATE: …`). "I" is then not the user. What the rules find in the
//! quoted text is put into the third person, or quoted where that is not certain.
//!
//! The text is untrusted. Whoever can write a turn can write any name into it; the cards then say what the turn says.

mod cards;
mod conjugation;
#[cfg(test)]
mod tests;
mod third_person;
mod when;
mod whole;

pub(super) use self::cards::{Quoted, cards, quoted_card, quoted_question};
pub(in crate::rollout::writer) use self::conjugation::third_word;
use super::pattern::{date, group, months, pattern};

pattern!(LINE, r#"^(?:\[([^\[\]]{1,80})\] )?(\p{Lu}[\w'’.-]{0,30}(?: \p{Lu}[\w'’.-]{0,30}){0,2}) said, "(.*)$"#);
pattern!(HEADER, r"^(?:\[([^\[\]]{1,80})\]|DATE: ?(.{1,80})|CONVERSATION:)$");
pattern!(PAIR_SHARED, r#"^(.*)" and shared ([^"]{1,300})\.$"#);
pattern!(
    DAY,
    r"\b\d{4}[-/]\d{1,2}[-/]\d{1,2}\b|\b\d{1,2}(?:st|nd|rd|th)? (?:of )?(?:",
    months!(),
    r"),? \d{4}\b|\b(?:",
    months!(),
    r") \d{1,2}(?:st|nd|rd|th)?,? \d{4}\b|\b",
    date!(),
    r"\b"
);

/// What one person said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rollout::writer) struct Speech {
    pub(in crate::rollout::writer) name: String,
    /// The quoted text on one line.
    pub(in crate::rollout::writer) text: String,
    /// What was shared with it ("a photo of a dog").
    pub(in crate::rollout::writer) shared: Option<String>,
    /// The day it was said on, as it is written ("8 May, 2023").
    pub(in crate::rollout::writer) date: Option<String>,
}

/// Reads turns in order: a session's date stands before its first turn only.
#[derive(Debug, Default)]
pub(in crate::rollout::writer) struct Reader {
    date: Option<String>,
}

impl Reader {
    /// What was said in a turn; nothing where any line is not of the shape.
    pub(in crate::rollout::writer) fn read(&mut self, turn: &str) -> Vec<Speech> {
        let turn = &turn[..turn.floor_char_boundary(super::MAX_TURN)];
        let mut date = self.date.clone();
        let mut blocks: Vec<(String, String, Option<String>)> = Vec::new();
        for line in turn.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(captures) = LINE.captures(line).filter(|c| is_name(group(c, 2))) {
                date = day(group(&captures, 1)).or(date);
                blocks.push((group(&captures, 2).to_owned(), group(&captures, 3).to_owned(), date.clone()));
            } else if let Some((_, text, _)) = blocks.last_mut() {
                // What is quoted may have lines of its own.
                text.push(' ');
                text.push_str(line);
            } else if let Some(captures) = HEADER.captures(line) {
                date = day(group(&captures, 1)).or_else(|| day(group(&captures, 2))).or(date);
            } else {
                return Vec::new();
            }
        }
        let speeches: Option<Vec<Speech>> =
            blocks.into_iter().map(|(name, text, date)| speech(name, &text, date)).collect();
        let speeches = speeches.unwrap_or_default();
        if let Some(last) = speeches.last() {
            self.date.clone_from(&last.date);
        }
        speeches
    }
}

/// A pronoun or the beginning of a sentence is nobody's name.
fn is_name(name: &str) -> bool {
    name.split(' ').all(|word| !super::pattern::is_function_word(word))
}

fn day(header: &str) -> Option<String> {
    DAY.find(header).map(|found| found.as_str().to_owned())
}

/// `text` is what stands behind the opening quotation mark.
fn speech(name: String, text: &str, date: Option<String>) -> Option<Speech> {
    let (said, shared) = if let Some(said) = text.strip_suffix('"') {
        (said, None)
    } else if let Some(captures) = PAIR_SHARED.captures(text) {
        (group(&captures, 1), Some(group(&captures, 2).trim().to_owned()))
    } else if text.matches('"').count().is_multiple_of(2) {
        // The first part of a turn that was fed in parts: its end is elsewhere.
        (text, None)
    } else {
        return None;
    };
    let text = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(Speech { name, text, shared, date })
}
