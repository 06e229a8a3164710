//! How much arithmetic a piece of work is, counted from the model's shapes: two operations for each weight and row,
//! and attention's two products. Norms, rotations and activations are left out; they are less than a hundredth.

use tmem_core::model::ModelConfig;

/// Operations of one row through the linear layers of one transformer layer.
pub(crate) fn layer(config: &ModelConfig) -> f64 {
    let attention = config.hidden * (config.query_dim() + 2 * config.kv_dim()) + config.query_dim() * config.hidden;
    let feed_forward = 3 * config.hidden * config.ffn;
    2.0 * (attention + feed_forward) as f64
}

/// Operations of one row through the head.
pub(crate) fn head(config: &ModelConfig) -> f64 {
    2.0 * (config.hidden * config.vocab) as f64
}

/// Operations of attention of one layer for rows at `positions`: a score and a weighted value for each earlier row.
pub(crate) fn attention(config: &ModelConfig, positions: std::ops::Range<usize>) -> f64 {
    let keys: usize = positions.map(|position| position + 1).sum();
    4.0 * (keys * config.query_dim()) as f64
}

/// A prompt of `tokens`, with logits for its last row.
pub(crate) fn prefill(config: &ModelConfig, tokens: usize) -> f64 {
    let layers = tokens as f64 * layer(config) + attention(config, 0..tokens);
    config.layers as f64 * layers + head(config)
}

/// One token for each of `batch` sequences whose prompts have about `position` tokens.
pub(crate) fn decode(config: &ModelConfig, batch: usize, position: usize) -> f64 {
    let one = layer(config) + attention(config, position..position + 1);
    batch as f64 * (config.layers as f64 * one + head(config))
}

/// The rows of a training batch: pairs behind one shared prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// Pairs.
    pub(crate) pairs: usize,
    /// Tokens of each pair with the prefix.
    pub(crate) tokens: usize,
    /// Tokens of the prefix that all share, computed once.
    pub(crate) prefix: usize,
    /// Tokens of each pair with a loss.
    pub(crate) losses: usize,
}

impl Batch {
    fn rows(&self) -> f64 {
        (self.prefix + self.pairs * (self.tokens - self.prefix)) as f64
    }

    /// Forward of `layers` layers.
    fn forward(&self, config: &ModelConfig, layers: usize) -> f64 {
        let attention =
            attention(config, 0..self.prefix) + self.pairs as f64 * attention(config, self.prefix..self.tokens);
        layers as f64 * (self.rows() * layer(config) + attention)
    }

    /// One step on the last `adapted` layers: their forward, their backward with respect to the activations (as much
    /// again; attention's takes twice its forward and a recomputation), and the head both ways at the loss positions.
    pub(crate) fn step(&self, config: &ModelConfig, adapted: usize) -> f64 {
        let head = 2.0 * (self.pairs * self.losses) as f64 * head(config);
        2.0 * self.forward(config, adapted) + head
    }

    /// What is computed once per pair and kept: the layers below the adapted ones.
    pub(crate) fn below(&self, config: &ModelConfig, adapted: usize) -> f64 {
        self.forward(config, config.layers.saturating_sub(adapted))
    }
}
