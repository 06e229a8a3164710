//! The conversation as it is shown: lines in order, each replaceable by its id.

use serde::{Deserialize, Serialize};
use tmem_core::card::Card;
use tmem_core::fast::{DeltaId, WriteOutcome};
use tmem_core::rollout::policy::{Finish, GateReading};

/// A line of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place: lines are in ascending order of their ids.
    pub id: u64,
    /// What it is.
    pub content: Content,
}

/// What a line of the conversation holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// A turn: what the person said and what was answered.
    Turn {
        /// What the person said.
        question: String,
        /// The answer with the fast weights.
        answer: Answer,
        /// The frozen twin's answer, where it was asked.
        twin: Option<Answer>,
    },
    /// Memory was written, or trained anew because a card was changed or forgotten.
    Write(Box<WriteSummary>),
    /// The context was cleared.
    Cleared,
    /// Something worth telling.
    Notice {
        /// The text.
        text: String,
    },
}

/// An answer, complete or on its way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text so far.
    pub text: String,
    /// Why it ended; `None` while it is on its way.
    pub finish: Option<Finish>,
    /// The gate's decision.
    pub gate: Option<GateReading>,
    /// Tokens generated.
    pub tokens: usize,
    /// Seconds it took.
    pub seconds: f64,
    /// Tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: usize,
    /// Seconds until the first token; 0 where none came.
    #[serde(default)]
    pub first_after: f64,
}

/// A write in short.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WriteSummary {
    /// Whether Δ was trained from zero by the cards that were kept.
    pub retrained: bool,
    /// Whether the cards are only kept: the memory trains nothing.
    #[serde(default)]
    pub kept: bool,
    /// Cards written; empty where Δ was trained anew.
    pub cards: Vec<Card>,
    /// Number of cards trained on, replayed ones not counted.
    pub count: usize,
    /// What the writer wrote that was dropped (malformed, not grounded, doubled).
    pub dropped: usize,
    /// How training ended; `None` while it runs.
    pub outcome: Option<WriteOutcome>,
    /// Mean loss before each step, in nats.
    pub losses: Vec<f32>,
    /// The Δ afterwards.
    pub delta: DeltaId,
    /// Seconds of the whole write.
    pub seconds: f64,
}

/// The lines in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Log(Vec<Entry>);

impl Log {
    /// The lines.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Whether nothing was said or done.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The line with this id.
    pub fn get(&self, id: u64) -> Option<&Entry> {
        self.0.binary_search_by_key(&id, |entry| entry.id).ok().map(|at| &self.0[at])
    }

    /// Puts a line in its place, or in that of the line with the same id.
    pub fn put(&mut self, entry: Entry) {
        match self.0.binary_search_by_key(&entry.id, |held| held.id) {
            Ok(at) => self.0[at] = entry,
            Err(at) => self.0.insert(at, entry),
        }
    }

    /// Adds a piece of text to an answer. A line nobody knows is not an error: it may have been replaced.
    pub fn extend(&mut self, id: u64, twin: bool, text: &str) {
        let Ok(at) = self.0.binary_search_by_key(&id, |entry| entry.id) else { return };
        let Content::Turn { answer, twin: twin_answer, .. } = &mut self.0[at].content else { return };
        let target = if twin { twin_answer.get_or_insert_default() } else { answer };
        target.text.push_str(text);
        target.tokens += 1;
    }

    /// The latest turn: what was said, the answer, the twin's.
    pub fn last_turn(&self) -> Option<(&str, &Answer, Option<&Answer>)> {
        self.0.iter().rev().find_map(|entry| match &entry.content {
            Content::Turn { question, answer, twin } => Some((question.as_str(), answer, twin.as_ref())),
            _ => None,
        })
    }

    /// The latest write that is over.
    pub fn last_write(&self) -> Option<&WriteSummary> {
        self.0.iter().rev().find_map(|entry| match &entry.content {
            Content::Write(write) if write.outcome.is_some() => Some(write.as_ref()),
            _ => None,
        })
    }

    /// Nothing is on its way any more: what has no end yet was stopped.
    pub fn close(&mut self) {
        for entry in &mut self.0 {
            match &mut entry.content {
                Content::Turn { answer, twin, .. } => {
                    for answer in std::iter::once(answer).chain(twin) {
                        answer.finish.get_or_insert(Finish::Aborted);
                    }
                }
                Content::Write(summary) => {
                    summary.outcome.get_or_insert(WriteOutcome::Aborted);
                }
                Content::Cleared | Content::Notice { .. } => {}
            }
        }
    }
}

impl From<Vec<Entry>> for Log {
    fn from(mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| entry.id);
        Self(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(id: u64, text: &str) -> Entry {
        Entry { id, content: Content::Notice { text: text.into() } }
    }

    #[test]
    fn lines_take_their_place_by_id() {
        let mut log = Log::from(vec![notice(5, "b"), notice(1, "a")]);
        log.put(notice(3, "between"));
        log.put(notice(5, "replaced"));
        assert_eq!(log.entries(), [notice(1, "a"), notice(3, "between"), notice(5, "replaced")]);
        assert_eq!(log.get(3), Some(&notice(3, "between")));
        assert_eq!(log.get(4), None);
    }

    #[test]
    fn text_goes_to_the_answer_it_belongs_to() {
        let content = Content::Turn { question: "q".into(), answer: Answer::default(), twin: None };
        let mut log = Log::from(vec![Entry { id: 7, content }, notice(8, "n")]);
        for (id, twin, text) in
            [(7, false, "Hi"), (7, true, "Hey"), (7, false, " you"), (8, false, "x"), (9, true, "x")]
        {
            log.extend(id, twin, text);
        }
        let (question, answer, twin) = log.last_turn().unwrap();
        assert_eq!((question, answer.text.as_str(), answer.tokens), ("q", "Hi you", 2));
        assert_eq!(twin.unwrap().text, "Hey");
        log.close();
        assert_eq!(log.last_turn().unwrap().1.finish, Some(Finish::Aborted));
        assert_eq!(log.entries()[1], notice(8, "n"));
    }
}
