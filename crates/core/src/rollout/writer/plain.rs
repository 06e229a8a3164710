//! Plain text instead of questions and answers: the other two forms that the paper trains into Δ ("form of
//! what is written"), for comparison.
//!
//! A card needs a question, so the text stands behind a cue that names its place in the conversation. The text is cut
//! into pieces that fit a card; none of them is reviewed: raw text is grounded by itself, and a summary is the
//! model's own words.

use super::{Draft, DropReason, Dropped, MAX_TEXT, Writer, WriterInput, WriterOutput};
use crate::abort::Abort;
use crate::rollout::event::Event;
use crate::rollout::memory::{MemoryStrategy, Summary};
use crate::rollout::policy::{Policy, PolicyError};

/// Every turn as it was said.
#[derive(Debug, Clone, Copy)]
pub struct RawText;

impl Writer for RawText {
    async fn write<P: Policy>(
        &self,
        _policy: &mut P,
        input: &WriterInput<'_>,
        _observe: &mut dyn FnMut(Event),
        _abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        let mut output = WriterOutput::default();
        for turn in input.turns {
            let number = turn.index + 1;
            let said = [("I say", &turn.user), ("you say", &turn.assistant)];
            for (who, text) in said {
                let cue = format!("What did {who} in turn {number} of our conversation?");
                output.drafts.extend(behind_cue(&cue, text, Some(turn.index)));
            }
        }
        limit(&mut output, input);
        Ok(output)
    }
}

/// The model's own summary of the turns.
#[derive(Debug, Clone, Copy)]
pub struct SummaryText;

impl Writer for SummaryText {
    async fn write<P: Policy>(
        &self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        let (Some(first), Some(last)) = (input.turns.first(), input.turns.last()) else {
            return Ok(WriterOutput::default());
        };
        let mut summary = Summary::default();
        let mut output = summary.write(policy, input, observe, abort).await?;
        if !output.aborted {
            let cue = format!("What happened in turns {} to {} of our conversation?", first.index + 1, last.index + 1);
            output.drafts = behind_cue(&cue, &summary.text, None);
            limit(&mut output, input);
        }
        Ok(output)
    }
}

/// Cards that hold a text, one for each piece of it.
fn behind_cue(cue: &str, text: &str, source_turn: Option<usize>) -> Vec<Draft> {
    let pieces = pieces(text);
    let many = pieces.len() > 1;
    let question = |at: usize| if many { format!("{cue} (Part {})", at + 1) } else { cue.to_owned() };
    let draft = |(at, answer)| Draft { question: question(at), wordings: Vec::new(), answer, source_turn };
    pieces.into_iter().enumerate().map(draft).collect()
}

/// The text's words in runs of at most [`MAX_TEXT`] bytes. A longer word is cut.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let (part, more) = rest.split_at(rest.floor_char_boundary(MAX_TEXT));
            match pieces.last_mut() {
                Some(piece) if piece.len() + 1 + part.len() <= MAX_TEXT => {
                    piece.push(' ');
                    piece.push_str(part);
                }
                _ => pieces.push(part.to_owned()),
            }
            rest = more;
        }
    }
    pieces
}

/// Drops what is beyond `rollout.max_cards`, and says so.
fn limit(output: &mut WriterOutput, input: &WriterInput<'_>) {
    let most = input.settings.rollout.max_cards.min(output.drafts.len());
    let over = output.drafts.drain(most..).map(|draft| Dropped::new(DropReason::OverLimit, &draft.answer));
    output.dropped.extend(over);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_text_is_one_piece_and_nothing_none() {
        assert_eq!(pieces(" I live\n in Ghent. "), ["I live in Ghent."]);
        assert!(pieces(" \n").is_empty());
    }

    #[test]
    fn pieces_of_a_long_text_are_numbered() {
        let drafts = behind_cue("What was said?", &"word ".repeat(200), Some(3));
        let questions: Vec<&str> = drafts.iter().map(|draft| draft.question.as_str()).collect();
        assert_eq!(questions, ["What was said? (Part 1)", "What was said? (Part 2)"]);
        assert!(drafts.iter().all(|draft| draft.source_turn == Some(3)));
    }

    proptest! {
        #[test]
        fn pieces_fit_a_card_and_lose_nothing(text in "(\\PC{0,20} ?){0,80}|é{0,900}") {
            let pieces = pieces(&text);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= MAX_TEXT));
            let visible = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(visible(&pieces.concat()), visible(&text));
        }
    }
}
