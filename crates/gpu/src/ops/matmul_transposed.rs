//! Product with a transposed weight matrix: the gradient of a linear layer through its input.

use super::matmul::shader_for;
use super::{SUBGROUP, require};
use crate::weights::BLOCK;
use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, Weight, shader};

pub(super) const SHADERS: [Shader; 4] = [
    shader!("matmul_transposed", include "weights_q4", include "column_tile", include "row_bases"),
    shader!("matmul_transposed", include "weights_q8", include "column_tile", include "row_bases"),
    shader!("matmul_transposed", include "weights_f16", include "column_tile", include "row_bases"),
    shader!("matmul_transposed", include "weights_f32", include "column_tile", include "row_bases"),
];

pub(super) const SUBGROUP_SHADERS: [Shader; 4] = [
    shader!("matmul_transposed_subgroup", include "weights_q4", include "column_tile", include "subgroup"),
    shader!("matmul_transposed_subgroup", include "weights_q8", include "column_tile", include "subgroup"),
    shader!("matmul_transposed_subgroup", include "weights_f16", include "column_tile", include "subgroup"),
    shader!("matmul_transposed_subgroup", include "weights_f32", include "column_tile", include "subgroup"),
];

/// Arguments of [`matmul_transposed`].
#[derive(Debug, Clone, Copy)]
pub struct MatmulTransposed<'a> {
    /// Gradient of the outputs, [rows, `dy_stride`].
    pub dy: &'a Buffer,
    /// W, [n, k].
    pub weight: &'a Weight,
    /// Output, [rows, k]; must not be `dy`.
    pub dx: &'a Buffer,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// Elements from one row of `dy` to the next.
    pub dy_stride: usize,
    /// Where in a row of `dy` output 0 stands.
    pub dy_offset: usize,
    /// Whether to add to `dx` rather than overwrite it.
    pub accumulate: bool,
}

/// dx[r, k] (+)= Σ_n dy[r, `dy_offset` + n] · W[n, k], the weight dequantised inside the kernel. Sums are f32 in the
/// order of n.
///
/// # Errors
/// Buffers too small for one row, an input range beyond `dy_stride`, or a failure of the device.
pub fn matmul_transposed(gpu: &Gpu, args: MatmulTransposed<'_>) -> Result<Dispatch> {
    let Weight { outputs: n, inputs: k, format, buffer } = args.weight;
    require("matmul_transposed", args.dy, args.dy_stride)?;
    require("matmul_transposed", args.dx, *k)?;
    if args.dy_offset.checked_add(*n).is_none_or(|end| end > args.dy_stride) {
        return Err(GpuError::Shape {
            op: "matmul_transposed",
            reason: format!("{n} columns from {} on do not fit in rows of {}", args.dy_offset, args.dy_stride),
        });
    }
    // The kernel for subgroups reads dy four n at a time, and whole blocks.
    let by_fours = gpu.has_subgroups_of(SUBGROUP)
        && k.is_multiple_of(BLOCK)
        && [*n, args.dy_stride, args.dy_offset].iter().all(|count| count.is_multiple_of(4));
    let (shaders, entry, rows_per_group) = match gpu.kind() {
        AdapterKind::Cpu if by_fours => (&SUBGROUP_SHADERS, "tile_per_subgroup", 8),
        AdapterKind::Cpu => (&SHADERS, "tile_per_invocation", 16),
        AdapterKind::Gpu => (&SHADERS, "tile_per_workgroup", 64),
    };
    let constants = [
        ("N", *n as f64),
        ("K", *k as f64),
        ("DY_STRIDE", args.dy_stride as f64),
        ("DY_OFFSET", args.dy_offset as f64),
        ("ACCUMULATE", f64::from(u8::from(args.accumulate))),
    ];
    let kernel = gpu.kernel(shader_for(shaders, *format), entry, &constants)?;
    let grid = Grid::over_rows(k.div_ceil(64) as u32, rows_per_group);
    gpu.bind(&kernel, grid, &[(0, args.dy), (1, buffer), (2, args.dx), (3, args.count)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, SOURCES, assert_close, on_every_kind};
    use crate::twins;

    #[test]
    fn agrees_with_its_twin_in_every_format() {
        on_every_kind(|gpu| {
            for source in SOURCES {
                for (rows, n, k, padding, accumulate) in [
                    (1, 1, 27, 0, false),
                    (3, 5, 91, 2, true),
                    (7, 257, 59, 0, false),
                    (70, 130, 571usize, 3, true),
                    // Multiples of 4 and whole blocks: another kernel where there are subgroups.
                    (1, 4, 32, 0, false),
                    (13, 132, 576, 4, true),
                ] {
                    // Only F16 and F32 rows need not be whole blocks, nor of even length.
                    let k = if source.format().is_quantised() { k.next_multiple_of(BLOCK) } else { k };
                    let (weight, w) = gpu.weight(source, n, k, (n * k) as u64);
                    let (stride, mut rng) = (n + 2 * padding, Rng::new(rows as u64));
                    let (dy, before) = (rng.normal(rows * stride), rng.normal(rows * k));
                    let dx = if accumulate { gpu.upload(&before) } else { gpu.poisoned("dx", rows * k) };
                    let args = MatmulTransposed {
                        dy: &gpu.upload(&dy),
                        weight: &weight,
                        dx: &dx,
                        count: &gpu.count(rows),
                        dy_stride: stride,
                        dy_offset: padding,
                        accumulate,
                    };
                    let dispatch = matmul_transposed(gpu, args).unwrap();
                    let mut want = twins::matmul_transposed(&dy, &w, n, k, stride, padding);
                    if accumulate {
                        want.iter_mut().zip(&before).for_each(|(w, &b)| *w += f64::from(b));
                    }
                    let first = gpu.run(&dispatch, rows, &dx);
                    assert_close(&first, &want, 3e-6);
                    gpu.write(&dx, 0, &before);
                    assert_eq!(first, gpu.run(&dispatch, rows, &dx), "a second run must give the same bits");
                }
            }
        });
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        on_every_kind(|gpu| {
            let (weight, _) = gpu.weight(crate::SourceType::F32, 4, 3, 1);
            let (dy, dx, count) = (gpu.poisoned("dy", 8), gpu.poisoned("dx", 3), gpu.count(1));
            let args = MatmulTransposed {
                dy: &dy,
                weight: &weight,
                dx: &dx,
                count: &count,
                dy_stride: 8,
                dy_offset: 5,
                accumulate: false,
            };
            assert!(matmul_transposed(gpu, args).is_err());
        });
    }
}
