//! Probabilities of given texts, and the distance from the frozen model.

use tmem_gpu::{Row, Sequence};

use super::prepare::Prompt;
use super::runner::{Active, PREFILL_LOGITS};
use super::{Engine, EngineError};
use crate::message::Message;
use crate::rollout::policy::{Score, ScoreRequest, Weights};

impl Engine {
    /// Scores continuations under the Δ in force, in batches as large as the cache allows.
    pub(super) async fn score_all(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Score>, EngineError> {
        let slots = self.in_force(requests.len());
        self.score_in(&requests.iter().collect::<Vec<_>>(), &slots).await
    }

    /// Scores continuations, each under the Δ in its slot.
    pub(super) async fn score_in(
        &mut self,
        requests: &[&ScoreRequest],
        slots: &[u32],
    ) -> Result<Vec<Score>, EngineError> {
        let mut scores = Vec::with_capacity(requests.len());
        let mut prompts = Vec::with_capacity(requests.len());
        let mut continuations = Vec::with_capacity(requests.len());
        for (request, &slot) in requests.iter().zip(slots) {
            let tokens = self.encode_prompt(&request.messages, &request.assistant_prefix)?;
            let continuation = self.encode_literal(&request.continuation)?;
            let (needed, limit) = (tokens.len() + continuation.len(), self.context_limit());
            if needed > limit {
                return Err(EngineError::PromptTooLong { tokens: needed, limit });
            }
            prompts.push(Prompt { tokens, weights: request.weights, slot });
            continuations.push(continuation);
        }
        while scores.len() < requests.len() {
            let first = scores.len();
            let more = continuations[first..].iter().map(Vec::len).max().unwrap_or(0) + 1;
            let size = self.batch_size(&prompts[first..], more, self.largest_batch());
            let prepared = self.prepare(&prompts[first..first + size], more).await?;
            let done = self.score_batch(&prepared.active, &continuations[first..first + size]).await;
            self.release(prepared);
            scores.extend(done?);
        }
        Ok(scores)
    }

    /// Log-probability of each continuation, summed over its tokens.
    async fn score_batch(&mut self, active: &[Active], continuations: &[Vec<u32>]) -> Result<Vec<Score>, EngineError> {
        let sequences: Vec<Sequence> = active.iter().map(Active::sequence).collect();
        // Row t of a continuation predicts its token t: the last prompt token, then all but the last of its own.
        let (mut rows, mut wanted) = (Vec::<Row>::new(), Vec::new());
        for (i, (prompt, continuation)) in active.iter().zip(continuations).enumerate() {
            let mut whole = prompt.clone();
            whole.tokens.extend(continuation);
            let first = prompt.tokens.len() - 1;
            rows.extend(whole.rows(i, first..first + continuation.len()));
            wanted.extend(continuation.iter().map(|&token| (i, token)));
        }
        let logits = self.logits_of(&rows, &sequences).await?;
        let mut scores = vec![Score { log_probability: 0.0, tokens: 0 }; active.len()];
        for (logits, (i, token)) in logits.iter().zip(wanted) {
            scores[i].log_probability += log_probability(logits, token)?;
            scores[i].tokens += 1;
        }
        Ok(scores)
    }

    /// Logits of every row of a batch whose earlier tokens are in the cache.
    async fn logits_of(&mut self, rows: &[Row], sequences: &[Sequence]) -> Result<Vec<Vec<f32>>, EngineError> {
        let (plan, vocab, layers) = (&self.runner.prefill, self.model.config.vocab, self.model.config.layers);
        plan.set_sequences(sequences);
        let mut all = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(PREFILL_LOGITS) {
            plan.set_rows(chunk);
            plan.set_logit_rows(&(0..chunk.len() as u32).collect::<Vec<_>>());
            let mut commands = self.gpu.commands("score");
            plan.record_embed(&mut commands, chunk.len());
            plan.record_layers(&mut commands, 0..layers, chunk.len());
            plan.record_head(&mut commands, chunk.len());
            commands.submit();
            let logits: Vec<f32> = self.gpu.read(&plan.logits, 0, chunk.len() * vocab).await?;
            all.extend(logits.chunks(vocab).map(<[f32]>::to_vec));
        }
        Ok(all)
    }

    /// Logits after the last token of each prompt, one row of the vocabulary a prompt.
    ///
    /// # Errors
    /// A prompt that is too long, or a failure of the GPU.
    pub async fn next_logits(&mut self, prompts: &[Vec<u32>], weights: Weights) -> Result<Vec<Vec<f32>>, EngineError> {
        let slots = self.in_force(prompts.len());
        self.next_logits_in(&prompts.iter().collect::<Vec<_>>(), weights, &slots).await
    }

    /// Logits after the last token of each prompt under the Δ in its slot.
    pub(super) async fn next_logits_in(
        &mut self,
        prompts: &[&Vec<u32>],
        weights: Weights,
        slots: &[u32],
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let prompt = |(&tokens, &slot): (&&Vec<u32>, &u32)| Prompt { tokens: tokens.clone(), weights, slot };
        let prompts: Vec<_> = prompts.iter().zip(slots).map(prompt).collect();
        let limit = self.context_limit();
        if let Some(prompt) = prompts.iter().find(|p| p.tokens.len() > limit || p.tokens.is_empty()) {
            return Err(EngineError::PromptTooLong { tokens: prompt.tokens.len(), limit });
        }
        let mut all = Vec::with_capacity(prompts.len());
        while all.len() < prompts.len() {
            let rest = &prompts[all.len()..];
            let size = self.batch_size(rest, 1, self.largest_batch());
            let prepared = self.prepare(&rest[..size], 1).await?;
            let sequences: Vec<Sequence> = prepared.active.iter().map(Active::sequence).collect();
            let rows: Vec<Row> = prepared
                .active
                .iter()
                .enumerate()
                .flat_map(|(i, active)| active.rows(i, active.tokens.len() - 1..active.tokens.len()))
                .collect();
            let done = self.logits_of(&rows, &sequences).await;
            self.release(prepared);
            all.extend(done?);
        }
        Ok(all)
    }

    /// KL(frozen ‖ fast) of the next token after each conversation, in nats.
    ///
    /// # Errors
    /// A prompt that is too long, or a failure of the GPU.
    pub async fn kl_to_frozen(&mut self, prompts: &[Vec<Message>], weights: Weights) -> Result<Vec<f32>, EngineError> {
        let tokens = prompts.iter().map(|p| self.encode_prompt(p, "")).collect::<Result<Vec<_>, _>>()?;
        let frozen = self.next_logits(&tokens, Weights::Frozen).await?;
        let fast = self.next_logits(&tokens, weights).await?;
        frozen.iter().zip(&fast).map(|(p, q)| kl(p, q)).collect()
    }
}

/// ln Σ exp(logits), in f64.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}

fn log_probability(logits: &[f32], token: u32) -> Result<f32, EngineError> {
    let value = f64::from(logits[token as usize]) - log_sum_exp(logits);
    if value.is_finite() { Ok(value as f32) } else { Err(EngineError::NotFinite) }
}

pub(super) fn kl(p: &[f32], q: &[f32]) -> Result<f32, EngineError> {
    let (zp, zq) = (log_sum_exp(p), log_sum_exp(q));
    let sum: f64 = p
        .iter()
        .zip(q)
        .map(|(&p, &q)| {
            let (p, q) = (f64::from(p) - zp, f64::from(q) - zq);
            p.exp() * (p - q)
        })
        .sum();
    // Rounding may leave a tiny negative number where the two agree.
    if sum.is_finite() { Ok(sum.max(0.0) as f32) } else { Err(EngineError::NotFinite) }
}
