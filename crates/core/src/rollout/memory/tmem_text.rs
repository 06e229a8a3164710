//! Both channels at once: cards in the fast weights, and a text in the prompt.

use serde::{Deserialize, Serialize};

use super::{CardUse, MemoryStrategy, Passage, RecallInput, Recalled, Retrieval, Summary};
use crate::abort::Abort;
use crate::rollout::event::Event;
use crate::rollout::policy::{Policy, PolicyError};
use crate::rollout::writer::{self, WriterInput, WriterOutput};
use crate::settings::{RolloutSettings, TextChannel};

/// (m, Δ, h) ← (text, T(Δ, cards), ∅).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TmemText {
    /// The text channel.
    pub text: Text,
}

/// The text channel with what it keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "snake_case")]
pub enum Text {
    /// One running summary.
    Summary(Summary),
    /// Turns and notes, brought back where they fit.
    Retrieval(Retrieval),
}

impl TmemText {
    /// An empty memory.
    pub fn new(channel: TextChannel) -> Self {
        let text = match channel {
            TextChannel::Summary => Text::Summary(Summary::default()),
            TextChannel::Retrieval => Text::Retrieval(Retrieval::default()),
        };
        Self { text }
    }

    /// Which text it carries.
    pub fn channel(&self) -> TextChannel {
        match self.text {
            Text::Summary(_) => TextChannel::Summary,
            Text::Retrieval(_) => TextChannel::Retrieval,
        }
    }
}

impl MemoryStrategy for TmemText {
    fn card_use(&self) -> CardUse {
        CardUse::Learned
    }

    fn carried(&self) -> Option<String> {
        match &self.text {
            Text::Summary(text) => text.carried(),
            Text::Retrieval(text) => text.carried(),
        }
    }

    fn reserve(&self, settings: &RolloutSettings) -> usize {
        match &self.text {
            Text::Summary(text) => text.reserve(settings),
            Text::Retrieval(text) => text.reserve(settings),
        }
    }

    fn passages(&self) -> Vec<Passage> {
        match &self.text {
            Text::Summary(text) => text.passages(),
            Text::Retrieval(text) => text.passages(),
        }
    }

    async fn recall<P: Policy>(&self, policy: &mut P, input: &RecallInput<'_>) -> Result<Vec<Recalled>, PolicyError> {
        match &self.text {
            Text::Summary(text) => text.recall(policy, input).await,
            Text::Retrieval(text) => text.recall(policy, input).await,
        }
    }

    async fn write<P: Policy>(
        &mut self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        let text = match &mut self.text {
            Text::Summary(text) => text.write(policy, input, observe, abort).await?,
            Text::Retrieval(text) => text.write(policy, input, observe, abort).await?,
        };
        if text.aborted || abort.is_aborted() {
            return Ok(WriterOutput { aborted: true, ..text });
        }
        let mut output = writer::write_cards(policy, input, observe, abort).await?;
        output.summary_truncated |= text.summary_truncated;
        output.dropped.extend(text.dropped);
        Ok(output)
    }
}
