//! The engine as a rollout sees it.

use super::Engine;
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::{DeltaId, StepReport, WriteReport};
use crate::message::Message;
use crate::rollout::policy::{GenerateRequest, Generation, Policy, PolicyError, Score, ScoreRequest, Snapshot};

impl Policy for Engine {
    fn context_length(&self) -> usize {
        self.context_limit()
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<usize, PolicyError> {
        Ok(self.encode_prompt(messages, "")?.len())
    }

    async fn generate(
        &mut self,
        requests: &[GenerateRequest],
        observe: &mut dyn FnMut(usize, &str),
        abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError> {
        Ok(self.generate_all(requests, observe, abort).await?)
    }

    async fn score(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Score>, PolicyError> {
        Ok(self.score_all(requests).await?)
    }

    async fn embed(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, PolicyError> {
        Ok(self.embed_all(texts).await?)
    }

    async fn learn(
        &mut self,
        cards: &[Card],
        replay: &[Card],
        observe: &mut dyn FnMut(&StepReport),
        abort: &Abort,
    ) -> Result<WriteReport, PolicyError> {
        Ok(self.learn_cards(cards, replay, observe, abort).await?)
    }

    fn delta(&self) -> DeltaId {
        self.delta.clone()
    }

    async fn snapshot(&mut self) -> Result<Snapshot, PolicyError> {
        Ok(self.take_snapshot().await?)
    }

    async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), PolicyError> {
        Ok(self.put_snapshot(snapshot).await?)
    }

    async fn reset(&mut self) -> Result<(), PolicyError> {
        Ok(self.forget_all().await?)
    }
}
