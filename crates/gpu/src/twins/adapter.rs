//! Low-rank adapters, their gradients, and the optimizers.

use crate::ops::AdamWSettings;
use crate::{Row, Sequence};

/// The sites' ranges, named as in the launcher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoraUp {
    pub(crate) u_stride: usize,
    pub(crate) u_offset: usize,
    pub(crate) b_offset: usize,
    pub(crate) slot_stride: usize,
    pub(crate) rank: usize,
    pub(crate) outputs: usize,
    pub(crate) y_stride: usize,
    pub(crate) y_offset: usize,
}

impl LoraUp {
    /// Adds to `y` what the adapters of the rows' slots give for `u`.
    pub(crate) fn apply(&self, y: &mut [f64], u: &[f64], b: &[f32], rows: &[Row], sequences: &[Sequence]) {
        for (r, row) in rows.iter().enumerate().filter(|(_, row)| row.slot > 0) {
            for n in 0..self.outputs {
                let at = (row.slot as usize - 1) * self.slot_stride + self.b_offset + n * self.rank;
                let u = &u[r * self.u_stride + self.u_offset..][..self.rank];
                let sum: f64 = u.iter().zip(&b[at..]).map(|(u, &b)| u * f64::from(b)).sum();
                y[r * self.y_stride + self.y_offset + n] += f64::from(sequences[row.sequence as usize].gate) * sum;
            }
        }
    }
}

/// du [rows, rank] of one site: `gates` \[rows\], `dy` [rows, outputs], `b` [outputs, rank].
pub(crate) fn lora_backward_u(gates: &[f64], dy: &[f32], b: &[f32], rank: usize) -> Vec<f64> {
    let outputs = b.len() / rank;
    let product = super::matmul_transposed(dy, b, outputs, rank, outputs, 0);
    product.iter().enumerate().map(|(i, v)| gates[i / rank] * v).collect()
}

/// dB [outputs, rank] of one site: `gates` \[rows\], `dy` [rows, outputs], `u` [rows, rank].
pub(crate) fn lora_backward_b(gates: &[f64], dy: &[f32], u: &[f32], rank: usize) -> Vec<f64> {
    let outputs = dy.len() / gates.len();
    let term = |t: usize, n: usize, j: usize| gates[t] * f64::from(dy[t * outputs + n]) * f64::from(u[t * rank + j]);
    (0..outputs * rank).map(|i| (0..gates.len()).map(|t| term(t, i / rank, i % rank)).sum()).collect()
}

/// What is added to dx [rows, k]: `du` [rows, stack] · A [stack, k].
pub(crate) fn lora_backward_x(du: &[f32], a: &[f32], stack: usize, k: usize) -> Vec<f64> {
    super::matmul_transposed(du, a, stack, k, stack, 0)
}

/// BᵀB of one site, [rank, rank].
pub(crate) fn gram(b: &[f32], rank: usize) -> Vec<f64> {
    let entry = |i: usize, j: usize| b.chunks(rank).map(|row| f64::from(row[i]) * f64::from(row[j])).sum();
    (0..rank * rank).map(|pair| entry(pair / rank, pair % rank)).collect()
}

/// The factor of `torch.nn.utils.clip_grad_norm_`.
fn clip(gradient: &[f32], max_norm: Option<f32>) -> f64 {
    let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    max_norm.map_or(1.0, |max| (f64::from(max) / (norm + 1e-6)).min(1.0))
}

/// Step `t` (from 1) of AdamW on `parameters` with the moments `m` and `v`; PyTorch's formula.
pub(crate) fn adamw_step(
    settings: &AdamWSettings,
    t: i32,
    max_norm: Option<f32>,
    gradient: &[f32],
    [m, v]: [&mut [f64]; 2],
    parameters: &mut [f64],
) {
    let scale = clip(gradient, max_norm);
    for (i, p) in parameters.iter_mut().enumerate() {
        let g = scale * f64::from(gradient[i]);
        *p *= 1.0 - settings.learning_rate * settings.weight_decay;
        m[i] = settings.beta1 * m[i] + (1.0 - settings.beta1) * g;
        v[i] = settings.beta2 * v[i] + (1.0 - settings.beta2) * g * g;
        let first = m[i] / (1.0 - settings.beta1.powi(t));
        let root = (v[i] / (1.0 - settings.beta2.powi(t))).sqrt();
        *p -= settings.learning_rate * first / (root + settings.epsilon);
    }
}

/// A step of gradient descent on `parameters`.
pub(crate) fn sgd_step(rate: f64, weight_decay: f64, max_norm: Option<f32>, gradient: &[f32], parameters: &mut [f64]) {
    let scale = clip(gradient, max_norm);
    for (p, &g) in parameters.iter_mut().zip(gradient) {
        *p -= rate * (scale * f64::from(g) + weight_decay * *p);
    }
}
