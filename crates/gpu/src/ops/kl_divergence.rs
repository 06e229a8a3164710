//! Kullback-Leibler divergence from a base distribution, and its gradient.

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("kl_divergence", include "reduction", include "log_sum_exp");

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
    let kernel = gpu.kernel(&SHADER, "kl_divergence", &[("VOCAB", args.vocab as f64)])?;
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
            for (rows, vocab) in [(1, 2), (3, 5), (7, 127), (2, 257), (5, 4099)] {
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
            let (buffer, loss) = (gpu.upload(&[0.0f32, 0.0]), gpu.poisoned("loss", 1));
            let args = KlDivergence {
                logits: &buffer,
                base: &gpu.upload(&[0.0f32, -1e30]),
                weights: &gpu.upload(&[1.0f32]),
                loss: &loss,
                vocab: 2,
            };
            let gradient = gpu.run(&kl_divergence(gpu, args).unwrap(), 1, &buffer);
            assert_close(&gpu.floats(&loss), &[2f64.ln()], 1e-6);
            assert_close(&gradient, &[-0.5, 0.5], 1e-6);
        });
    }
}
