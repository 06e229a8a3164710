//! Neutral prompts: what the KL term anchors the model to, and what the gate takes as its centre.

use std::ops::Range;

use tmem_gpu::Buffer;

use super::examples::{Example, example};
use super::learn::Trainer;
use super::{Engine, EngineError};
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::{NEUTRAL_PROMPTS, Run, pack};
use crate::rollout::policy::{GenerateRequest, Sampling, Weights};

/// Tokens of the frozen model's own answer along which an anchor prompt is compared.
const ANSWER_TOKENS: usize = 5;

/// Neutral prompts with the frozen model's own answers, and its log-probabilities along them.
pub(super) struct Anchors {
    pub(super) examples: Vec<Example>,
    /// Which neutral prompt each example is of: one that the model does not answer has none.
    prompts: Vec<usize>,
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
        let (prompts, mut examples) = self.neutral_answers(prefix, abort).await?;
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
            let mut commands = self.gpu.commands("frozen model");
            self.forward_packed(&mut commands, &trainer.plan, &packed);
            commands.submit();
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
        Ok(Some(Anchors { examples, prompts, base, first, near: Vec::new(), prefix: prefix.to_vec() }))
    }

    /// Each neutral prompt followed by the first tokens of the frozen model's greedy answer, with the prompt's number.
    async fn neutral_answers(
        &mut self,
        prefix: &[u32],
        abort: &Abort,
    ) -> Result<(Vec<usize>, Vec<Example>), EngineError> {
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
        let (mut prompts, mut examples) = (Vec::new(), Vec::new());
        for (number, (request, answer)) in requests.iter().zip(answers).enumerate() {
            let prompt = self.encode_prompt(&request.messages, "")?;
            if let Some(example) = example(&prompt, &answer.tokens, prefix) {
                prompts.push(number);
                examples.push(example);
            }
        }
        Ok((prompts, examples))
    }

    /// The quarter of the anchors whose prompts lie nearest to the questions of `cards`.
    pub(super) async fn near_anchors(&mut self, cards: &[Card], prefix: &[u32]) -> Result<Vec<usize>, EngineError> {
        let background = self.background(prefix, false).await?;
        let states = self.question_states(cards, prefix).await?;
        let mut nearest = vec![-1.0f32; background.neutral()];
        for state in states.values() {
            background.approach(&mut nearest, &background.place(state));
        }
        let prompts = self.anchors.as_ref().map_or(&[][..], |anchors| &anchors.prompts);
        let nearness = |anchor: usize| nearest[prompts[anchor]];
        let mut near: Vec<usize> = (0..prompts.len()).collect();
        near.sort_by(|&a, &b| nearness(b).total_cmp(&nearness(a)).then(a.cmp(&b)));
        near.truncate(prompts.len().div_ceil(4));
        Ok(near)
    }

    /// Hidden states of the last tokens of some neutral prompts.
    pub(super) async fn neutral_states(
        &mut self,
        prompts: Range<usize>,
        prefix: &[u32],
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let complete = |anchors: &&Anchors| anchors.prefix == prefix && anchors.examples.len() == NEUTRAL_PROMPTS.len();
        match self.anchors.as_ref().filter(complete) {
            // What follows a prompt does not change the state of its last token.
            Some(anchors) => {
                let mut examples = anchors.examples[prompts].to_vec();
                self.last_states(prefix, &mut examples).await
            }
            None => self.prompt_states(&NEUTRAL_PROMPTS[prompts], prefix).await,
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
