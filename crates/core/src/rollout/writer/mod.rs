//! How cards are written from a context.
//!
//! A writer samples text and turns it into drafts; [`grounding::review`] then keeps those whose answer stands in the
//! context and that say something new (plain text is learned as it is). Whatever is dropped is counted with its reason. The context is untrusted: it is
//! never parsed as anything but words.

pub mod answer_first;
pub mod grounding;
pub mod json;
pub mod plain;

use serde::{Deserialize, Serialize};

use super::event::{Event, Segment, SegmentKind, Speaker};
use super::policy::{Finish, GenerateRequest, Generation, Policy, PolicyError};
use super::state::Turn;
use crate::abort::Abort;
use crate::card::Card;
use crate::message::Message;
use crate::retrieval::Bm25;
use crate::settings::{Settings, WriterKind};

/// Most bytes of a question, a wording or an answer.
pub const MAX_TEXT: usize = 512;

/// What a writer works from.
#[derive(Debug, Clone, Copy)]
pub struct WriterInput<'a> {
    /// Turns not yet written to memory, oldest first.
    pub turns: &'a [Turn],
    /// The system message in force (system prompt and explicit memory m), if any.
    pub system: Option<&'a str>,
    /// Cards already learned.
    pub known: &'a [Card],
    /// The question that the memory is for, where the writer is told it.
    pub question: Option<&'a str>,
    /// The run's settings.
    pub settings: &'a Settings,
}

/// A card before it has an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The question.
    pub question: String,
    /// Further wordings.
    pub wordings: Vec<String>,
    /// The answer.
    pub answer: String,
    /// The turn the answer was found in, where the writer knows it.
    pub source_turn: Option<usize>,
}

impl Draft {
    /// The card with an id.
    pub fn into_card(self, id: u64) -> Card {
        Card {
            id,
            question: self.question,
            wordings: self.wordings,
            answer: self.answer,
            source_turn: self.source_turn,
        }
    }
}

/// Why something the writer wrote is not learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Not of the required form.
    Malformed,
    /// Question or answer is empty.
    Empty,
    /// Question or answer is too long.
    TooLong,
    /// The answer does not stand in the context.
    NotGrounded,
    /// Asked about the context, the model does not answer the question with the answer.
    NotAnswered,
    /// Says what another card says.
    Duplicate,
    /// One more than `rollout.max_cards`.
    OverLimit,
}

/// Something the writer wrote that is not learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Why.
    pub reason: DropReason,
    /// The beginning of what was written.
    pub text: String,
}

impl Dropped {
    pub(crate) fn new(reason: DropReason, text: &str) -> Self {
        Self { reason, text: text.chars().take(160).collect() }
    }
}

/// What a memory-writing action came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WriterOutput {
    /// What shall be learned.
    pub drafts: Vec<Draft>,
    /// What was dropped.
    pub dropped: Vec<Dropped>,
    /// Whether it reached its token limit.
    pub truncated: bool,
    /// Whether a running summary reached its token limit.
    pub summary_truncated: bool,
    /// Whether it was stopped from outside; nothing is learned then.
    pub aborted: bool,
}

/// A way of writing cards.
#[allow(async_fn_in_trait)]
pub trait Writer {
    /// Samples drafts from the policy; they are reviewed afterwards.
    ///
    /// # Errors
    /// A failure of the policy.
    async fn write<P: Policy>(
        &self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError>;
}

/// Writes cards as the settings say, and reviews them.
///
/// # Errors
/// A failure of the policy.
pub async fn write_cards<P: Policy>(
    policy: &mut P,
    input: &WriterInput<'_>,
    observe: &mut dyn FnMut(Event),
    abort: &Abort,
) -> Result<WriterOutput, PolicyError> {
    let mut output = match input.settings.rollout.writer {
        WriterKind::Json => json::JsonWriter.write(policy, input, observe, abort).await?,
        WriterKind::AnswerFirst => answer_first::AnswerFirst.write(policy, input, observe, abort).await?,
        WriterKind::RawText => return plain::RawText.write(policy, input, observe, abort).await,
        WriterKind::Summary => return plain::SummaryText.write(policy, input, observe, abort).await,
    };
    let mut drafts = std::mem::take(&mut output.drafts);
    if let Some(question) = input.question {
        drafts = nearest_first(drafts, question);
    }
    let reviewed = grounding::review(drafts, input.turns, input.known, input.settings.rollout.max_cards);
    output.drafts = reviewed.kept;
    output.dropped.extend(reviewed.dropped);
    Ok(output)
}

/// Drafts that share words with the question go first, so that the limit on cards drops the others.
fn nearest_first(drafts: Vec<Draft>, question: &str) -> Vec<Draft> {
    let index = Bm25::new(drafts.iter().map(|draft| format!("{} {}", draft.question, draft.answer)));
    let mut order: Vec<usize> = index.search(question, usize::MAX).into_iter().map(|hit| hit.document).collect();
    let rest: Vec<usize> = (0..drafts.len()).filter(|at| !order.contains(at)).collect();
    order.extend(rest);
    let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| drafts[at].take()).collect()
}

/// Generates one batch for a writer and tells of its tokens and segments. The second value says whether it was stopped.
pub(crate) async fn sample<P: Policy>(
    policy: &mut P,
    requests: &[GenerateRequest],
    observe: &mut dyn FnMut(Event),
    abort: &Abort,
) -> Result<(Vec<Generation>, bool), PolicyError> {
    let generations = policy
        .generate(
            requests,
            &mut |index, text| observe(Event::Token { speaker: Speaker::Writer, index, text: text.to_owned() }),
            abort,
        )
        .await?;
    for (request, generation) in requests.iter().zip(&generations) {
        observe(Event::Segment(Segment::new(SegmentKind::MemoryWriting, request, generation)));
    }
    let aborted = generations.iter().any(|g| g.finish == Finish::Aborted);
    Ok((generations, aborted))
}

/// The turns as messages, behind the system message.
pub(crate) fn conversation(system: Option<&str>, turns: &[Turn]) -> Vec<Message> {
    let mut messages: Vec<Message> = system.map(Message::system).into_iter().collect();
    for turn in turns {
        messages.push(Message::user(turn.user.as_str()));
        messages.push(Message::assistant(turn.assistant.as_str()));
    }
    messages
}
