//! Products with a weight matrix.

use super::require;
use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, Weight, WeightFormat, shader};

pub(super) const SHADERS: [Shader; 4] = [
    shader!("matmul", include "weights_q4"),
    shader!("matmul", include "weights_q8"),
    shader!("matmul", include "weights_f16"),
    shader!("matmul", include "weights_f32"),
];

/// The shader among `shaders`, one per format in the order of [`WeightFormat::ALL`], that reads `format`.
pub(super) fn shader_for(shaders: &[Shader; 4], format: WeightFormat) -> &Shader {
    match format {
        WeightFormat::Q4 => &shaders[0],
        WeightFormat::Q8 => &shaders[1],
        WeightFormat::F16 => &shaders[2],
        WeightFormat::F32 => &shaders[3],
    }
}

/// The algorithms of `shaders/matmul.wgsl`, one entry point each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatmulVariant {
    /// Up to 8 rows by 8 outputs an invocation, in registers.
    TilePerInvocation,
    /// Up to 8 rows, 16 invocations to an output.
    RowsPerWorkgroup,
    /// 64 rows by 64 outputs a workgroup, through workgroup memory.
    TilePerWorkgroup,
}

impl MatmulVariant {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TilePerInvocation, Self::RowsPerWorkgroup, Self::TilePerWorkgroup];

    /// The variant for batches of up to `max_rows` rows. The one place where this is decided.
    pub const fn choose(kind: AdapterKind, max_rows: usize) -> Self {
        match (kind, max_rows) {
            (AdapterKind::Cpu, _) => Self::TilePerInvocation,
            (AdapterKind::Gpu, 0..=8) => Self::RowsPerWorkgroup,
            (AdapterKind::Gpu, _) => Self::TilePerWorkgroup,
        }
    }

    const fn entry(self) -> &'static str {
        match self {
            Self::TilePerInvocation => "tile_per_invocation",
            Self::RowsPerWorkgroup => "rows_per_workgroup",
            Self::TilePerWorkgroup => "tile_per_workgroup",
        }
    }

    /// Rows and outputs that one workgroup covers.
    const fn tile(self, max_rows: usize) -> (u32, usize) {
        match self {
            Self::TilePerInvocation => (row_slots(max_rows), 64),
            Self::RowsPerWorkgroup => (row_slots(max_rows), 4),
            Self::TilePerWorkgroup => (64, 64),
        }
    }
}

/// Rows that one tile carries; fewer where the batch is small, so that nothing is computed in vain.
const fn row_slots(max_rows: usize) -> u32 {
    match max_rows {
        0..=1 => 1,
        2..=4 => 4,
        _ => 8,
    }
}

/// Arguments of [`matmul`].
#[derive(Debug, Clone, Copy)]
pub struct Matmul<'a> {
    /// Input, [rows, k].
    pub x: &'a Buffer,
    /// W, [n, k].
    pub weight: &'a Weight,
    /// Output, [rows, `y_stride`]; must not be `x`.
    pub y: &'a Buffer,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// Elements from one row of `y` to the next.
    pub y_stride: usize,
    /// Where in a row of `y` output 0 goes.
    pub y_offset: usize,
    /// Whether to add to `y` rather than overwrite it.
    pub accumulate: bool,
    /// The most rows that this dispatch is recorded with; decides the variant.
    pub max_rows: usize,
}

/// y[r, `y_offset` + n] (+)= Σ_k x[r, k] · W[n, k], the weight dequantised inside the kernel. Sums are f32 in a fixed
/// order that depends on the variant.
///
/// # Errors
/// Buffers too small for one row, an output range beyond `y_stride`, or a failure of the device.
pub fn matmul(gpu: &Gpu, args: Matmul<'_>) -> Result<Dispatch> {
    matmul_as(gpu, args, MatmulVariant::choose(gpu.kind(), args.max_rows))
}

/// [`matmul`] with a variant of one's own choice, for tests and measurements.
///
/// # Errors
/// As [`matmul`].
pub fn matmul_as(gpu: &Gpu, args: Matmul<'_>, variant: MatmulVariant) -> Result<Dispatch> {
    build(gpu, args, variant, &[])
}

/// [`matmul_as`] with further constants for the shader.
pub(super) fn build(
    gpu: &Gpu,
    args: Matmul<'_>,
    variant: MatmulVariant,
    more: &[(&'static str, f64)],
) -> Result<Dispatch> {
    let Weight { outputs: n, inputs: k, format, buffer } = args.weight;
    require("matmul", args.x, *k)?;
    require("matmul", args.y, args.y_stride)?;
    if args.y_offset.checked_add(*n).is_none_or(|end| end > args.y_stride) {
        return Err(GpuError::Shape {
            op: "matmul",
            reason: format!("{n} outputs from {} on do not fit in rows of {}", args.y_offset, args.y_stride),
        });
    }
    let (rows_per_group, outputs_per_group) = variant.tile(args.max_rows);
    let mut constants = vec![
        ("N", *n as f64),
        ("K", *k as f64),
        ("Y_STRIDE", args.y_stride as f64),
        ("Y_OFFSET", args.y_offset as f64),
        ("ACCUMULATE", f64::from(u8::from(args.accumulate))),
    ];
    if variant != MatmulVariant::TilePerWorkgroup {
        constants.push(("ROWS", f64::from(rows_per_group)));
    }
    constants.extend(more);
    let kernel = gpu.kernel(shader_for(&SHADERS, *format), variant.entry(), &constants)?;
    let grid = Grid::over_rows(n.div_ceil(outputs_per_group) as u32, rows_per_group);
    gpu.bind(&kernel, grid, &[(0, args.x), (1, buffer), (2, args.y), (3, args.count)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, SOURCES, any_gpu, assert_close};
    use crate::twins;

    /// Every format, every variant, ragged rows, outputs and columns; tolerance for f32 sums of up to 352 terms.
    #[test]
    fn every_variant_agrees_with_its_twin() {
        let gpu = any_gpu();
        for source in SOURCES {
            for (rows, n, k) in [(1, 1, 32), (3, 5, 96), (7, 257, 64), (8, 63, 352), (70, 130, 192)] {
                // F16 and F32 rows need not be whole blocks, nor of even length.
                let k = if source.format().is_quantised() { k } else { k - 5 };
                let (weight, w) = gpu.weight(source, n, k, (n * k) as u64);
                let x = Rng::new(rows as u64).normal(rows * k);
                let x_buffer = gpu.upload(&x);
                for variant in MatmulVariant::ALL {
                    let y = gpu.poisoned("y", rows * n);
                    let args = Matmul {
                        x: &x_buffer,
                        weight: &weight,
                        y: &y,
                        count: &gpu.count(rows),
                        y_stride: n,
                        y_offset: 0,
                        accumulate: false,
                        max_rows: rows,
                    };
                    let dispatch = matmul_as(&gpu, args, variant).unwrap();
                    let first = gpu.run(&dispatch, rows, &y);
                    assert_close(&first, &twins::matmul(&x, &w, k), 3e-6);
                    assert_eq!(first, gpu.run(&dispatch, rows, &y), "a second run must give the same bits");
                }
            }
        }
    }

    #[test]
    fn outputs_go_to_their_place_in_a_wider_row_and_can_be_added() {
        let gpu = any_gpu();
        let (rows, n, k, stride, offset) = (9, 20, 33, 31, 7);
        let (weight, w) = gpu.weight(crate::SourceType::F32, n, k, 1);
        let (x, before) = (Rng::new(2).normal(rows * k), Rng::new(3).normal(rows * stride));
        let product = twins::matmul(&x, &w, k);
        for variant in MatmulVariant::ALL {
            for accumulate in [false, true] {
                let y = gpu.upload(&before);
                let args = Matmul {
                    x: &gpu.upload(&x),
                    weight: &weight,
                    y: &y,
                    count: &gpu.count(rows),
                    y_stride: stride,
                    y_offset: offset,
                    accumulate,
                    max_rows: rows,
                };
                let got = gpu.run(&matmul_as(&gpu, args, variant).unwrap(), rows, &y);
                let want: Vec<f64> = (0..rows * stride)
                    .map(|i| match (i % stride).checked_sub(offset).filter(|&o| o < n) {
                        None => f64::from(before[i]),
                        Some(o) => product[i / stride * n + o] + f64::from(u8::from(accumulate)) * f64::from(before[i]),
                    })
                    .collect();
                assert_close(&got, &want, 3e-6);
            }
        }
    }

    #[test]
    fn outputs_beyond_the_row_are_refused() {
        let gpu = any_gpu();
        let (weight, _) = gpu.weight(crate::SourceType::F32, 4, 8, 1);
        let (x, y) = (gpu.poisoned("x", 8), gpu.poisoned("y", 6));
        let args = Matmul {
            x: &x,
            weight: &weight,
            y: &y,
            count: &gpu.count(1),
            y_stride: 6,
            y_offset: 3,
            accumulate: false,
            max_rows: 1,
        };
        assert!(matches!(matmul(&gpu, args), Err(GpuError::Shape { .. })));
    }
}
