//! Logarithm of the softmax.

use super::{require, share_by_fours};
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 2] = [
    shader!("log_softmax", include "reduction", include "log_sum_exp"),
    shader!("log_softmax_subgroup", include "subgroup", include "log_sum_exp_subgroup"),
];

/// Turns `logits` [rows, vocab] into log-probabilities (nats), in place.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn log_softmax(gpu: &Gpu, logits: &Buffer, vocab: usize) -> Result<Dispatch> {
    require("log_softmax", logits, vocab)?;
    let (shader, entry) =
        if share_by_fours(gpu, &[vocab]) { (&SHADERS[1], "row_per_subgroup") } else { (&SHADERS[0], "log_softmax") };
    let kernel = gpu.kernel(shader, entry, &[("VOCAB", vocab as f64)])?;
    gpu.bind(&kernel, Grid::over_rows(1, 1), &[(0, logits)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins::softmax;

    #[test]
    fn agrees_with_its_twin_on_ragged_shapes() {
        on_every_kind(|gpu| {
            for (rows, vocab) in [(1, 1), (3, 5), (7, 127), (2, 257), (5, 4099), (1, 4), (7, 124), (5, 4100)] {
                let logits = Rng::new((rows * 10_000 + vocab) as u64).normal(rows * vocab);
                let want: Vec<f64> = logits.chunks(vocab).flat_map(softmax).map(f64::ln).collect();
                let buffer = gpu.upload(&logits);
                let dispatch = log_softmax(gpu, &buffer, vocab).unwrap();
                let first = gpu.run(&dispatch, rows, &buffer);
                assert_close(&first, &want, 1e-6);
                gpu.write(&buffer, 0, &logits);
                assert_eq!(first, gpu.run(&dispatch, rows, &buffer), "a second run must give the same bits");
            }
        });
    }
}
