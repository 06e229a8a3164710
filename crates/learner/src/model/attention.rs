//! Rotary positions and grouped-query attention over the rows of a batch.

use burn::tensor::{Device, Tensor, TensorData, activation};
use tmem_core::model::config::RopeStyle;
use tmem_core::model::{ModelConfig, rope_table};

use super::Batch;

/// Added to the scores of what must not be seen. Finite, so that no row of scores can become NaN; its exponential is 0.
const HIDDEN: f32 = -1e9;

/// What all layers need to know about a batch's positions.
pub(crate) struct Positions {
    /// \[rows, time, 1, head_dim / 2\]
    cos: Tensor<4>,
    /// \[rows, time, 1, head_dim / 2\]
    sin: Tensor<4>,
    /// 0 or [`HIDDEN`], \[rows or 1, 1, 1, time, time\]
    bias: Tensor<5>,
}

impl Positions {
    /// Of a batch, on the device without gradients.
    pub(crate) fn new(config: &ModelConfig, batch: &Batch, device: &Device) -> Self {
        let (half, shape) = (config.head_dim / 2, [batch.rows, batch.time, 1, config.head_dim / 2]);
        let last = batch.positions.iter().max().map_or(0, |&last| last);
        let table = rope_table(config, None, last + 1);
        let angles = |which: usize| {
            let values =
                batch.positions.iter().flat_map(|&p| table[p * half..][..half].iter().map(|angle| angle[which]));
            Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), device)
        };
        // Where every row is one sequence, the causal order is all there is to keep, and one mask serves all rows.
        let packed = !batch.is_one_sequence_a_row();
        let (rows, time) = (if packed { batch.rows } else { 1 }, batch.time);
        let mut bias = Vec::with_capacity(rows * time * time);
        for row in 0..rows {
            let segment = |t: usize| if packed { batch.segments[row * time + t] } else { 1 };
            for query in 0..time {
                let shared = batch.shared[row * time + query];
                let seen = |key| key <= query && (segment(key) == segment(query) || key < shared);
                bias.extend((0..time).map(|key| if seen(key) { 0.0 } else { HIDDEN }));
            }
        }
        let bias = Tensor::from_data(TensorData::new(bias, [rows, 1, 1, time, time]), device);
        Self { cos: angles(0), sin: angles(1), bias }
    }

    /// Turns the heads of x \[rows, time, heads, head_dim\] by their positions.
    fn rotate(&self, x: Tensor<4>, style: RopeStyle) -> Tensor<4> {
        let shape @ [rows, time, heads, dim] = x.dims();
        let half = dim / 2;
        let part = |which: usize| match style {
            RopeStyle::Half => x.clone().narrow(3, which * half, half),
            RopeStyle::Interleaved => {
                let pairs = x.clone().reshape([rows, time, heads, half, 2]);
                pairs.narrow(4, which, 1).reshape([rows, time, heads, half])
            }
        };
        let (a, b) = (part(0), part(1));
        let turned_a = a.clone() * self.cos.clone() - b.clone() * self.sin.clone();
        let turned_b = a * self.sin.clone() + b * self.cos.clone();
        match style {
            RopeStyle::Half => Tensor::cat(vec![turned_a, turned_b], 3),
            RopeStyle::Interleaved => Tensor::stack::<5>(vec![turned_a, turned_b], 4).reshape(shape),
        }
    }

    /// softmax(q kᵀ / √d) v for q \[rows · time, heads · d\] and k, v \[rows · time, kv_heads · d\], before rotation.
    pub(crate) fn attend(&self, config: &ModelConfig, q: Tensor<2>, k: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let [rows, time, ..] = self.cos.dims();
        let (dim, kv_heads, group) = (config.head_dim, config.kv_heads, config.heads_per_kv_head());
        let heads = |x: Tensor<2>, heads: usize| x.reshape([rows, time, heads, dim]);
        let q = self.rotate(heads(q, config.heads), config.rope_style);
        let k = self.rotate(heads(k, kv_heads), config.rope_style).swap_dims(1, 2);
        let v = heads(v, kv_heads).swap_dims(1, 2);
        // The queries that share a key head stand behind one another: [rows, kv_heads, group · time, dim].
        let q = q.reshape([rows, time, kv_heads, group, dim]).permute([0, 2, 3, 1, 4]);
        let q = q.reshape([rows, kv_heads, group * time, dim]).mul_scalar(1.0 / (dim as f64).sqrt());
        let scores = q.matmul(k.swap_dims(2, 3)).reshape([rows, kv_heads, group, time, time]) + self.bias.clone();
        let weights = activation::softmax(scores, 4).reshape([rows, kv_heads, group * time, time]);
        let attended = weights.matmul(v).reshape([rows, kv_heads, group, time, dim]);
        attended.permute([0, 3, 1, 2, 4]).reshape([rows * time, config.query_dim()])
    }
}
