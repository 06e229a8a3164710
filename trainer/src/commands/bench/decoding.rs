//! The projections that a decoding step consists of, for the roofline.

use anyhow::Result;
use tmem_gpu::ops::{AdaptedOutputs, AdapterTerm, Finish, InputNorm, PROJECTION_ROWS, Projection, projection};
use tmem_gpu::{Row, Sequence, Weight};

use super::roofline::{Bench, Case};

/// What stands around a product.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Form {
    /// RMSNorm before it.
    pub(super) normed: bool,
    /// SwiGLU behind it.
    pub(super) swiglu: bool,
    /// Rank of an adapter on all of its outputs, gate and up apart; 0 for none.
    pub(super) rank: usize,
}

impl Bench<'_> {
    /// One projection of `rows` rows in one launch. Operations are those of the product alone.
    pub(super) fn projection(&self, name: &str, rows: usize, weight: &Weight, form: Form) -> Result<Case> {
        let gpu = self.gpu;
        let Form { normed, swiglu, rank } = form;
        let Weight { outputs: n, inputs: k, format, .. } = *weight;
        let stored = if swiglu { n / 2 } else { n };
        let (x, y, count) = (self.floats("x", rows * k)?, gpu.storage("y", rows * stored)?, self.count(rows)?);
        let (gain, u, b) = (self.floats("gain", k)?, self.floats("u", rows * 2 * rank)?, self.floats("B", n * rank)?);
        let table = gpu.uniform_storage("rows", 4 * PROJECTION_ROWS)?;
        gpu.write(&table, 0, &vec![Row { slot: 1, ..Row::default() }; rows]);
        let sequences = gpu.storage_from("sequences", &[Sequence::new(0)])?;
        let sites = [0, n / 2].map(|first| AdaptedOutputs { first, outputs: n / 2, b_offset: first * rank });
        let slot_stride = n * rank;
        let term = AdapterTerm { sequences: &sequences, u: &u, b: &b, slot_stride, rank, sites: &sites };
        let args = Projection {
            norm: normed.then_some(InputNorm { gain: &gain, epsilon: 1e-5 }),
            adapter: (rank > 0).then_some(term),
            y_stride: stored,
            finish: if swiglu { Finish::Swiglu } else { Finish::Overwrite },
            ..Projection::new(&x, weight, &y, (&table, &count, rows))
        };
        Ok(Case {
            name: format!("{name}, {rows} x {n} x {k}"),
            rows,
            dispatches: vec![projection(gpu, args)?],
            operations: 2.0 * (rows * n * k) as f64,
            bytes: format.bytes(n, k) as f64 + 4.0 * (rows * (stored + k) + n * rank) as f64,
        })
    }
}
