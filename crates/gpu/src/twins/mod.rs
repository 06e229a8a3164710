//! The kernels' twins: each formula once more on the processor, in f64, plainly. The self-test and the kernel tests
//! hold the kernels against them. Arguments have the shapes of the launchers' buffers.

mod adapter;
mod attention;
mod linear;
mod loss;
mod sample;

pub(crate) use adapter::{LoraUp, adamw_step, gram, lora_backward_b, lora_backward_u, lora_backward_x, sgd_step};
pub(crate) use attention::{AttentionShape, Rope, attention, attention_backward};
pub(crate) use linear::{embed, matmul, matmul_transposed, rms_norm, rms_norm_backward, swiglu, swiglu_backward};
pub(crate) use loss::{cross_entropy, kl_divergence, softmax};
pub(crate) use sample::sample;

/// Single values in f64.
pub(crate) fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Root mean square error relative to the root mean square of `want`, where it is at most `tolerance`, where no value
/// is further off than 30 times the tolerance and where none is NaN; else what differs, in words, with the error
/// (infinite where NaN).
pub(crate) fn compare(got: &[f32], want: &[f64], tolerance: f64) -> Result<f64, Difference> {
    if got.len() != want.len() {
        return Err(Difference { error: f64::INFINITY, message: format!("{} values, want {}", got.len(), want.len()) });
    }
    let count = want.len().max(1) as f64;
    let scale = (want.iter().map(|w| w * w).sum::<f64>() / count).sqrt().max(1e-30);
    let square: f64 = got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).powi(2)).sum();
    let error = (square / count).sqrt() / scale;
    let error = if error.is_nan() { f64::INFINITY } else { error };
    // Written so that NaN counts as off.
    let near = |g: f32, w: f64| (f64::from(g) - w).abs() <= 30.0 * tolerance * scale.max(w.abs());
    if let Some(i) = (0..want.len()).find(|&i| !near(got[i], want[i])) {
        let message = format!("element {i}: got {}, want {} (scale {scale:.3e})", got[i], want[i]);
        return Err(Difference { error, message });
    }
    if error > tolerance {
        return Err(Difference { error, message: format!("relative error {error:.3e}, at most {tolerance:.0e}") });
    }
    Ok(error)
}

/// What [`compare`] found.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Relative error over all values.
    pub(crate) error: f64,
    /// Where values differ and what was expected.
    pub(crate) message: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
