//! Which drafts become cards: grounded in a turn, and not said before.

use std::collections::HashSet;

use super::answer_first::speaker::{Reader, third_word};
use super::{Draft, DropReason, Dropped};
use crate::card::Card;
use crate::retrieval::{content_words, words};
use crate::rollout::state::Turn;

/// Two questions about the same fact share at least this share of their content words.
const SAME_QUESTION: f32 = 0.8;

/// Whether `needle` stands in `haystack` as a run of whole words.
pub(crate) fn contains_words(haystack: &[String], needle: &[String]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|w| w == needle)
}

/// What a turn supports an answer with.
struct Heard {
    index: usize,
    said: Vec<String>,
    /// Of a turn that reports what named people said: the verbs of "I" as they stand behind a name, and the day it was said
    /// on, which may stand before an earlier turn.
    reported: HashSet<String>,
}

/// Turns as they are heard in order.
fn heard(turns: &[Turn]) -> Vec<Heard> {
    let mut reader = Reader::default();
    let hear = |turn: &Turn| {
        let said = words(&turn.user);
        let speeches = reader.read(&turn.user);
        let mut reported = HashSet::new();
        if !speeches.is_empty() {
            reported.extend(said.iter().map(|word| third_word(word)));
            reported.extend(speeches.iter().filter_map(|speech| speech.date.as_deref()).flat_map(words));
        }
        Heard { index: turn.index, said, reported }
    };
    turns.iter().map(hear).collect()
}

/// The turn that supports an answer: the answer stands in what the person said, word for word, or all its content
/// words that the question does not already have do. Of several the one that shares most words with the question
/// counts, of equal ones the latest.
///
/// An answer about a named speaker tells of them in the third person ("Ann lives in Ghent"), which their own words
/// support ("I live in Ghent"), and may say on which day they said it, where the context tells that.
pub fn source(question: &str, answer: &str, turns: &[Turn]) -> Option<usize> {
    supporting(question, answer, &heard(turns))
}

fn supporting<'a>(question: &str, answer: &str, turns: impl IntoIterator<Item = &'a Heard>) -> Option<usize> {
    let asked: HashSet<String> = words(question).into_iter().collect();
    let whole = words(answer);
    let new: Vec<String> = content_words(answer).into_iter().filter(|w| !asked.contains(w)).collect();
    turns
        .into_iter()
        .filter_map(|Heard { index, said, reported }| {
            let stands = |word: &String| said.contains(word) || reported.contains(word);
            let supported = contains_words(said, &whole) || (!new.is_empty() && new.iter().all(stands));
            let shared = said.iter().filter(|w| asked.contains(*w)).count();
            supported.then_some((shared, *index))
        })
        .max()
        .map(|(_, index)| index)
}

fn similarity(a: &HashSet<String>, b: &HashSet<String>) -> f32 {
    let union = a.union(b).count();
    if union == 0 { 1.0 } else { a.intersection(b).count() as f32 / union as f32 }
}

/// What a card says, for telling whether another says the same.
struct Said {
    question: HashSet<String>,
    answer: HashSet<String>,
}

impl Said {
    fn new(question: &str, answer: &str) -> Self {
        Self {
            question: content_words(question).into_iter().collect(),
            answer: content_words(answer).into_iter().collect(),
        }
    }

    /// Same question in other words or order, and one answer holds the other ("Biscuit", "Your dog is Biscuit").
    fn repeats(&self, other: &Self) -> bool {
        similarity(&self.question, &other.question) >= SAME_QUESTION
            && (self.answer.is_subset(&other.answer) || other.answer.is_subset(&self.answer))
    }
}

/// Whether a new card takes an old one's place: the same question, another answer.
pub(crate) fn supersedes(new: &Card, old: &Card) -> bool {
    words(&new.question) == words(&old.question) && words(&new.answer) != words(&old.answer)
}

/// What [`review`] came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reviewed {
    /// Drafts to be learned, each with its source turn.
    pub kept: Vec<Draft>,
    /// The others.
    pub dropped: Vec<Dropped>,
}

/// Keeps drafts that are grounded in `turns`, new against `known` and each other, up to `max_cards`.
pub fn review(drafts: Vec<Draft>, turns: &[Turn], known: &[Card], max_cards: usize) -> Reviewed {
    let mut said: Vec<Said> = known.iter().map(|c| Said::new(&c.question, &c.answer)).collect();
    let heard = heard(turns);
    let mut reviewed = Reviewed::default();
    for mut draft in drafts {
        let found = match draft.source_turn {
            Some(index) => supporting(&draft.question, &draft.answer, heard.iter().find(|turn| turn.index == index)),
            None => supporting(&draft.question, &draft.answer, &heard),
        };
        let this = Said::new(&draft.question, &draft.answer);
        let reason = if found.is_none() {
            Some(DropReason::NotGrounded)
        } else if said.iter().any(|other| this.repeats(other)) {
            Some(DropReason::Duplicate)
        } else if reviewed.kept.len() == max_cards {
            Some(DropReason::OverLimit)
        } else {
            None
        };
        if let Some(reason) = reason {
            reviewed.dropped.push(Dropped::new(reason, &format!("{} {}", draft.question, draft.answer)));
            continue;
        }
        draft.source_turn = found;
        said.push(this);
        reviewed.kept.push(draft);
    }
    reviewed
}
