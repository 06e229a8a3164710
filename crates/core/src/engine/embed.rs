//! Texts as directions: the mean of their tokens' hidden states.

use tmem_gpu::Sequence;

use super::runner::{Active, MAX_SEQUENCES, Pass};
use super::{Engine, EngineError};
use crate::model::KvRange;

impl Engine {
    /// One vector of unit length for each text, \[texts\]\[hidden\].
    ///
    /// The states are those that enter the lowest adapted layer, as the gate's are. They do not depend on Δ, so what
    /// was embedded before a write can be compared with what is embedded after it, and they cost only the layers below.
    /// The text stands alone, without a chat template: the mean is over its own tokens, of which at most the context's
    /// length are taken. A text without tokens is the end-of-text token.
    pub(super) async fn embed_all(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, EngineError> {
        let longest = self.context_limit().min(self.runner.capacity());
        let mut tokens = Vec::with_capacity(texts.len());
        for text in texts {
            let mut own = self.encode_literal(text)?;
            own.truncate(longest);
            if own.is_empty() {
                own.push(self.model.tokenizer.eos());
            }
            tokens.push(own);
        }
        let mut all = Vec::with_capacity(texts.len());
        while all.len() < tokens.len() {
            let (batch, ranges) = self.embedding_batch(&tokens[all.len()..])?;
            let done = self.embed_batch(&batch).await;
            for range in ranges {
                self.runner.cache.release(range);
            }
            all.extend(done?);
        }
        Ok(all)
    }

    /// As many of the texts, from the front, as cache and store of hidden states hold; at least one.
    fn embedding_batch(&mut self, texts: &[Vec<u32>]) -> Result<(Vec<Active>, Vec<KvRange>), EngineError> {
        let (mut batch, mut ranges, mut rows) = (Vec::new(), Vec::new(), 0);
        for tokens in texts.iter().take(MAX_SEQUENCES) {
            if rows + tokens.len() > self.runner.capacity() {
                break;
            }
            let Some(range) = self.runner.take(tokens.len()) else { break };
            rows += tokens.len();
            ranges.push(range);
            let tokens = tokens.clone();
            batch.push(Active { tokens, prefix_length: 0, prefix_start: 0, range, slot: 0, scale: 0.0 });
        }
        if batch.is_empty() {
            let tokens = texts.first().map_or(0, Vec::len);
            return Err(EngineError::CacheFull { tokens, slots: self.runner.cache.slots() });
        }
        Ok((batch, ranges))
    }

    async fn embed_batch(&mut self, batch: &[Active]) -> Result<Vec<Vec<f32>>, EngineError> {
        let sequences: Vec<Sequence> = batch.iter().map(Active::sequence).collect();
        let rows: Vec<_> =
            batch.iter().enumerate().flat_map(|(i, active)| active.rows(i, 0..active.tokens.len())).collect();
        self.runner.run(&rows, &sequences, Pass::Lower);
        self.statistics.tokens_read += rows.len() as u64;
        let width = self.model.config.hidden;
        let states: Vec<f32> = self.gpu.read(&self.runner.hidden, 0, rows.len() * width).await?;
        let mut at = 0;
        let mut directions = Vec::with_capacity(batch.len());
        for active in batch {
            let end = at + active.tokens.len() * width;
            directions.push(mean_direction(&states[at..end], width)?);
            at = end;
        }
        Ok(directions)
    }
}

/// The mean of the rows of `states`, \[rows, width\], scaled to length 1. Sums run in f64 and in order.
fn mean_direction(states: &[f32], width: usize) -> Result<Vec<f32>, EngineError> {
    let mut sums = vec![0f64; width];
    for row in states.chunks_exact(width) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    let norm = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return Err(EngineError::NotFinite);
    }
    Ok(sums.into_iter().map(|sum| (sum / norm) as f32).collect())
}
