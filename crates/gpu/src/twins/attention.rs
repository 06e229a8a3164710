//! Attention, its gradient, and rotary position embedding.

use super::double;
use crate::seeded::PackedBatch;
use crate::{Row, Sequence};

/// Heads of queries and of keys and values, and their length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) dim: usize,
}

/// Output and log-sum-exp.
pub(crate) fn attention(
    shape: AttentionShape,
    qkv: &[f32],
    cache: &[f32],
    rows: &[Row],
    sequences: &[Sequence],
) -> (Vec<f64>, Vec<f64>) {
    let AttentionShape { heads, kv_heads, dim } = shape;
    let (mut out, mut lse) = (Vec::new(), Vec::new());
    for (r, row) in rows.iter().enumerate() {
        for head in 0..heads {
            let q = &qkv[(r * (heads + 2 * kv_heads) + head) * dim..][..dim];
            let kv = |p: u32, part: usize| {
                let index = sequences[row.sequence as usize].kv_index(p) as usize;
                &cache[((index * 2 + part) * kv_heads + head / (heads / kv_heads)) * dim..][..dim]
            };
            let dot = |k: &[f32]| q.iter().zip(k).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let scores: Vec<f64> = (0..=row.position).map(|p| dot(kv(p, 0)) / (dim as f64).sqrt()).collect();
            let total: f64 = scores.iter().map(|s| s.exp()).sum();
            lse.push(total.ln());
            out.extend((0..dim).map(|i| {
                let weighted = scores.iter().zip(0..).map(|(s, p)| s.exp() * f64::from(kv(p, 1)[i]));
                weighted.sum::<f64>() / total
            }));
        }
    }
    (out, lse)
}

/// Forward output, log-sum-exp, and the gradient of Σ upstream · output by the queries, keys and values.
pub(crate) fn attention_backward(
    shape: AttentionShape,
    batch: &PackedBatch,
    qkv: &[f32],
    upstream: &[f32],
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let AttentionShape { heads, kv_heads, dim } = shape;
    let stride = (heads + 2 * kv_heads) * dim;
    let at = |row: usize, head: usize, d: usize| f64::from(qkv[row * stride + head * dim + d]);
    let scale = 1.0 / (dim as f64).sqrt();
    let rows = batch.rows.len();
    let (mut o, mut lse, mut dqkv) = (vec![], vec![], vec![0.0; rows * stride]);
    for t in 0..rows {
        let keys = batch.keys(t);
        for h in 0..heads {
            let (k_head, v_head) = (heads + h / (heads / kv_heads), heads + kv_heads + h / (heads / kv_heads));
            let g = |d: usize| f64::from(upstream[(t * heads + h) * dim + d]);
            let scores: Vec<f64> =
                keys.iter().map(|&j| scale * (0..dim).map(|d| at(t, h, d) * at(j, k_head, d)).sum::<f64>()).collect();
            let sum: f64 = scores.iter().map(|s| s.exp()).sum();
            let p: Vec<f64> = scores.iter().map(|s| s.exp() / sum).collect();
            lse.push(sum.ln());
            o.extend((0..dim).map(|d| keys.iter().zip(&p).map(|(&j, p)| p * at(j, v_head, d)).sum::<f64>()));
            let dp: Vec<f64> = keys.iter().map(|&j| (0..dim).map(|d| g(d) * at(j, v_head, d)).sum()).collect();
            let mean: f64 = dp.iter().zip(&p).map(|(a, b)| a * b).sum();
            for (i, &j) in keys.iter().enumerate() {
                let ds = scale * p[i] * (dp[i] - mean);
                for d in 0..dim {
                    dqkv[t * stride + h * dim + d] += ds * at(j, k_head, d);
                    dqkv[j * stride + k_head * dim + d] += ds * at(t, h, d);
                    dqkv[j * stride + v_head * dim + d] += p[i] * g(d);
                }
            }
        }
    }
    (o, lse, dqkv)
}

/// Rotary position embedding of queries, keys and values, [rows, (heads + 2 · kv_heads) · dim].
pub(crate) struct Rope<'a> {
    pub(crate) shape: AttentionShape,
    pub(crate) rows: &'a [Row],
    /// (cos, sin), [positions, dim / 2].
    pub(crate) table: &'a [f32],
    pub(crate) interleaved: bool,
}

impl Rope<'_> {
    /// Turns queries and keys by their position, or back (the inverse, which is also the gradient).
    pub(crate) fn turn(&self, qkv: &mut [f64], back: bool) {
        let AttentionShape { heads, kv_heads, dim } = self.shape;
        let pairs = dim / 2;
        for (row, line) in self.rows.iter().zip(qkv.chunks_mut((heads + 2 * kv_heads) * dim)) {
            for head in line[..(heads + kv_heads) * dim].chunks_mut(dim) {
                for i in 0..pairs {
                    let (a, b) = if self.interleaved { (2 * i, 2 * i + 1) } else { (i, i + pairs) };
                    let at = (row.position as usize * pairs + i) * 2;
                    let (cos, sin) = (f64::from(self.table[at]), f64::from(self.table[at + 1]));
                    let sin = if back { -sin } else { sin };
                    (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
                }
            }
        }
    }

    /// Queries turned in their place (keys and values as they were), and a cache of `indices` entries, zero before.
    pub(crate) fn cache(&self, qkv: &[f32], sequences: &[Sequence], indices: usize) -> (Vec<f64>, Vec<f64>) {
        let AttentionShape { heads, kv_heads, dim } = self.shape;
        let (stride, queries, entry) = ((heads + 2 * kv_heads) * dim, heads * dim, 2 * kv_heads * dim);
        let (mut out, mut turned) = (double(qkv), double(qkv));
        self.turn(&mut turned, false);
        let mut cache = vec![0.0; indices * entry];
        for (r, row) in self.rows.iter().enumerate() {
            let line = &turned[r * stride..][..stride];
            out[r * stride..][..queries].copy_from_slice(&line[..queries]);
            let index = sequences[row.sequence as usize].kv_index(row.position) as usize;
            cache[index * entry..][..entry].copy_from_slice(&line[queries..]);
        }
        (out, cache)
    }
}
