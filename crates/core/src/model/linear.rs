//! One group of projections that share their input, with the fast weights on them; the output head.

use tmem_gpu::{Buffer, Dispatch, GpuError, ops};

use super::Shared;
use super::weights::Part;
use crate::fast::{Group, RowsOf};

/// y (+)= W x + gate · B\[slot\] (A x).
pub(crate) struct Linear<'a> {
    pub(crate) layer: usize,
    pub(crate) group: Group,
    /// W, in as many parts as it has formats.
    pub(crate) parts: &'a [Part],
    /// [rows, inputs]
    pub(crate) x: &'a Buffer,
    /// Receives A x, [rows, sites · rank]; `None` where there are no fast weights.
    pub(crate) low_rank: Option<&'a Buffer>,
    /// [rows, outputs of the group]
    pub(crate) y: &'a Buffer,
    pub(crate) accumulate: bool,
}

impl Linear<'_> {
    /// Records it for a batch.
    pub(crate) fn record(&self, shared: &Shared<'_>, batch: RowsOf<'_>) -> Result<Vec<Dispatch>, GpuError> {
        let Shared { gpu, config, adapter, .. } = *shared;
        let &Self { layer, group, parts, x, low_rank, y, accumulate } = self;
        let mut plan = Vec::with_capacity(parts.len());
        for part in parts {
            plan.push(ops::matmul(
                gpu,
                ops::Matmul {
                    x,
                    weight: &part.weight,
                    y,
                    count: batch.count,
                    max_rows: batch.max_rows,
                    y_stride: group.outputs(config),
                    y_offset: part.offset,
                    accumulate,
                },
            )?);
        }
        if let (Some(adapter), Some(low_rank)) = (adapter, low_rank) {
            plan.extend(adapter.apply(gpu, config, layer, group, batch, x, low_rank, y)?);
        }
        Ok(plan)
    }
}

/// logits = W x, and its gradient through x.
pub(crate) struct Head<'a> {
    /// [rows, hidden]
    pub(crate) x: &'a Buffer,
    /// [rows, vocabulary]
    pub(crate) logits: &'a Buffer,
    pub(crate) count: &'a Buffer,
    pub(crate) max_rows: usize,
}

impl Head<'_> {
    /// Records the forward pass.
    pub(crate) fn record(&self, shared: &Shared<'_>) -> Result<Vec<Dispatch>, GpuError> {
        let Shared { gpu, config, weights, .. } = *shared;
        let &Self { x, logits: y, count, max_rows } = self;
        let product = |part: &Part| {
            let (weight, y_offset) = (&part.weight, part.offset);
            let args =
                ops::Matmul { x, weight, y, count, max_rows, y_stride: config.vocab, y_offset, accumulate: false };
            ops::matmul(gpu, args)
        };
        weights.head().iter().map(product).collect()
    }

    /// Records dx = Wᵀ d, where `logits` holds the gradient d of the logits.
    pub(crate) fn record_backward(&self, shared: &Shared<'_>, dx: &Buffer) -> Result<Vec<Dispatch>, GpuError> {
        let Shared { gpu, config, weights, .. } = *shared;
        let &Self { logits: dy, count, .. } = self;
        let product = |part: &Part| {
            let (weight, dy_offset) = (&part.weight, part.offset);
            let accumulate = dy_offset > 0;
            let args = ops::MatmulTransposed { dy, weight, dx, count, dy_stride: config.vocab, dy_offset, accumulate };
            ops::matmul_transposed(gpu, args)
        };
        weights.head().iter().map(product).collect()
    }
}
