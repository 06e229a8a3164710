//! Product with a transposed weight matrix: the gradient of a linear layer through its input.

use super::{FORMATS, SUBGROUP, require, shader_for, shader_per_format};
use crate::weights::BLOCK;
use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, Weight, WeightFormat, shader};

pub(super) const SHADERS: [Shader; FORMATS] =
    shader_per_format!("matmul_transposed", include "column_tile", include "row_bases");

pub(super) const SUBGROUP_SHADERS: [Shader; FORMATS] =
    shader_per_format!("matmul_transposed_subgroup", include "column_tile", include "subgroup");

pub(super) const WORKGROUP_SHADERS: [Shader; FORMATS] =
    shader_per_format!(packed "matmul_transposed_workgroup", include "workgroup_tile");

/// The algorithms of `shaders/matmul_transposed.wgsl`, `shaders/matmul_transposed_subgroup.wgsl` and
/// `shaders/matmul_transposed_workgroup.wgsl`. All sum in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransposedVariant {
    /// 16 rows by 8 columns an invocation, in registers.
    TilePerInvocation,
    /// 8 rows by 8 columns an invocation, what was read of the rows shared by broadcast.
    TilePerSubgroup,
    /// 64 rows by 64 columns a workgroup, through workgroup memory.
    TilePerWorkgroup,
    /// The same with 32 rows by 32 columns.
    SmallTilePerWorkgroup,
}

/// Outputs from which a weight is taken for a head. Its gradient comes in chunks of 64 rows, and with the few columns of a
/// small model large tiles would be a handful of workgroups (9 with 576 columns, 36 small ones), each with a long way to
/// go.
const HEAD: usize = 8192;

impl TransposedVariant {
    /// That for such a product on this device. The one place where this is decided.
    fn choose(gpu: &Gpu, args: &MatmulTransposed<'_>) -> Self {
        let Weight { outputs: n, inputs: k, .. } = *args.weight;
        // What the others read four n at a time, and whole blocks.
        let by_fours =
            k.is_multiple_of(BLOCK) && [n, args.dy_stride, args.dy_offset].iter().all(|i| i.is_multiple_of(4));
        match gpu.kind() {
            _ if !by_fours => Self::TilePerInvocation,
            AdapterKind::Cpu if gpu.has_subgroups_of(SUBGROUP) => Self::TilePerSubgroup,
            AdapterKind::Cpu => Self::TilePerInvocation,
            AdapterKind::Gpu if n >= HEAD => Self::SmallTilePerWorkgroup,
            AdapterKind::Gpu => Self::TilePerWorkgroup,
        }
    }

    const fn shaders(self) -> &'static [Shader; FORMATS] {
        match self {
            Self::TilePerInvocation => &SHADERS,
            Self::TilePerSubgroup => &SUBGROUP_SHADERS,
            Self::TilePerWorkgroup | Self::SmallTilePerWorkgroup => &WORKGROUP_SHADERS,
        }
    }

    /// Where the weight is bound: by words, or four words at a time.
    const fn binding(self, format: WeightFormat) -> u32 {
        match self {
            Self::TilePerWorkgroup | Self::SmallTilePerWorkgroup if !format.is_quantised() => 4,
            _ => 1,
        }
    }

    /// Entry point, rows and columns that one workgroup covers.
    const fn tile(self) -> (&'static str, u32, usize) {
        match self {
            Self::TilePerInvocation => ("tile_per_invocation", 16, 64),
            Self::TilePerSubgroup => ("tile_per_subgroup", 8, 64),
            Self::TilePerWorkgroup => ("tile_per_workgroup", 64, 64),
            Self::SmallTilePerWorkgroup => ("tile_per_workgroup", 32, 32),
        }
    }

    /// The override constants of its own.
    fn constants(self) -> Vec<(&'static str, f64)> {
        let (_, rows, columns) = self.tile();
        match self {
            Self::TilePerInvocation | Self::TilePerSubgroup => vec![],
            Self::TilePerWorkgroup | Self::SmallTilePerWorkgroup => vec![
                ("ROWS", f64::from(rows / 8)),
                ("COLUMN_LANES", (columns / 4) as f64),
                // Two buffers of 16 n, in fours.
                ("DY_FOURS", f64::from(2 * rows * 16 / 4)),
                ("W_FOURS", (2 * columns * 16 / 4) as f64),
            ],
        }
    }
}

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
    matmul_transposed_as(gpu, args, TransposedVariant::choose(gpu, &args))
}

/// [`matmul_transposed`] with a variant that can take these sizes on this device.
pub(crate) fn matmul_transposed_as(
    gpu: &Gpu,
    args: MatmulTransposed<'_>,
    variant: TransposedVariant,
) -> Result<Dispatch> {
    let Weight { outputs: n, inputs: k, format, buffer } = args.weight;
    require("matmul_transposed", args.dy, args.dy_stride)?;
    require("matmul_transposed", args.dx, *k)?;
    if args.dy_offset.checked_add(*n).is_none_or(|end| end > args.dy_stride) {
        return Err(GpuError::Shape {
            op: "matmul_transposed",
            reason: format!("{n} columns from {} on do not fit in rows of {}", args.dy_offset, args.dy_stride),
        });
    }
    let mut constants = vec![
        ("N", *n as f64),
        ("K", *k as f64),
        ("DY_STRIDE", args.dy_stride as f64),
        ("DY_OFFSET", args.dy_offset as f64),
        ("ACCUMULATE", f64::from(u8::from(args.accumulate))),
    ];
    constants.extend(variant.constants());
    let (entry, rows_per_group, columns_per_group) = variant.tile();
    let kernel = gpu.kernel(shader_for(variant.shaders(), *format), entry, &constants)?;
    let grid = Grid::over_rows(k.div_ceil(columns_per_group) as u32, rows_per_group);
    gpu.bind(&kernel, grid, &[(0, args.dy), (variant.binding(*format), buffer), (2, args.dx), (3, args.count)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, SOURCES, any_gpu, assert_close, on_every_kind};
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

    /// Both tiles for GPUs, in every format: several tiles and steps, ragged ends of all three, and a part of a wider row.
    #[test]
    fn tiles_of_both_sizes_agree_with_the_twin_to_the_same_bits() {
        let gpu = any_gpu();
        for source in SOURCES {
            for (rows, n, k, padding, accumulate) in
                [(1, 4, 32, 0, false), (33, 20, 96, 4, true), (70, 132, 352, 0, true), (9, 68, 1536, 8, false)]
            {
                let (weight, w) = gpu.weight(source, n, k, (n + k) as u64);
                let (stride, mut rng) = (n + 2 * padding, Rng::new(rows as u64));
                let (dy, before) = (rng.normal(rows * stride), rng.normal(rows * k));
                let product = |variant: TransposedVariant| {
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
                    gpu.run(&matmul_transposed_as(&gpu, args, variant).unwrap(), rows, &dx)
                };
                let mut want = twins::matmul_transposed(&dy, &w, n, k, stride, padding);
                if accumulate {
                    want.iter_mut().zip(&before).for_each(|(w, &b)| *w += f64::from(b));
                }
                let large = product(TransposedVariant::TilePerWorkgroup);
                assert_close(&large, &want, 3e-6);
                assert_eq!(
                    large,
                    product(TransposedVariant::SmallTilePerWorkgroup),
                    "{source:?}, {rows} rows, {n} by {k}"
                );
            }
        }
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
