//! Counting tokens in front of a model.

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::fast::{DeltaId, StepReport, WriteReport};
use tmem_core::message::Message;
use tmem_core::rollout::policy::{GenerateRequest, Generation, Policy, PolicyError, Score, ScoreRequest, Snapshot};

use crate::probe::{Subject, Usage};

/// Tokens read and generated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) read: u64,
    pub(super) generated: u64,
}

/// A subject whose tokens are counted by what is asked of it. An engine's own counters also see what it keeps from one
/// unit to the next (anchors, say), so that a resumed run would count otherwise than an unbroken one.
#[derive(Debug)]
pub(super) struct Metered<S> {
    pub(super) subject: S,
    pub(super) tokens: Tokens,
}

impl<S: Subject> Metered<S> {
    pub(super) fn new(subject: S) -> Self {
        Self { subject, tokens: Tokens::default() }
    }

    pub(super) fn usage(&self) -> Usage {
        self.subject.usage()
    }
}

impl<S: Subject> Policy for Metered<S> {
    fn context_length(&self) -> usize {
        self.subject.context_length()
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<usize, PolicyError> {
        self.subject.count_tokens(messages)
    }

    async fn generate(
        &mut self,
        requests: &[GenerateRequest],
        observe: &mut dyn FnMut(usize, &str),
        abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError> {
        let generations = self.subject.generate(requests, observe, abort).await?;
        for generation in &generations {
            self.tokens.read += generation.prompt_tokens as u64;
            self.tokens.generated += generation.tokens.len() as u64;
        }
        Ok(generations)
    }

    async fn score(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Score>, PolicyError> {
        for request in requests {
            self.tokens.read += self.subject.count_tokens(&request.messages)? as u64;
        }
        let scores = self.subject.score(requests).await?;
        self.tokens.read += scores.iter().map(|score| score.tokens as u64).sum::<u64>();
        Ok(scores)
    }

    async fn embed(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, PolicyError> {
        for text in texts {
            self.tokens.read += self.subject.count_tokens(&[Message::user(text.as_str())])? as u64;
        }
        self.subject.embed(texts).await
    }

    async fn learn(
        &mut self,
        cards: &[Card],
        replay: &[Card],
        observe: &mut dyn FnMut(&StepReport),
        abort: &Abort,
    ) -> Result<WriteReport, PolicyError> {
        self.subject.learn(cards, replay, observe, abort).await
    }

    fn delta(&self) -> DeltaId {
        self.subject.delta()
    }

    async fn snapshot(&mut self) -> Result<Snapshot, PolicyError> {
        self.subject.snapshot().await
    }

    async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), PolicyError> {
        self.subject.restore(snapshot).await
    }

    async fn reset(&mut self) -> Result<(), PolicyError> {
        self.subject.reset().await
    }
}
