//! A policy that learns by heart: no model, no GPU, and every figure known beforehand.

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::fast::{DeltaId, StepReport, WriteOutcome, WriteReport};
use tmem_core::message::Message;
use tmem_core::rollout::policy::{
    Finish, GateReading, GenerateRequest, Generation, Policy, PolicyError, Score, ScoreRequest, Snapshot, Weights,
};
use tmem_core::settings::Settings;
use tmem_eval::probe::{Subject, Usage};

/// Answers a learned question with its card's answer. Ungated, it answers everything else with the last card's answer
/// (damage); gated or frozen, it says what `base` knows.
#[derive(Debug, Default)]
pub(crate) struct ByHeart {
    pub(crate) base: Vec<(&'static str, &'static str)>,
    pub(crate) cards: Vec<Card>,
    pub(crate) replayed: Vec<usize>,
    pub(crate) batches: Vec<usize>,
    /// What it says when it is given room for cards.
    pub(crate) writer: &'static str,
    /// Whether every write diverges.
    pub(crate) diverges: bool,
    pub(crate) version: u64,
    pub(crate) usage: Usage,
}

impl ByHeart {
    fn answer(&self, question: &str, weights: Weights) -> String {
        let base = self.base.iter().find(|(q, _)| *q == question).map_or("I don't know.", |(_, a)| *a);
        let learned = self.cards.iter().find(|card| card.questions().any(|q| q == question));
        match (weights, learned, self.cards.last()) {
            (Weights::Fast | Weights::FastUngated, Some(card), _) => card.answer.clone(),
            (Weights::FastUngated, None, Some(last)) => last.answer.clone(),
            _ => base.to_owned(),
        }
    }
}

impl Policy for ByHeart {
    fn context_length(&self) -> usize {
        1024
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<usize, PolicyError> {
        Ok(messages.iter().map(|m| m.content.split_whitespace().count()).sum())
    }

    async fn generate(
        &mut self,
        requests: &[GenerateRequest],
        observe: &mut dyn FnMut(usize, &str),
        _abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError> {
        self.batches.push(requests.len());
        let mut generations = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let question = request.messages.last().map_or("", |m| m.content.as_str());
            let writing = request.max_tokens > 100;
            let text = if writing { self.writer.to_owned() } else { self.answer(question, request.weights) };
            observe(i, &text);
            self.usage.tokens_read += 10;
            self.usage.tokens_generated += 3;
            let gate = GateReading { similarity: 0.5, lead: None, nearest_card: None, scale: 1.0 };
            generations.push(Generation {
                text,
                tokens: vec![1, 2, 3],
                log_probabilities: vec![0.0; 3],
                prompt_tokens: 10,
                finish: Finish::Stop,
                gate: (request.weights == Weights::Fast).then_some(gate),
                delta: self.delta(),
            });
        }
        Ok(generations)
    }

    async fn score(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Score>, PolicyError> {
        Ok(requests.iter().map(|_| Score { log_probability: -1.0, tokens: 1 }).collect())
    }

    async fn embed(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, PolicyError> {
        Ok(vec![vec![1.0]; texts.len()])
    }

    async fn learn(
        &mut self,
        cards: &[Card],
        replay: &[Card],
        observe: &mut dyn FnMut(&StepReport),
        abort: &Abort,
    ) -> Result<WriteReport, PolicyError> {
        if self.diverges {
            let outcome = WriteOutcome::RolledBack { reason: "the loss is inf".to_owned() };
            let (steps, norms, delta) = (Vec::new(), Vec::new(), self.delta());
            return Ok(WriteReport { outcome, steps, norms, delta, pairs: 0, trust_region_hits: 0 });
        }
        self.cards.extend_from_slice(cards);
        self.replayed.push(replay.len());
        self.version += 1;
        let step = StepReport { step: 0, steps: 1, loss: 2.5, kl: 0.1, learned: 0.0, norms: vec![0.01] };
        observe(&step);
        let outcome = if abort.is_aborted() { WriteOutcome::Aborted } else { WriteOutcome::Completed };
        let pairs = cards.iter().map(|card| card.questions().count()).sum();
        let delta = self.delta();
        Ok(WriteReport { outcome, steps: vec![step], norms: Vec::new(), delta, pairs, trust_region_hits: 0 })
    }

    fn delta(&self) -> DeltaId {
        DeltaId { version: self.version, hash: format!("{:064x}", self.version) }
    }

    async fn snapshot(&mut self) -> Result<Snapshot, PolicyError> {
        Ok(Snapshot { delta: self.delta(), b: Vec::new(), a: None, cards: self.cards.clone() })
    }

    async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), PolicyError> {
        self.cards.clone_from(&snapshot.cards);
        self.version = snapshot.delta.version;
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), PolicyError> {
        self.cards.clear();
        self.version = 0;
        Ok(())
    }
}

impl Subject for ByHeart {
    async fn kl_to_frozen(&mut self, prompts: &[Vec<Message>], weights: Weights) -> Result<Vec<f32>, PolicyError> {
        let kl = if weights == Weights::FastUngated { 0.5 } else { 0.25 };
        Ok(vec![kl; prompts.len()])
    }

    fn usage(&self) -> Usage {
        Usage { peak_gpu_bytes: 42, ..self.usage }
    }

    async fn configure(&mut self, _settings: &Settings) -> Result<(), PolicyError> {
        Ok(())
    }
}
