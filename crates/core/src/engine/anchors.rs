//! Neutral prompts: what the KL term anchors the model to, and what the gate takes as its centre.

use tmem_gpu::Buffer;

use super::examples::{Example, example};
use super::learn::Trainer;
use super::state::questions_of;
use super::{Engine, EngineError};
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::{Gate, Limits, NEUTRAL_PROMPTS, Run, pack};
use crate::rollout::policy::{GenerateRequest, Sampling, Weights};

/// Tokens of the frozen model's own answer along which an anchor prompt is compared.
const ANSWER_TOKENS: usize = 5;

/// Neutral prompts with the frozen model's own answers, and its log-probabilities along them.
pub(super) struct Anchors {
    pub(super) examples: Vec<Example>,
    /// [positions, vocab], the frozen model's log-probabilities.
    pub(super) base: Buffer,
    /// First row of each example in `base`.
    pub(super) first: Vec<u32>,
    /// The quarter of the examples that lies nearest to the questions being learned.
    pub(super) near: Vec<usize>,
    prefix: Vec<u32>,
}

impl Engine {
    /// The anchors of this engine, made at first use; `None` where the settings use none. The hidden states of the
    /// prompts are in the store afterwards. The caller puts the anchors back.
    pub(super) async fn take_anchors(
        &mut self,
        prefix: &[u32],
        trainer: &Trainer,
        abort: &Abort,
    ) -> Result<Option<Anchors>, EngineError> {
        if self.settings.fast.kl_weight <= 0.0 || self.settings.fast.kl_prompts == 0 {
            return Ok(None);
        }
        if let Some(anchors) = self.anchors.take().filter(|a| a.prefix == prefix) {
            return Ok(Some(anchors));
        }
        let mut examples = self.neutral_answers(prefix, abort).await?;
        self.store_hidden(prefix, &mut examples)?;
        let positions: usize = examples.iter().map(|e| e.targets.len()).sum();
        let base = self.gpu.storage("base log-probabilities", positions * self.model.config.vocab)?;
        let mut first = Vec::new();
        let mut at = 0;
        let mut rest = examples.as_slice();
        while !rest.is_empty() {
            let runs: Vec<_> = rest.iter().map(|e| Run { inputs: &e.inputs, stored: e.stored }).collect();
            // Scale 0: the frozen model.
            let packed = pack(prefix, &runs, 0, 0.0, trainer.plan.size.rows);
            let (batch, rest_after) = rest.split_at(packed.first_rows.len().max(1));
            self.forward_packed(&trainer.plan, &packed);
            let mut rows = Vec::new();
            for (example, &start) in batch.iter().zip(&packed.first_rows) {
                first.push((at + rows.len()) as u32);
                let from = (start + example.first_loss) as u32;
                rows.extend(from..from + example.targets.len() as u32);
            }
            trainer.plan.loss.log_probabilities(&rows, &base, at);
            at += rows.len();
            rest = rest_after;
        }
        self.gpu.check()?;
        Ok(Some(Anchors { examples, base, first, near: Vec::new(), prefix: prefix.to_vec() }))
    }

    /// Each neutral prompt followed by the first tokens of the frozen model's greedy answer.
    async fn neutral_answers(&mut self, prefix: &[u32], abort: &Abort) -> Result<Vec<Example>, EngineError> {
        let requests: Vec<GenerateRequest> = NEUTRAL_PROMPTS
            .iter()
            .map(|text| GenerateRequest {
                messages: self.question(text),
                max_tokens: ANSWER_TOKENS,
                sampling: Sampling::default(),
                weights: Weights::Frozen,
                ..Default::default()
            })
            .collect();
        let answers = self.generate_all(&requests, &mut |_, _| {}, abort).await?;
        let mut examples = Vec::new();
        for (request, answer) in requests.iter().zip(answers) {
            let prompt = self.encode_prompt(&request.messages, "")?;
            examples.extend(example(&prompt, &answer.tokens, prefix));
        }
        Ok(examples)
    }

    /// The quarter of the neutral prompts that lies nearest to the questions of `cards`.
    pub(super) async fn near_anchors(&mut self, cards: &[Card], prefix: &[u32]) -> Result<Vec<usize>, EngineError> {
        let neutral = self.neutral_states(prefix).await?;
        let states = self.question_states(cards, prefix).await?;
        let mut gate = Gate::around(prefix, &neutral, Vec::new());
        gate.set_questions(&questions_of(cards), &states, Limits { pass: 0.0, margin: 0.0 });
        let mut near = gate.neutral_by_nearness();
        near.truncate(neutral.len().div_ceil(4));
        Ok(near)
    }

    /// Hidden states of the neutral prompts' last tokens, for the gate.
    pub(super) async fn neutral_states(&mut self, prefix: &[u32]) -> Result<Vec<Vec<f32>>, EngineError> {
        match self.anchors.as_ref().filter(|a| a.prefix == prefix) {
            // What follows a prompt does not change the state of its last token.
            Some(anchors) => {
                let mut examples = anchors.examples.clone();
                self.last_states(prefix, &mut examples).await
            }
            None => self.prompt_states(NEUTRAL_PROMPTS, prefix).await,
        }
    }

    /// Hidden states of the last tokens of prompts of one user turn each.
    pub(super) async fn prompt_states<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        prefix: &[u32],
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut examples = Vec::new();
        for text in texts {
            let prompt = self.encode_prompt(&self.question(text.as_ref()), "")?;
            examples.extend(example(&prompt, &[0], prefix));
        }
        self.last_states(prefix, &mut examples).await
    }

    /// The hidden state of the last prompt token of each example.
    pub(super) async fn last_states(
        &mut self,
        prefix: &[u32],
        examples: &mut [Example],
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        self.store_hidden(prefix, examples)?;
        let rows: Vec<usize> = examples.iter().map(|e| e.stored + e.first_loss).collect();
        let states = self.runner.read_rows(&self.store.buffer, &rows).await?;
        Ok(states)
    }
}
