//! Length and health of a gradient.

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("gradient_norm", include "reduction");

/// norm = (Σ g² over the finite elements of `gradient` \[length\], number of elements that are not finite), as f32.
///
/// # Errors
/// A buffer too small, or a failure of the device.
pub fn gradient_norm(gpu: &Gpu, gradient: &Buffer, length: usize, norm: &Buffer) -> Result<Dispatch> {
    require("gradient_norm", gradient, length)?;
    require("gradient_norm", norm, 2)?;
    let kernel = gpu.kernel(&SHADER, "gradient_norm", &[("LENGTH", length as f64)])?;
    gpu.bind(&kernel, Grid::flat(1), &[(0, gradient), (1, norm)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_close, on_every_kind};

    #[test]
    fn sums_squares_and_counts_what_is_not_finite() {
        on_every_kind(|gpu| {
            for length in [1, 3, 127, 128, 129, 5000] {
                let mut gradient = Rng::new(length as u64).normal(length);
                let want: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
                let norm = gpu.poisoned("norm", 2);
                let buffer = gpu.upload(&gradient);
                let dispatch = gradient_norm(gpu, &buffer, length, &norm).unwrap();
                let first = gpu.run(&dispatch, 1, &norm);
                assert_close(&first[..1], &[want], 1e-6);
                assert_eq!(first[1], 0.0);
                assert_eq!(first, gpu.run(&dispatch, 1, &norm), "a second run must give the same bits");
                for (i, broken) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().enumerate().take(length) {
                    gradient[i * (length - 1) / 2] = broken;
                }
                let rest: f64 = gradient.iter().filter(|g| g.is_finite()).map(|&g| f64::from(g).powi(2)).sum();
                gpu.write(&buffer, 0, &gradient);
                let broken = gpu.run(&dispatch, 1, &norm);
                assert_close(&broken, &[rest, length.min(3) as f64], 1e-6);
            }
        });
    }
}
