//! Products with a weight matrix, for many rows. (For few there is [`projection`](super::projection()).)

use super::matmul_workgroup::{self, Blocks, Division};
use super::{FORMATS, SUBGROUP, require, shader_for, shader_per_format};
use crate::weights::BLOCK;
use crate::{
    AdapterKind, Buffer, Dispatch, Gpu, GpuError, Grid, Product, Result, Shader, Weight, WeightFormat, shader,
};

pub(super) const SHADERS: [Shader; FORMATS] =
    shader_per_format!("matmul", include "row_sums", include "row_tile", include "row_bases");

pub(super) const SUBGROUP_SHADERS: [Shader; FORMATS] = shader_per_format!("matmul_subgroup", include "row_sums", include "row_tile", include "subgroup", include "rows_subgroup");

/// The algorithms of `shaders/matmul.wgsl`, `shaders/matmul_subgroup.wgsl` and `shaders/matmul_workgroup.wgsl`. Those per
/// workgroup are for GPUs; they all give the same bits, and round what they multiply where a device
/// [has half products](Gpu::has_half_products).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatmulVariant {
    /// 8 rows by 8 outputs an invocation, in registers.
    TilePerInvocation,
    /// 8 rows, an invocation for each block of columns and 1 to 4 outputs.
    BlocksPerWorkgroup,
    /// 64 rows by 64 outputs a workgroup, through workgroup memory, 8 rows by 4 outputs an invocation.
    TilePerWorkgroup,
    /// The same with 32 rows by 64 outputs.
    SmallTilePerWorkgroup,
    /// 64 rows by 64 outputs with 8 rows by 8 outputs an invocation.
    WideTilePerWorkgroup,
    /// 8 rows by 4 outputs an invocation, what was read of the rows shared by broadcast. Needs
    /// [`runs_on`](Self::runs_on).
    TilePerSubgroup,
}

impl MatmulVariant {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::TilePerInvocation,
        Self::BlocksPerWorkgroup,
        Self::TilePerWorkgroup,
        Self::SmallTilePerWorkgroup,
        Self::WideTilePerWorkgroup,
        Self::TilePerSubgroup,
    ];

    /// The variant for the product of up to `max_rows` rows with `weight`, which begins at word `start` of its buffer: the
    /// one that was measured to be fastest ([`Gpu::tune`]), else the one chosen by rule. The one place where this is
    /// decided.
    pub fn choose(gpu: &Gpu, weight: &Weight, start: usize, max_rows: usize) -> Self {
        let &Weight { format, outputs, inputs, .. } = weight;
        let rule = Self::by_rule(gpu, weight, start, max_rows);
        let measured = gpu.measured(Product { format, outputs, inputs, rows: max_rows });
        measured.filter(|variant| variant.stands_for(rule, gpu, weight, start)).unwrap_or(rule)
    }

    /// Whether it runs here and gives the same bits as `other`.
    pub(crate) fn stands_for(self, other: Self, gpu: &Gpu, weight: &Weight, start: usize) -> bool {
        self == other || (self.is_for_gpus() && other.is_for_gpus() && self.runs_on(gpu, weight, start))
    }

    /// What suits adapter, format and sizes, unmeasured.
    pub(crate) fn by_rule(gpu: &Gpu, weight: &Weight, start: usize, max_rows: usize) -> Self {
        let wanted = match (gpu.kind(), matmul_workgroup::division(max_rows, weight.outputs)) {
            (AdapterKind::Cpu, _) => Self::TilePerSubgroup,
            (AdapterKind::Gpu, Division::Blocks) => Self::BlocksPerWorkgroup,
            (AdapterKind::Gpu, Division::SmallTiles) => Self::SmallTilePerWorkgroup,
            (AdapterKind::Gpu, Division::Tiles) => Self::TilePerWorkgroup,
        };
        if wanted.runs_on(gpu, weight, start) { wanted } else { Self::TilePerInvocation }
    }

    /// Whether this device can run it on such a weight: all but [`TilePerInvocation`](Self::TilePerInvocation) read rows
    /// of whole blocks, four words at a time.
    pub fn runs_on(self, gpu: &Gpu, weight: &Weight, start: usize) -> bool {
        let by_fours = weight.inputs.is_multiple_of(BLOCK) && start.is_multiple_of(4);
        match self {
            Self::TilePerInvocation => true,
            Self::TilePerSubgroup => by_fours && gpu.has_subgroups_of(SUBGROUP),
            _ => by_fours,
        }
    }

    /// Whether it goes through workgroup memory, which takes an emulated adapter seconds for a large product.
    pub const fn is_for_gpus(self) -> bool {
        !matches!(self, Self::TilePerInvocation | Self::TilePerSubgroup)
    }

    fn shaders(self, gpu: &Gpu) -> &'static [Shader; FORMATS] {
        match self {
            Self::TilePerInvocation => &SHADERS,
            Self::TilePerSubgroup => &SUBGROUP_SHADERS,
            _ if gpu.has_half_products() => &matmul_workgroup::HALF_SHADERS,
            _ => &matmul_workgroup::SHADERS,
        }
    }

    const fn entry(self) -> &'static str {
        match self {
            Self::TilePerInvocation => "tile_per_invocation",
            Self::BlocksPerWorkgroup => "blocks_per_workgroup",
            Self::TilePerWorkgroup | Self::SmallTilePerWorkgroup | Self::WideTilePerWorkgroup => "tile_per_workgroup",
            Self::TilePerSubgroup => "tile_per_subgroup",
        }
    }

    /// Rows and outputs that one workgroup covers in a product of so many outputs and inputs, and the override constants
    /// for it.
    fn tile(self, max_rows: usize, outputs: usize, inputs: usize) -> (u32, usize, Vec<(&'static str, f64)>) {
        let tile = |output_lanes: u32, row_lanes: u32| {
            let constants = [("OUTPUT_LANES", output_lanes), ("ROW_LANES", row_lanes), ("X_FOURS", 64 * row_lanes)];
            (8 * row_lanes, 64, constants.map(|(name, value)| (name, f64::from(value))).to_vec())
        };
        match self {
            Self::TilePerInvocation => (8, 64, Vec::new()),
            Self::BlocksPerWorkgroup => {
                let blocks = Blocks::new(outputs, inputs, max_rows, 8, 0);
                (8, blocks.outputs_per_group(), blocks.constants().to_vec())
            }
            Self::TilePerWorkgroup => tile(16, 8),
            Self::SmallTilePerWorkgroup => tile(16, 4),
            Self::WideTilePerWorkgroup => tile(8, 8),
            Self::TilePerSubgroup => (8, 32, Vec::new()),
        }
    }

    /// Whether it reads weights of such a format by words (binding 1) and four words at a time (binding 4).
    const fn reads(self, format: WeightFormat) -> (bool, bool) {
        match self {
            Self::TilePerInvocation => (true, false),
            // Whole blocks by fours, the scales beside them by words.
            Self::BlocksPerWorkgroup | Self::TilePerSubgroup => (format.is_quantised(), true),
            _ => (format.is_quantised(), !format.is_quantised()),
        }
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

impl<'a> Matmul<'a> {
    /// The product alone, into rows of `y` that hold nothing else. `batch` is (count, the most rows).
    pub const fn new(x: &'a Buffer, weight: &'a Weight, y: &'a Buffer, batch: (&'a Buffer, usize)) -> Self {
        let (count, max_rows) = batch;
        Self { x, weight, y, count, y_stride: weight.outputs, y_offset: 0, accumulate: false, max_rows }
    }
}

/// y[r, `y_offset` + n] (+)= Σ_k x[r, k] · W[n, k], the weight dequantised inside the kernel. Sums are f32 in a fixed
/// order that depends on the variant.
///
/// # Errors
/// Buffers too small for one row, an output range beyond `y_stride`, or a failure of the device.
pub fn matmul(gpu: &Gpu, args: Matmul<'_>) -> Result<Dispatch> {
    build(gpu, args, MatmulVariant::choose(gpu, args.weight, 0, args.max_rows), 0)
}

/// [`matmul`] with a variant of one's own choice, for tests and measurements.
///
/// # Errors
/// As [`matmul`], and a variant that does not [run](MatmulVariant::runs_on) here.
pub fn matmul_as(gpu: &Gpu, args: Matmul<'_>, variant: MatmulVariant) -> Result<Dispatch> {
    build(gpu, args, variant, 0)
}

/// [`matmul_as`] with a weight that begins at word `start` of its buffer.
pub(super) fn build(gpu: &Gpu, args: Matmul<'_>, variant: MatmulVariant, start: usize) -> Result<Dispatch> {
    let Weight { outputs: n, inputs: k, format, buffer } = args.weight;
    require("matmul", args.x, *k)?;
    require("matmul", args.y, args.y_stride)?;
    if args.y_offset.checked_add(*n).is_none_or(|end| end > args.y_stride) {
        return Err(GpuError::Shape {
            op: "matmul",
            reason: format!("{n} outputs from {} on do not fit in rows of {}", args.y_offset, args.y_stride),
        });
    }
    if !variant.runs_on(gpu, args.weight, start) {
        return Err(GpuError::Shape {
            op: "matmul",
            reason: format!(
                "{variant:?} needs rows of whole blocks, not {k} from word {start} on, and the one for subgroups needs \
                 such of {SUBGROUP}"
            ),
        });
    }
    let (rows_per_group, outputs_per_group, of_variant) = variant.tile(args.max_rows, *n, *k);
    let mut constants = vec![
        ("WEIGHT_START", start as f64),
        ("N", *n as f64),
        ("K", *k as f64),
        ("Y_STRIDE", args.y_stride as f64),
        ("Y_OFFSET", args.y_offset as f64),
        ("ACCUMULATE", f64::from(u8::from(args.accumulate))),
    ];
    constants.extend(of_variant);
    let kernel = gpu.kernel(shader_for(variant.shaders(gpu), *format), variant.entry(), &constants)?;
    let grid = Grid::over_rows(n.div_ceil(outputs_per_group) as u32, rows_per_group);
    let (by_words, by_fours) = variant.reads(*format);
    let mut buffers = vec![(0, args.x), (2, args.y), (3, args.count)];
    if by_words {
        buffers.push((1, buffer));
    }
    if by_fours {
        buffers.push((4, buffer));
    }
    gpu.bind(&kernel, grid, &buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, SOURCES, TestGpu, any_gpu, assert_close, on_every_kind};
    use crate::twins;

    /// What most of this project's tests run on; other adapters may lack it.
    #[test]
    fn lavapipe_has_the_variant_for_subgroups() {
        let gpu = any_gpu();
        let (weight, _) = gpu.weight(crate::SourceType::F32, 4, 64, 1);
        let lavapipe = gpu.info().name.contains("llvmpipe");
        assert!(!lavapipe || MatmulVariant::choose(&gpu, &weight, 0, 8) == MatmulVariant::TilePerSubgroup);
        assert_eq!(MatmulVariant::choose(&gpu, &weight, 2, 8) == MatmulVariant::TilePerInvocation, lavapipe);
    }

    /// Every format, every variant, ragged rows, outputs and columns.
    #[test]
    fn every_variant_agrees_with_its_twin() {
        let gpu = any_gpu();
        for source in SOURCES {
            for (rows, n, k) in
                [(1, 1, 32), (1, 170, 96), (3, 5, 96), (7, 257, 64), (8, 63, 352), (70, 130, 192), (9, 33, 91usize)]
            {
                // Only F16 and F32 rows need not be whole blocks, nor of even length.
                let k = if source.format().is_quantised() { k.next_multiple_of(BLOCK) } else { k };
                let (weight, w) = gpu.weight(source, n, k, (n * k) as u64);
                let x = Rng::new(rows as u64).normal(rows * k);
                let x_buffer = gpu.upload(&x);
                let runs = |variant: &MatmulVariant| variant.runs_on(&gpu, &weight, 0);
                for variant in MatmulVariant::ALL.into_iter().filter(runs) {
                    let y = gpu.poisoned("y", rows * n);
                    let count = gpu.count(rows);
                    let args = Matmul::new(&x_buffer, &weight, &y, (&count, rows));
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
        let (rows, n, k, stride, offset) = (9, 20, 64, 31, 7);
        let (weight, w) = gpu.weight(crate::SourceType::F32, n, k, 1);
        let (x, before) = (Rng::new(2).normal(rows * k), Rng::new(3).normal(rows * stride));
        let product = twins::matmul(&x, &w, k);
        for variant in MatmulVariant::ALL.into_iter().filter(|variant| variant.runs_on(&gpu, &weight, 0)) {
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

    /// A decoding plan for one sequence and one for eight must not differ: the frozen twin may be asked alone or beside
    /// the model that learns.
    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others() {
        on_every_kind(check_bits_alone_and_among_others);
    }

    fn check_bits_alone_and_among_others(gpu: &TestGpu) {
        let (rows, n, k) = (8, 200, 96);
        for source in SOURCES {
            let (weight, _) = gpu.weight(source, n, k, 5);
            let x = Rng::new(6).normal(rows * k);
            let product = |rows: usize| {
                let y = gpu.poisoned("y", rows * n);
                let (x_buffer, count) = (gpu.upload(&x[..rows * k]), gpu.count(rows));
                let args = Matmul::new(&x_buffer, &weight, &y, (&count, rows));
                gpu.run(&matmul(gpu, args).unwrap(), rows, &y)
            };
            let all = product(rows);
            for fewer in [1, 3, 4] {
                assert_eq!(product(fewer), all[..fewer * n], "{source:?}, {fewer} rows");
            }
        }
    }

    #[test]
    fn gpus_take_whole_blocks_through_workgroup_memory_and_others_by_invocation() {
        on_every_kind(|gpu| {
            if gpu.kind() == AdapterKind::Cpu {
                return;
            }
            let (whole, _) = gpu.weight(crate::SourceType::F32, 130, 64, 1);
            let (ragged, _) = gpu.weight(crate::SourceType::F32, 130, 65, 1);
            assert_eq!(MatmulVariant::choose(gpu, &whole, 8, 4), MatmulVariant::BlocksPerWorkgroup);
            assert_eq!(MatmulVariant::choose(gpu, &whole, 8, 65), MatmulVariant::SmallTilePerWorkgroup);
            for max_rows in [1, 8, 9, 65] {
                assert_eq!(MatmulVariant::choose(gpu, &ragged, 0, max_rows), MatmulVariant::TilePerInvocation);
                assert_eq!(MatmulVariant::choose(gpu, &whole, 2, max_rows), MatmulVariant::TilePerInvocation);
            }
        });
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
