//! Gradient of root-mean-square normalisation.

use super::{require, share_by_fours};
use crate::{AdapterKind, Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 2] =
    [shader!("rms_norm_backward", include "reduction"), shader!("rms_norm_backward_subgroup", include "subgroup")];

/// Arguments of [`rms_norm_backward`].
#[derive(Debug, Clone, Copy)]
pub struct RmsNormBackward<'a> {
    /// The forward input, [rows, dim].
    pub x: &'a Buffer,
    /// Gain, \[dim\].
    pub weight: &'a Buffer,
    /// Gradient of the forward output, [rows, dim].
    pub dy: &'a Buffer,
    /// Output, gradient of the input, [rows, dim].
    pub dx: &'a Buffer,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// Length of a row.
    pub dim: usize,
    /// What the forward pass added to the mean square.
    pub epsilon: f32,
    /// Adds to `dx` (the gradient that flows past a residual block) instead of overwriting it.
    pub accumulate: bool,
}

/// dx (+)= gradient through y = x · weight / √(mean(x²) + ε), row by row.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn rms_norm_backward(gpu: &Gpu, args: RmsNormBackward<'_>) -> Result<Dispatch> {
    for buffer in [args.x, args.weight, args.dy, args.dx] {
        require("rms_norm_backward", buffer, args.dim)?;
    }
    let (shader, entry, rows_per_group) = match gpu.kind() {
        AdapterKind::Cpu if share_by_fours(gpu, &[args.dim]) => (&SHADERS[1], "row_per_subgroup", 1),
        AdapterKind::Cpu => (&SHADERS[0], "row_per_invocation", 8),
        AdapterKind::Gpu => (&SHADERS[0], "row_per_workgroup", 1),
    };
    let constants = [
        ("DIM", args.dim as f64),
        ("EPS", f64::from(args.epsilon)),
        ("ACCUMULATE", f64::from(u8::from(args.accumulate))),
    ];
    let kernel = gpu.kernel(shader, entry, &constants)?;
    let buffers = [(0, args.x), (1, args.weight), (2, args.dy), (3, args.dx), (4, args.count)];
    // The auto layout keeps only the bindings that an entry point uses.
    let used = if rows_per_group == 1 { &buffers[..4] } else { &buffers[..] };
    gpu.bind(&kernel, Grid::over_rows(1, rows_per_group), used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins;

    #[test]
    fn agrees_with_its_twin_on_ragged_shapes() {
        on_every_kind(|gpu| {
            for (rows, dim, accumulate) in
                [(1, 3, false), (3, 5, true), (7, 255, false), (2, 256, true), (9, 257, false), (17, 576, true)]
            {
                let mut rng = Rng::new((rows * 1000 + dim) as u64);
                let (x, w, dy) = (rng.normal(rows * dim), rng.normal(dim), rng.normal(rows * dim));
                let before = rng.normal(rows * dim);
                let dx = if accumulate { gpu.upload(&before) } else { gpu.poisoned("dx", rows * dim) };
                let args = RmsNormBackward {
                    x: &gpu.upload(&x),
                    weight: &gpu.upload(&w),
                    dy: &gpu.upload(&dy),
                    dx: &dx,
                    count: &gpu.count(rows),
                    dim,
                    epsilon: 1e-5,
                    accumulate,
                };
                let dispatch = rms_norm_backward(gpu, args).unwrap();
                let mut want = twins::rms_norm_backward(&x, &w, &dy, 1e-5);
                if accumulate {
                    want.iter_mut().zip(&before).for_each(|(w, &b)| *w += f64::from(b));
                }
                let first = gpu.run(&dispatch, rows, &dx);
                assert_close(&first, &want, 3e-6);
                gpu.write(&dx, 0, &before);
                assert_eq!(first, gpu.run(&dispatch, rows, &dx), "a second run must give the same bits");
            }
        });
    }
}
