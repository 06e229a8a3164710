//! Kullback-Leibler divergence from a base distribution, and its gradient.

use super::{require, share_by_fours};
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 2] = [
    shader!("kl_divergence", include "reduction", include "log_sum_exp"),
    shader!("kl_divergence_subgroup", include "subgroup", include "log_sum_exp_subgroup"),
];

/// Arguments of [`kl_divergence`].
#[derive(Debug, Clone, Copy)]
pub struct KlDivergence<'a> {
    /// Logits of the current model, [rows, vocab]; overwritten by their gradient.
    pub logits: &'a Buffer,
    /// Log-probabilities of the base model, [rows, vocab], as [`log_softmax`](super::log_softmax) makes them.
    pub base: &'a Buffer,
    /// Factor on each row's loss and gradient, \[rows\].
    pub weights: &'a Buffer,
    /// Output, \[rows\]: weight times KL(base ‖ current), in nats.
    pub loss: &'a Buffer,
    /// Length of a row.
    pub vocab: usize,
}

/// loss = w KL(base ‖ softmax(logits)) and, in place, its gradient w (softmax(logits) − base), row by row.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn kl_divergence(gpu: &Gpu, args: KlDivergence<'_>) -> Result<Dispatch> {
    require("kl_divergence", args.logits, args.vocab)?;
    require("kl_divergence", args.base, args.vocab)?;
    let (shader, entry) = if share_by_fours(gpu, &[args.vocab]) {
        (&SHADERS[1], "row_per_subgroup")
    } else {
        (&SHADERS[0], "kl_divergence")
    };
    let kernel = gpu.kernel(shader, entry, &[("VOCAB", args.vocab as f64)])?;
    let buffers = [(0, args.logits), (1, args.base), (2, args.weights), (3, args.loss)];
    gpu.bind(&kernel, Grid::over_rows(1, 1), &buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins::{self, softmax};

    #[test]
    fn agrees_with_its_twin_on_ragged_shapes() {
        on_every_kind(|gpu| {
            for (rows, vocab) in [(1, 2), (3, 5), (7, 127), (2, 257), (5, 4099), (1, 4), (7, 124), (5, 4100)] {
                let mut rng = Rng::new((rows * 10_000 + vocab) as u64);
                let (logits, weights) = (rng.normal(rows * vocab), rng.normal(rows));
                let base: Vec<f64> = rng.normal(rows * vocab).chunks(vocab).flat_map(softmax).collect();
                let base_log: Vec<f32> = base.iter().map(|p| p.ln() as f32).collect();
                let (want_loss, want) = twins::kl_divergence(&logits, &base, &weights);
                let (buffer, loss) = (gpu.upload(&logits), gpu.poisoned("loss", rows));
                let args = KlDivergence {
                    logits: &buffer,
                    base: &gpu.upload(&base_log),
                    weights: &gpu.upload(&weights),
                    loss: &loss,
                    vocab,
                };
                let dispatch = kl_divergence(gpu, args).unwrap();
                let gradient = gpu.run(&dispatch, rows, &buffer);
                assert_close(&gpu.floats(&loss), &want_loss, 1e-5);
                assert_close(&gradient, &want, 3e-6);
                gpu.write(&buffer, 0, &logits);
                assert_eq!(gradient, gpu.run(&dispatch, rows, &buffer), "a second run must give the same bits");
            }
        });
    }

    #[test]
    fn impossible_tokens_of_the_base_add_nothing() {
        on_every_kind(|gpu| {
            for vocab in [2, 4] {
                let (buffer, loss) = (gpu.upload(&vec![0f32; vocab]), gpu.poisoned("loss", 1));
                let mut base = vec![-1e30f32; vocab];
                base[0] = 0.0;
                let args = KlDivergence {
                    logits: &buffer,
                    base: &gpu.upload(&base),
                    weights: &gpu.upload(&[1.0f32]),
                    loss: &loss,
                    vocab,
                };
                let gradient = gpu.run(&kl_divergence(gpu, args).unwrap(), 1, &buffer);
                assert_close(&gpu.floats(&loss), &[(vocab as f64).ln()], 1e-6);
                let mut want = vec![1.0 / vocab as f64; vocab];
                want[0] -= 1.0;
                assert_close(&gradient, &want, 1e-6);
            }
        });
    }
}
