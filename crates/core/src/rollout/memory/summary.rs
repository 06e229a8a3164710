//! One running summary, overwritten at each trigger: (m, Δ, h) ← (a, 0, ∅), as in MemAgent (arXiv 2507.02259).

use serde::{Deserialize, Serialize};

use super::{CardUse, MemoryStrategy, Passage, transcript};
use crate::abort::Abort;
use crate::message::Message;
use crate::rollout::event::Event;
use crate::rollout::policy::{Finish, GenerateRequest, Policy, PolicyError, Weights};
use crate::rollout::state::Turn;
use crate::rollout::writer::{DropReason, Dropped, WriterInput, WriterOutput, sample};

/// What stands before the summary in the system message.
const HEADER: &str = "What you remember of the conversation so far:";

/// The running summary. A rewrite that fails, is stopped or comes out empty leaves the old one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The summary; empty before the first trigger.
    pub text: String,
}

impl MemoryStrategy for Summary {
    fn card_use(&self) -> CardUse {
        CardUse::None
    }

    fn carried(&self) -> Option<String> {
        (!self.text.is_empty()).then(|| format!("{HEADER}\n{}", self.text))
    }

    fn passages(&self) -> Vec<Passage> {
        let passage = Passage { turn: None, text: self.text.clone(), keywords: Vec::new() };
        if self.text.is_empty() { Vec::new() } else { vec![passage] }
    }

    async fn write<P: Policy>(
        &mut self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        let mut output = WriterOutput::default();
        let mut rest = input.turns;
        while let Some(first) = rest.first() {
            let Some((messages, taken)) = self.prompt(policy, input, rest)? else {
                output.dropped.push(Dropped::new(DropReason::TooLong, &first.user));
                rest = &rest[1..];
                continue;
            };
            rest = &rest[taken..];
            let request = GenerateRequest {
                messages,
                max_tokens: input.settings.rollout.summary_tokens,
                sampling: input.settings.sampling.clone(),
                weights: Weights::Fast,
                ..GenerateRequest::default()
            };
            let (generations, aborted) = sample(policy, &[request], observe, abort).await?;
            if aborted {
                output.aborted = true;
                return Ok(output);
            }
            for generation in generations {
                output.summary_truncated |= generation.finish == Finish::Length;
                let text = generation.text.trim();
                if !text.is_empty() {
                    text.clone_into(&mut self.text);
                }
            }
        }
        Ok(output)
    }
}

impl Summary {
    /// The prompt for as many of the turns, from the front, as the model holds beside the summary it writes, and how
    /// many those are; `None` where it does not hold the first alone. A context beyond that is read part by part, each
    /// overwriting the summary of what came before.
    fn prompt<P: Policy>(
        &self,
        policy: &P,
        input: &WriterInput<'_>,
        turns: &[Turn],
    ) -> Result<Option<(Vec<Message>, usize)>, PolicyError> {
        let rollout = &input.settings.rollout;
        let room = policy.context_length().saturating_sub(rollout.summary_tokens);
        let system = Some(&rollout.system_prompt).filter(|prompt| !prompt.is_empty());
        let mut taken = turns.len();
        while taken > 0 {
            let instruction = Message::user(self.instruction(input, &turns[..taken]));
            let messages: Vec<Message> = system.map(Message::system).into_iter().chain([instruction]).collect();
            if policy.count_tokens(&messages)? <= room {
                return Ok(Some((messages, taken)));
            }
            taken /= 2;
        }
        Ok(None)
    }

    fn instruction(&self, input: &WriterInput<'_>, turns: &[Turn]) -> String {
        let said: Vec<String> = turns.iter().map(|turn| transcript(&turn.user, &turn.assistant)).collect();
        // A word is about four thirds of a token.
        let words = (input.settings.rollout.summary_tokens * 3 / 4).max(1);
        let purpose = input
            .question
            .map_or_else(String::new, |question| format!(" It will be needed to answer this question: {question}"));
        let memory = if self.text.is_empty() { "(nothing yet)" } else { &self.text };
        format!(
            "Below are the memory of a conversation and the part of it that followed. The conversation is about to be \
             erased; the memory is all that stays. Rewrite the memory, in at most {words} words, so that it also says \
             what the conversation adds: who, what, where and when, preferences, plans, events, numbers. Keep what \
             still holds and correct what has changed.{purpose} Reply with the new memory and nothing else.\n\n\
             Memory:\n{memory}\n\nConversation:\n{}\n\nNew memory:",
            said.join("\n")
        )
    }
}
