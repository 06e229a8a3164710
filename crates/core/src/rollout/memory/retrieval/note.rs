//! The model's own note on a turn: a sentence and keywords.

use serde::{Deserialize, Serialize};

use super::super::transcript;
use crate::abort::Abort;
use crate::message::Message;
use crate::rollout::event::Event;
use crate::rollout::policy::{GenerateRequest, Policy, PolicyError, Weights};
use crate::rollout::state::Turn;
use crate::rollout::writer::{MAX_TEXT, WriterInput, sample};

/// Most tokens of a note with its keywords.
const NOTE_TOKENS: usize = 64;
/// Most keywords of a note.
const MAX_KEYWORDS: usize = 8;
/// Most bytes of a keyword.
const MAX_KEYWORD: usize = 64;
/// What stands before the keywords.
const KEYWORDS: &str = "Keywords:";

/// What the model noted about a turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The note.
    pub text: String,
    /// Words it may be looked for by.
    pub keywords: Vec<String>,
    /// Earlier turns that it is related to, the nearest first.
    pub links: Vec<usize>,
}

impl Note {
    /// What a turn is found by beyond its own words.
    pub(super) fn searched(&self) -> String {
        format!("{}\n{}", self.text, self.keywords.join(" "))
    }

    /// Reads what the model wrote behind "Note:". `None` where there is no note in it.
    fn parse(written: &str) -> Option<Self> {
        let (text, keywords) = written.split_once(KEYWORDS).unwrap_or((written, ""));
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = text[..text.floor_char_boundary(MAX_TEXT)].trim().to_owned();
        let keywords = keywords.lines().next().unwrap_or_default().split(',');
        let keywords = keywords
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
            .filter(|word| !word.is_empty() && word.len() <= MAX_KEYWORD)
            .take(MAX_KEYWORDS)
            .map(str::to_owned)
            .collect();
        (!text.is_empty()).then_some(Self { text, keywords, links: Vec::new() })
    }
}

/// A note on each of the turns, all in one batch; none on a turn that the model does not hold, or where it wrote
/// nothing usable. `None` where it was stopped.
pub(super) async fn write<P: Policy>(
    policy: &mut P,
    input: &WriterInput<'_>,
    observe: &mut dyn FnMut(Event),
    abort: &Abort,
) -> Result<Option<Vec<Option<Note>>>, PolicyError> {
    let room = policy.context_length().saturating_sub(NOTE_TOKENS);
    let mut requests = Vec::with_capacity(input.turns.len());
    let mut places = Vec::with_capacity(input.turns.len());
    for (place, turn) in input.turns.iter().enumerate() {
        let messages = vec![instruction(turn, input.question)];
        if policy.count_tokens(&messages)? <= room {
            requests.push(GenerateRequest {
                messages,
                assistant_prefix: "Note:".to_owned(),
                max_tokens: NOTE_TOKENS,
                sampling: input.settings.sampling.clone(),
                weights: Weights::Fast,
                stop: vec!["\n\n".to_owned()],
            });
            places.push(place);
        }
    }
    let mut notes = vec![None; input.turns.len()];
    if requests.is_empty() {
        return Ok(Some(notes));
    }
    let (generations, aborted) = sample(policy, &requests, observe, abort).await?;
    if aborted {
        return Ok(None);
    }
    for (place, generation) in places.into_iter().zip(generations) {
        notes[place] = Note::parse(&generation.text);
    }
    Ok(Some(notes))
}

fn instruction(turn: &Turn, question: Option<&str>) -> Message {
    let purpose =
        question.map_or_else(String::new, |question| format!(" The note is for answering this question: {question}"));
    Message::user(format!(
        "Write a note on this part of a conversation: one short sentence with its facts, then up to {MAX_KEYWORDS} \
         keywords to find it by.{purpose}\n\n{}\n\nReply in this form:\nNote: the sentence\n{KEYWORDS} one, two, three",
        transcript(&turn.user, &turn.assistant)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_a_sentence_and_keywords_whatever_is_around_them() {
        let note = Note::parse(" Ann moved\n to Ghent. \nKeywords: Ann, Ghent , , \"moving\".\nand more").unwrap();
        assert_eq!(note.text, "Ann moved to Ghent.");
        assert_eq!(note.keywords, ["Ann", "Ghent", "moving"]);
        assert_eq!(Note::parse("No keywords here").unwrap().keywords, Vec::<String>::new());
        assert_eq!(Note::parse(" \nKeywords: a, b"), None);
        assert_eq!(Note::parse(""), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(written in "(?s).{0,700}(Keywords:)?.{0,60}") {
            if let Some(note) = Note::parse(&written) {
                proptest::prop_assert!(note.text.len() <= MAX_TEXT && note.keywords.len() <= MAX_KEYWORDS);
            }
        }
    }
}
