//! The paper's writer (arXiv 2606.04536): one sampled JSON array of {"instruction", "output"} about the whole context.

use serde_json::Value;

use super::{Draft, DropReason, Dropped, MAX_TEXT, Writer, WriterInput, WriterOutput, conversation, sample};
use crate::abort::Abort;
use crate::card::Card;
use crate::message::Message;
use crate::rollout::event::Event;
use crate::rollout::policy::{Finish, GenerateRequest, Policy, PolicyError, Weights};
use crate::rollout::state::Turn;

/// Most bytes of sampled text that are looked at.
const MAX_OUTPUT: usize = 64 * 1024;

/// Most cards already learned that the prompt shows; the latest are the likeliest to be written again.
const MAX_HISTORY: usize = 32;

/// Most items, whole or broken, that are looked at.
const MAX_ITEMS: usize = 512;

/// What the assistant's message begins with; the model goes on.
pub const OPENING: &str = "[";

/// The memory-writing prompt d.
const INSTRUCTION: &str = include_str!("json_instruction.txt");

/// The writer.
#[derive(Debug, Clone, Copy)]
pub struct JsonWriter;

impl Writer for JsonWriter {
    async fn write<P: Policy>(
        &self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        let mut output = WriterOutput::default();
        let limit = input.settings.rollout.writer_tokens;
        let requests: Vec<_> = prompts(policy, input, &mut output.dropped)?
            .into_iter()
            .map(|messages| GenerateRequest {
                messages,
                assistant_prefix: OPENING.to_owned(),
                max_tokens: limit,
                sampling: input.settings.sampling.clone(),
                weights: Weights::Fast,
                stop: Vec::new(),
            })
            .collect();
        if requests.is_empty() {
            return Ok(output);
        }
        let (generations, aborted) = sample(policy, &requests, observe, abort).await?;
        output.aborted = aborted;
        for generation in generations {
            output.truncated |= generation.finish == Finish::Length;
            let (drafts, dropped) = salvage(&generation.text);
            output.drafts.extend(drafts);
            output.dropped.extend(dropped);
        }
        Ok(output)
    }
}

/// The conversation that asks for the cards of some turns, as the writer renders it where it is told no question and
/// shows no earlier cards: what a model is trained to answer.
pub fn prompt(system: Option<&str>, turns: &[Turn], max_cards: usize) -> Vec<Message> {
    let mut messages = conversation(system, turns);
    messages.push(instruction(max_cards, None, &[]));
    messages
}

/// Questions with their answers as the writer reads them, from behind [`OPENING`] on.
pub fn array<'a>(cards: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let item = |(question, answer)| {
        let [question, answer] = [question, answer].map(|text: &str| Value::from(text).to_string());
        format!(r#"{{"instruction": {question}, "output": {answer}}}"#)
    };
    let items: Vec<String> = cards.into_iter().map(item).collect();
    items.join(", ") + "]"
}

/// The memory-writing prompt; `history` holds cards that shall not be written again.
fn instruction(max_cards: usize, question: Option<&str>, history: &[Card]) -> Message {
    let mut more = String::new();
    if let Some(question) = question {
        more.push_str(&format!(
            "\nYou will be asked this later: {question}\nWrite every card that helps to answer it, and only then others."
        ));
    }
    if !history.is_empty() {
        more.push_str("\nYou already have these flashcards. Write only what they do not say:");
        for card in history {
            more.push_str(&format!("\n- {} {}", card.question, card.answer));
        }
    }
    let instruction = INSTRUCTION.trim_end().replace("{max_cards}", &max_cards.to_string());
    Message::user(instruction + &more)
}

/// One prompt for all turns, or several where the model cannot hold them together with its own output.
fn prompts<P: Policy>(
    policy: &P,
    input: &WriterInput<'_>,
    dropped: &mut Vec<Dropped>,
) -> Result<Vec<Vec<Message>>, PolicyError> {
    let room = policy.context_length().saturating_sub(input.settings.rollout.writer_tokens);
    let history = if input.settings.rollout.card_history { input.known } else { &[] };
    let history = &history[history.len().saturating_sub(MAX_HISTORY)..];
    let prompt = |turns: &[Turn], history: &[Card]| {
        let mut messages = conversation(input.system, turns);
        messages.push(instruction(input.settings.rollout.max_cards, input.question, history));
        messages
    };
    let mut prompts = Vec::new();
    let mut from = 0;
    while from < input.turns.len() {
        let mut to = input.turns.len();
        // Halving finds a part that fits in few counts; the exact largest part is not needed.
        let mut shown = history;
        loop {
            let messages = prompt(&input.turns[from..to], shown);
            if policy.count_tokens(&messages)? <= room {
                prompts.push(messages);
                break;
            }
            // What is to be written matters more than what has been.
            if !shown.is_empty() {
                shown = &shown[shown.len().div_ceil(2)..];
                continue;
            }
            if to - from == 1 {
                dropped.push(Dropped::new(DropReason::TooLong, &input.turns[from].user));
                break;
            }
            to = from + (to - from) / 2;
            shown = history;
        }
        from = to;
    }
    Ok(prompts)
}

/// Every well-formed item of a possibly broken or cut-off array, and what had to be dropped.
fn salvage(text: &str) -> (Vec<Draft>, Vec<Dropped>) {
    let text = &text[..text.floor_char_boundary(MAX_OUTPUT)];
    let (mut drafts, mut dropped) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(open) = text[at..].find('{').filter(|_| drafts.len() + dropped.len() < MAX_ITEMS) {
        let start = at + open;
        let mut items = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        match items.next() {
            Some(Ok(value)) => {
                at = start + items.byte_offset();
                match draft(&value) {
                    Ok(draft) => drafts.push(draft),
                    Err(reason) => dropped.push(Dropped::new(reason, &text[start..at])),
                }
            }
            _ => {
                dropped.push(Dropped::new(DropReason::Malformed, &text[start..]));
                at = start + 1;
            }
        }
    }
    (drafts, dropped)
}

/// One item. Models that were not trained on the format like to say question and answer.
fn draft(value: &Value) -> Result<Draft, DropReason> {
    let field = |names: [&str; 2]| names.into_iter().find_map(|n| value.get(n)).and_then(Value::as_str);
    let question = field(["instruction", "question"]).ok_or(DropReason::Malformed)?.trim();
    let answer = field(["output", "answer"]).ok_or(DropReason::Malformed)?.trim();
    if question.is_empty() || answer.is_empty() {
        return Err(DropReason::Empty);
    }
    if question.len() > MAX_TEXT || answer.len() > MAX_TEXT {
        return Err(DropReason::TooLong);
    }
    Ok(Draft { question: question.to_owned(), wordings: Vec::new(), answer: answer.to_owned(), source_turn: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> (Vec<(String, String)>, Vec<DropReason>) {
        let (drafts, dropped) = salvage(text);
        (drafts.into_iter().map(|d| (d.question, d.answer)).collect(), dropped.into_iter().map(|d| d.reason).collect())
    }

    fn pair(question: &str, answer: &str) -> (String, String) {
        (question.to_owned(), answer.to_owned())
    }

    #[test]
    fn a_clean_array_is_read_with_and_without_its_opening_bracket() {
        let clean =
            r#"[{"instruction": "Who?", "output": "Ann"}, {"instruction": "Where?", "output": "Oslo {\"x\"}"}]"#;
        let expected = vec![pair("Who?", "Ann"), pair("Where?", "Oslo {\"x\"}")];
        assert_eq!(pairs(clean), (expected.clone(), vec![]));
        assert_eq!(pairs(&clean[1..]), (expected, vec![]));
        assert_eq!(pairs("]"), (vec![], vec![]));
        assert_eq!(pairs(""), (vec![], vec![]));
    }

    #[test]
    fn what_is_written_as_an_array_is_read_back() {
        let cards = [("Who \"is\" it?", "Ann {x}"), ("Where?", "Oslo\nand Rome")];
        let (read, dropped) = pairs(&array(cards));
        assert_eq!((read, dropped), (cards.map(|(q, a)| pair(q, a)).to_vec(), vec![]));
        assert_eq!(array([]), "]");
    }

    #[test]
    fn valid_items_survive_a_cut_a_missing_comma_prose_and_wrong_types() {
        let text = r#"Sure! {"instruction": "A?", "output": "a"} {"question": "B?", "answer": "b"},
            {"instruction": "C?", "output": 3}, {"instruction": "", "output": "d"}, {"instruction": "E?", "outp"#;
        let (kept, dropped) = pairs(text);
        assert_eq!(kept, [pair("A?", "a"), pair("B?", "b")]);
        assert_eq!(dropped, [DropReason::Malformed, DropReason::Empty, DropReason::Malformed]);
    }

    #[test]
    fn deep_nesting_and_endless_text_are_dropped_quickly() {
        let deep = "{\"a\":".repeat(20_000);
        let (kept, dropped) = pairs(&deep);
        assert!(kept.is_empty() && !dropped.is_empty());
        let long = format!(r#"{{"instruction": "Q?", "output": "{}"}}"#, "x".repeat(MAX_TEXT + 1));
        assert_eq!(pairs(&long), (vec![], vec![DropReason::TooLong]));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,400}") {
            salvage(&text);
        }
    }
}
