//! The model's own note on a turn: a sentence and keywords.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::super::transcript;
use crate::abort::Abort;
use crate::message::Message;
use crate::retrieval::terms;
use crate::rollout::event::Event;
use crate::rollout::policy::{GenerateRequest, Policy, PolicyError, Weights};
use crate::rollout::state::Turn;
use crate::rollout::writer::{DropReason, Dropped, MAX_TEXT, WriterInput, sample};

/// Most tokens of a note with its keywords.
const NOTE_TOKENS: usize = 64;
/// Most keywords of a note.
const MAX_KEYWORDS: usize = 8;
/// Most bytes of a keyword.
const MAX_KEYWORD: usize = 64;
/// What stands before the keywords.
const KEYWORDS: &str = "Keywords:";
/// A small model copies the words of a described form; examples show it instead, several so that none is copied.
const EXAMPLES: &str = "Conversation:\nUser: My sister Olga came by on Sunday with her kids.\nAssistant: How nice!\n\
                        Note: The user's sister Olga visited on Sunday with her children.\n\
                        Keywords: sister, Olga, visit, Sunday, children\n\n\
                        Conversation:\nUser: I finally sold the old Toyota.\nAssistant: For how much?\n\
                        Note: The user sold an old Toyota.\n\
                        Keywords: Toyota, car, sold\n\n\
                        Conversation:\nUser: We fly to Lisbon in May, I can't wait.\nAssistant: Enjoy it!\n\
                        Note: The user looks forward to a flight to Lisbon in May.\n\
                        Keywords: Lisbon, flight, travel, May";

/// Share of a note's words that must stand in the turn; a note below it is about something else.
const GROUNDED: f32 = 0.5;

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

/// Whether a note is about the turn.
fn is_grounded(note: &Note, turn: &Turn) -> bool {
    let said: HashSet<String> = terms(&format!("{}\n{}", turn.user, turn.assistant)).into_iter().collect();
    let noted = terms(&note.text);
    let found = noted.iter().filter(|term| said.contains(*term)).count();
    found as f32 >= GROUNDED * noted.len() as f32
}

/// A note on each of the turns, all in one batch; none on a turn that the model does not hold, or where it wrote
/// nothing usable (`dropped` then says so). `None` where it was stopped.
pub(super) async fn write<P: Policy>(
    policy: &mut P,
    input: &WriterInput<'_>,
    dropped: &mut Vec<Dropped>,
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
        match Note::parse(&generation.text) {
            Some(note) if is_grounded(&note, &input.turns[place]) => notes[place] = Some(note),
            Some(_) => dropped.push(Dropped::new(DropReason::NotGrounded, &generation.text)),
            None => dropped.push(Dropped::new(DropReason::Empty, &generation.text)),
        }
    }
    Ok(Some(notes))
}

fn instruction(turn: &Turn, question: Option<&str>) -> Message {
    let purpose =
        question.map_or_else(String::new, |question| format!(" The note is for answering this question: {question}"));
    Message::user(format!(
        "Write a note on the last part of a conversation: one short sentence with its facts, then up to {MAX_KEYWORDS} \
         keywords to find it by.{purpose}\n\n{EXAMPLES}\n\nConversation:\n{}",
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

    #[test]
    fn a_note_about_something_else_is_told_from_one_about_the_turn() {
        let turn =
            Turn { index: 0, user: "My dogs are at the vet's today".into(), assistant: "I hope they are well.".into() };
        let grounded = |text: &str| is_grounded(&Note::parse(text).unwrap(), &turn);
        assert!(grounded("The user's dog is at the vet."));
        assert!(grounded("The dog visits a vet, hopefully well"));
        assert!(!grounded("The user's sister Olga visited on Sunday."));
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
