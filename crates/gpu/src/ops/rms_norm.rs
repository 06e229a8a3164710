//! Root-mean-square normalisation.

use super::{require, share_by_fours};
use crate::{AdapterKind, Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 2] = [shader!("rms_norm"), shader!("rms_norm_subgroup", include "subgroup")];

/// Arguments of [`rms_norm`].
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm<'a> {
    /// Input, [rows, dim].
    pub x: &'a Buffer,
    /// Gain, \[dim\].
    pub weight: &'a Buffer,
    /// Output, [rows, dim]; must not be `x`.
    pub y: &'a Buffer,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// Length of a row.
    pub dim: usize,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// y = x · weight / √(mean(x²) + ε), row by row.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn rms_norm(gpu: &Gpu, args: RmsNorm<'_>) -> Result<Dispatch> {
    require("rms_norm", args.x, args.dim)?;
    require("rms_norm", args.weight, args.dim)?;
    require("rms_norm", args.y, args.dim)?;
    let (shader, entry, rows_per_group) = match gpu.kind() {
        AdapterKind::Cpu if share_by_fours(gpu, &[args.dim]) => (&SHADERS[1], "row_per_subgroup", 1),
        AdapterKind::Cpu => (&SHADERS[0], "row_per_invocation", 8),
        AdapterKind::Gpu => (&SHADERS[0], "row_per_workgroup", 1),
    };
    let constants = [("DIM", args.dim as f64), ("EPS", f64::from(args.epsilon))];
    let kernel = gpu.kernel(shader, entry, &constants)?;
    let buffers = [(0, args.x), (1, args.weight), (2, args.y)];
    let counted = [(0, args.x), (1, args.weight), (2, args.y), (3, args.count)];
    // The auto layout keeps only the bindings that an entry point uses.
    let used: &[_] = if rows_per_group == 1 { &buffers } else { &counted };
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
            for (rows, dim) in [(1, 1), (3, 5), (7, 255), (2, 256), (9, 257), (17, 576)] {
                let mut rng = Rng::new(rows as u64 * 1000 + dim as u64);
                let (x, w) = (rng.normal(rows * dim), rng.normal(dim));
                let y = gpu.poisoned("y", rows * dim);
                let dispatch = rms_norm(
                    gpu,
                    RmsNorm {
                        x: &gpu.upload(&x),
                        weight: &gpu.upload(&w),
                        y: &y,
                        count: &gpu.count(rows),
                        dim,
                        epsilon: 1e-5,
                    },
                )
                .unwrap();
                let first = gpu.run(&dispatch, rows, &y);
                assert_close(&first, &twins::rms_norm(&x, &w, 1e-5), 1e-6);
                assert_eq!(first, gpu.run(&dispatch, rows, &y), "a second run must give the same bits");
            }
        });
    }
}
