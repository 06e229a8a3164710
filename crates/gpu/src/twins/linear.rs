//! Embedding, products, normalisation and activation.

use super::double;

pub(crate) fn embed(tokens: &[u32], w: &[f32], dim: usize) -> Vec<f64> {
    let last = w.len() / dim - 1;
    tokens.iter().flat_map(|&token| double(&w[(token as usize).min(last) * dim..][..dim])).collect()
}

/// x [rows, k] · Wᵀ with W [n, k].
pub(crate) fn matmul(x: &[f32], w: &[f32], k: usize) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    x.chunks(k).flat_map(|x| w.chunks(k).map(move |w| dot(x, w))).collect()
}

/// dy [rows, stride], columns `offset..offset + n` of it, · W [n, k].
pub(crate) fn matmul_transposed(dy: &[f32], w: &[f32], n: usize, k: usize, stride: usize, offset: usize) -> Vec<f64> {
    dy.chunks(stride)
        .flat_map(|dy| {
            (0..k).map(move |j| (0..n).map(|i| f64::from(dy[offset + i]) * f64::from(w[i * k + j])).sum::<f64>())
        })
        .collect()
}

fn inverse_rms(x: &[f32], epsilon: f32) -> f64 {
    let mean = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / x.len() as f64;
    1.0 / (mean + f64::from(epsilon)).sqrt()
}

pub(crate) fn rms_norm(x: &[f32], w: &[f32], epsilon: f32) -> Vec<f64> {
    x.chunks(w.len())
        .flat_map(|row| {
            let scale = inverse_rms(row, epsilon);
            row.iter().zip(w).map(move |(&v, &g)| f64::from(v) * f64::from(g) * scale)
        })
        .collect()
}

pub(crate) fn rms_norm_backward(x: &[f32], w: &[f32], dy: &[f32], epsilon: f32) -> Vec<f64> {
    let dim = w.len();
    let mut dx = vec![];
    for (x, dy) in x.chunks(dim).zip(dy.chunks(dim)) {
        let scale = inverse_rms(x, epsilon);
        let inner: f64 = (0..dim).map(|i| f64::from(w[i]) * f64::from(dy[i]) * f64::from(x[i])).sum();
        dx.extend((0..dim).map(|i| {
            scale * f64::from(w[i]) * f64::from(dy[i]) - f64::from(x[i]) * scale.powi(3) * inner / dim as f64
        }));
    }
    dx
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(crate) fn swiglu(gate_up: &[f32], ffn: usize) -> Vec<f64> {
    gate_up
        .chunks(2 * ffn)
        .flat_map(|row| {
            (0..ffn).map(|i| {
                let (gate, up) = (f64::from(row[i]), f64::from(row[ffn + i]));
                gate * sigmoid(gate) * up
            })
        })
        .collect()
}

pub(crate) fn swiglu_backward(gate_up: &[f32], dh: &[f32], ffn: usize) -> Vec<f64> {
    let mut out = vec![];
    for (row, dh) in gate_up.chunks(2 * ffn).zip(dh.chunks(ffn)) {
        out.extend((0..ffn).map(|i| {
            let (gate, up) = (f64::from(row[i]), f64::from(row[ffn + i]));
            f64::from(dh[i]) * up * sigmoid(gate) * (1.0 + gate * (1.0 - sigmoid(gate)))
        }));
        out.extend((0..ffn).map(|i| f64::from(dh[i]) * f64::from(row[i]) * sigmoid(f64::from(row[i]))));
    }
    out
}
