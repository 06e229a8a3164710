//! Softmax cross entropy and its gradient.

use super::{require, share_by_fours};
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 2] = [
    shader!("cross_entropy", include "reduction", include "log_sum_exp"),
    shader!("cross_entropy_subgroup", include "subgroup", include "log_sum_exp_subgroup"),
];

/// Arguments of [`cross_entropy`].
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropy<'a> {
    /// Logits, [rows, vocab]; overwritten by their gradient.
    pub logits: &'a Buffer,
    /// Token ids (u32), \[rows\].
    pub targets: &'a Buffer,
    /// Factor on each row's loss and gradient, \[rows\].
    pub weights: &'a Buffer,
    /// Output, \[rows\]: weight times −ln p(target), in nats.
    pub loss: &'a Buffer,
    /// Output, \[rows\]: p(target), whether or not the row counts.
    pub probability: &'a Buffer,
    /// Length of a row.
    pub vocab: usize,
    /// Rows whose target is more probable than this get loss and gradient 0 (MemFT, arXiv 2605.30260); they are those
    /// whose `probability` exceeds it. `None` = every row counts.
    pub threshold: Option<f32>,
}

/// loss = −w ln softmax(logits)\[target\] and, in place, its gradient w (softmax(logits) − onehot(target)), row by row.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn cross_entropy(gpu: &Gpu, args: CrossEntropy<'_>) -> Result<Dispatch> {
    require("cross_entropy", args.logits, args.vocab)?;
    // No probability exceeds 2.
    let threshold = f64::from(args.threshold.unwrap_or(2.0));
    let constants = [("VOCAB", args.vocab as f64), ("THRESHOLD", threshold)];
    let (shader, entry) = if share_by_fours(gpu, &[args.vocab]) {
        (&SHADERS[1], "row_per_subgroup")
    } else {
        (&SHADERS[0], "cross_entropy")
    };
    let kernel = gpu.kernel(shader, entry, &constants)?;
    let buffers = [(0, args.logits), (1, args.targets), (2, args.weights), (3, args.loss), (4, args.probability)];
    gpu.bind(&kernel, Grid::over_rows(1, 1), &buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins;

    #[test]
    fn agrees_with_its_twin_with_and_without_a_threshold() {
        on_every_kind(|gpu| {
            // The second half is by fours: another kernel where there are subgroups.
            for (rows, vocab, threshold) in [
                (1, 1, None),
                (3, 5, None),
                (7, 127, Some(1e-3)),
                (2, 257, None),
                (5, 4099, None),
                (40, 3, Some(0.5)),
                (1, 4, None),
                (40, 8, Some(0.5)),
                (3, 124, None),
                (7, 260, Some(1e-3)),
                (5, 4100, None),
            ] {
                let mut rng = Rng::new((rows * 10_000 + vocab) as u64);
                let logits: Vec<f32> = rng.normal(rows * vocab).iter().map(|v| 3.0 * v).collect();
                let (targets, weights) = (rng.below(vocab as u32, rows), rng.normal(rows));
                let (loss, probability) = (gpu.poisoned("loss", rows), gpu.poisoned("probability", rows));
                let buffer = gpu.upload(&logits);
                let args = CrossEntropy {
                    logits: &buffer,
                    targets: &gpu.upload(&targets),
                    weights: &gpu.upload(&weights),
                    loss: &loss,
                    probability: &probability,
                    vocab,
                    threshold,
                };
                let dispatch = cross_entropy(gpu, args).unwrap();
                let gradient = gpu.run(&dispatch, rows, &buffer);
                let (want_loss, want_probability, want_gradient) =
                    twins::cross_entropy(&logits, &targets, &weights, threshold.map_or(2.0, f64::from));
                assert_close(&gpu.floats(&loss), &want_loss, 3e-6);
                assert_close(&gpu.floats(&probability), &want_probability, 3e-6);
                assert_close(&gradient, &want_gradient, 3e-6);
                let skipped = want_loss.iter().zip(&want_probability).filter(|&(l, p)| *l == 0.0 && *p < 1.0).count();
                assert_eq!(skipped > 0, threshold.is_some(), "the threshold must have been put to use");
                gpu.write(&buffer, 0, &logits);
                assert_eq!(gradient, gpu.run(&dispatch, rows, &buffer), "a second run must give the same bits");
            }
        });
    }
}
