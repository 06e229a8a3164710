//! A policy without a model: what it says is a function of the request, and its fast weights recite learned cards.
//!
//! It drives the same rollout as the engine, for tests of everything around the model. Its tokens are the words of a
//! text, its Δ is a short vector that depends on every card, its order and its replay, and θ0 + Δ answers a learned
//! question with the learned answer.

use sha2::{Digest, Sha256};

use super::policy::{Finish, GenerateRequest, Generation, Policy, PolicyError, Score, ScoreRequest, Snapshot, Weights};
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::{DeltaId, StepReport, WriteOutcome, WriteReport};
use crate::hash::hexadecimal;
use crate::message::{Message, Role};
use crate::retrieval::words;

/// Length of the stand-in for B.
const B: usize = 16;
/// Dimensions of an embedding.
const DIMENSIONS: usize = 64;
/// Tokens a message costs besides its words, as a chat template would.
const MESSAGE_TOKENS: usize = 4;

type Reply = Box<dyn FnMut(&GenerateRequest) -> String>;

/// The scripted policy.
pub struct Scripted {
    reply: Reply,
    context_length: usize,
    steps: usize,
    learned: Vec<Card>,
    b: Vec<f32>,
    version: u64,
    failures: Vec<WriteOutcome>,
    /// Batches of requests it was asked to generate, for looking at in tests.
    pub batches: Vec<Vec<GenerateRequest>>,
    /// Texts it was asked to embed, for looking at in tests.
    pub embedded: Vec<String>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").field("delta", &self.delta()).field("learned", &self.learned).finish_non_exhaustive()
    }
}

impl Scripted {
    /// A policy that says what `reply` makes of a request, unless the fast weights know better.
    pub fn new(reply: impl FnMut(&GenerateRequest) -> String + 'static) -> Self {
        Self {
            reply: Box::new(reply),
            context_length: 4096,
            steps: 3,
            learned: Vec::new(),
            b: vec![0.0; B],
            version: 0,
            failures: Vec::new(),
            batches: Vec::new(),
            embedded: Vec::new(),
        }
    }

    /// The same with another context length, in words.
    pub fn with_context_length(mut self, tokens: usize) -> Self {
        self.context_length = tokens;
        self
    }

    /// Lets the next write end like this instead of completing; several are used up in turn, last added first.
    pub fn fail_next_write(&mut self, outcome: WriteOutcome) {
        self.failures.push(outcome);
    }

    fn recall(&self, request: &GenerateRequest) -> Option<String> {
        let asked = request.messages.iter().rev().find(|m| m.role == Role::User)?;
        let knows = request.weights != Weights::Frozen;
        let card = self.learned.iter().rev().find(|c| knows && c.questions().any(|q| q == asked.content))?;
        Some(card.answer.clone())
    }

    fn generation(
        &self,
        request: &GenerateRequest,
        text: &str,
        abort: &Abort,
        tell: &mut dyn FnMut(&str),
    ) -> Generation {
        let end = request.stop.iter().filter_map(|s| text.find(s.as_str())).min().unwrap_or(text.len());
        let mut said = String::new();
        let (mut tokens, mut finish) = (Vec::new(), Finish::Stop);
        for piece in text[..end].split_inclusive(' ') {
            if abort.is_aborted() {
                finish = Finish::Aborted;
                break;
            }
            if tokens.len() == request.max_tokens {
                finish = Finish::Length;
                break;
            }
            tokens.push(token(piece));
            said.push_str(piece);
            tell(piece);
        }
        Generation {
            text: said,
            log_probabilities: vec![-0.5; tokens.len()],
            tokens,
            prompt_tokens: count(&request.messages),
            finish,
            gate: None,
            delta: if request.weights == Weights::Frozen { DeltaId::default() } else { self.delta() },
        }
    }

    fn report(&self, outcome: WriteOutcome, steps: Vec<StepReport>, pairs: usize) -> WriteReport {
        WriteReport { outcome, steps, norms: Vec::new(), delta: self.delta(), pairs, trust_region_hits: 0 }
    }
}

/// A number for a word.
fn token(word: &str) -> u32 {
    let digest = Sha256::digest(word.as_bytes());
    u32::from_le_bytes([digest[0], digest[1], digest[2], 0])
}

/// A reproducible vector for a card.
fn direction(card: &Card) -> impl Iterator<Item = f32> {
    let mut hash = Sha256::new();
    for part in card.questions().chain([card.answer.as_str()]) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let values: Vec<f32> = digest.iter().take(B).map(|&byte| f32::from(byte) / 255.0 - 0.5).collect();
    values.into_iter()
}

/// A direction that texts with the same words share: each word adds or takes 1 in one dimension.
fn direction_of(text: &str) -> Vec<f32> {
    let mut sums = vec![0.0f32; DIMENSIONS];
    // Every text has a direction, also one without words.
    sums[0] = 0.5;
    for word in words(text) {
        let hash = token(&word) as usize;
        sums[hash % DIMENSIONS] += if (hash / DIMENSIONS).is_multiple_of(2) { 1.0 } else { -1.0 };
    }
    let norm = sums.iter().map(|v| v * v).sum::<f32>().sqrt();
    sums.into_iter().map(|v| v / norm).collect()
}

fn count(messages: &[Message]) -> usize {
    messages.iter().map(|m| m.content.split_whitespace().count() + MESSAGE_TOKENS).sum()
}

impl Policy for Scripted {
    fn context_length(&self) -> usize {
        self.context_length
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<usize, PolicyError> {
        Ok(count(messages))
    }

    async fn generate(
        &mut self,
        requests: &[GenerateRequest],
        observe: &mut dyn FnMut(usize, &str),
        abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError> {
        if let Some(tokens) = requests.iter().map(|r| count(&r.messages)).find(|&n| n > self.context_length) {
            return Err(PolicyError::PromptTooLong { tokens, limit: self.context_length });
        }
        self.batches.push(requests.to_vec());
        let mut generations = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let text = self.recall(request).unwrap_or_else(|| (self.reply)(request));
            generations.push(self.generation(request, &text, abort, &mut |piece| observe(index, piece)));
        }
        Ok(generations)
    }

    /// A word is less probable the longer it is, so that tests can foresee which continuation wins.
    async fn score(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Score>, PolicyError> {
        let score = |request: &ScoreRequest| Score {
            log_probability: -(request.continuation.chars().count() as f32) / 4.0,
            tokens: request.continuation.split_whitespace().count(),
        };
        Ok(requests.iter().map(score).collect())
    }

    /// Texts with the same words lie close to each other.
    async fn embed(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, PolicyError> {
        self.embedded.extend_from_slice(texts);
        Ok(texts.iter().map(|text| direction_of(text)).collect())
    }

    async fn learn(
        &mut self,
        cards: &[Card],
        replay: &[Card],
        observe: &mut dyn FnMut(&StepReport),
        abort: &Abort,
    ) -> Result<WriteReport, PolicyError> {
        if let Some(outcome) = self.failures.pop() {
            return Ok(self.report(outcome, Vec::new(), 0));
        }
        let mut steps = Vec::new();
        for step in 0..self.steps {
            if abort.is_aborted() {
                return Ok(self.report(WriteOutcome::Aborted, steps, cards.len()));
            }
            for (weight, card) in cards.iter().map(|c| (0.1, c)).chain(replay.iter().map(|c| (0.01, c))) {
                for (b, d) in self.b.iter_mut().zip(direction(card)) {
                    *b = 0.9 * *b + weight * d;
                }
            }
            let loss = 1.0 / (step + 1) as f32;
            let report = StepReport { step, steps: self.steps, loss, kl: 0.0, learned: 1.0 - loss, norms: Vec::new() };
            observe(&report);
            steps.push(report);
        }
        self.learned.extend_from_slice(cards);
        self.version += 1;
        Ok(self.report(WriteOutcome::Completed, steps, cards.len() + replay.len()))
    }

    fn delta(&self) -> DeltaId {
        let bytes: Vec<u8> = self.b.iter().flat_map(|b| b.to_le_bytes()).collect();
        let hash = hexadecimal(&Sha256::digest(&bytes));
        DeltaId { version: self.version, hash }
    }

    async fn snapshot(&mut self) -> Result<Snapshot, PolicyError> {
        Ok(Snapshot { delta: self.delta(), b: self.b.clone(), a: None, cards: self.learned.clone() })
    }

    async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), PolicyError> {
        if snapshot.b.len() != self.b.len() {
            let error = format!("the snapshot has {} values, this policy {}", snapshot.b.len(), self.b.len());
            return Err(PolicyError::Model(error.into()));
        }
        self.b.clone_from(&snapshot.b);
        self.learned.clone_from(&snapshot.cards);
        self.version = snapshot.delta.version;
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), PolicyError> {
        self.b.fill(0.0);
        self.learned.clear();
        self.version = 0;
        Ok(())
    }
}
