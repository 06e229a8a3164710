//! How `shaders/matmul_workgroup.wgsl` divides a product among workgroups.

use super::{FORMATS, shader_per_format};
use crate::weights::BLOCK;
use crate::{Shader, shader};

pub(super) const SHADERS: [Shader; FORMATS] = shader_per_format!(packed "matmul_workgroup", include "row_sums", include "row_tile", include "column_blocks", include "workgroup_tile", include "tile_full");

pub(super) const HALF_SHADERS: [Shader; FORMATS] = shader_per_format!(packed "matmul_workgroup", include "row_sums", include "row_tile", include "column_blocks", include "workgroup_tile", include "tile_half");

/// Workgroups that a product by blocks should have before one of them takes more outputs.
const DOZENS: usize = 64;
/// Workgroups of a product by tiles below which a large GPU has too little to do.
const FILL: usize = 256;
/// The most invocations of a workgroup, and numbers in its memory (16 KiB).
const INVOCATIONS: usize = 256;
const NUMBERS: usize = 4096;

/// What suits a product of up to `max_rows` rows and `n` outputs. All kernels give the same bits, so that the choice is
/// one of speed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Division {
    /// Blocks of columns side by side.
    Blocks,
    /// Tiles of 32 rows.
    SmallTiles,
    /// Tiles of 64 rows.
    Tiles,
}

/// Blocks read every weight once for 8 rows (from cache but for the first time) and split the sums of an output among
/// invocations; tiles read it once for 32 or 64 rows, but there have to be enough of them: one has 64 outputs, and its
/// workgroup goes through all columns by itself. So up to 64 rows tiles are for heads with their large vocabularies (a
/// training chunk of 64 rows by 49152 outputs is 768 tiles, and by blocks would take the head eight times from cache),
/// and never for the few outputs of a low-rank adapter.
pub(super) const fn division(max_rows: usize, n: usize) -> Division {
    let tiles = max_rows.div_ceil(64) * n.div_ceil(64);
    let small_tiles = max_rows.div_ceil(32) * n.div_ceil(64);
    if max_rows <= 8 || n <= 64 || (max_rows <= 64 && small_tiles < FILL) {
        Division::Blocks
    } else if max_rows <= 32 || tiles < FILL {
        Division::SmallTiles
    } else {
        Division::Tiles
    }
}

/// The override constants of `blocks_per_workgroup`, named as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) output_lanes: usize,
    pub(super) block_lanes: usize,
    pub(super) outputs: usize,
    pub(super) blocks: usize,
    pub(super) partials: usize,
}

impl Blocks {
    /// For `n` outputs of rows of `k`, up to `max_rows` of them, `rows` at a time. A kernel keeps `more` numbers a block in
    /// workgroup memory besides its sums.
    pub(super) fn new(n: usize, k: usize, max_rows: usize, rows: usize, more: usize) -> Self {
        // A narrow product would be a few workgroups.
        let output_lanes = if n < 128 { 2 } else { 8 };
        let workgroups = |outputs: usize| n.div_ceil(output_lanes * outputs) * max_rows.div_ceil(rows);
        let outputs = [4, 2].into_iter().find(|&outputs| workgroups(outputs) >= DOZENS).unwrap_or(1);
        let (all, results) = (k / BLOCK, output_lanes * outputs * rows);
        // With several rounds what the rounds before gave takes the place of one block.
        let each = results + more;
        let most = if all * each <= NUMBERS { all } else { NUMBERS / each - 1 };
        let blocks = all.div_ceil(all.div_ceil(most));
        // As few turns as the invocations allow, and the same number for nearly all of them.
        let block_lanes = blocks.div_ceil(blocks.div_ceil(INVOCATIONS / output_lanes));
        let partials = results * (blocks + usize::from(blocks < all));
        Self { output_lanes, block_lanes, outputs, blocks, partials }
    }

    /// Outputs that a workgroup covers.
    pub(super) const fn outputs_per_group(&self) -> usize {
        self.output_lanes * self.outputs
    }

    /// Names and values.
    pub(super) const fn constants(&self) -> [(&'static str, f64); 5] {
        [
            ("OUTPUT_LANES", self.output_lanes as f64),
            ("BLOCK_LANES", self.block_lanes as f64),
            ("OUTPUTS", self.outputs as f64),
            ("BLOCKS", self.blocks as f64),
            ("PARTIALS", self.partials as f64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::ops::matmul::build;
    use crate::ops::{Matmul, MatmulVariant, matmul_as};
    use crate::testing::{Rng, SOURCES, TestGpu, any_gpu, assert_close, gpu_with_half_products};
    use crate::{SourceType, Weight, WeightFormat, twins};

    #[test]
    fn workgroups_are_within_the_limits_and_their_invocations_busy() {
        for k in [32, 96, 352, 576, 960, 1536, 2048, 2560, 3072, 4096, 4128, 8192, 14336, 16384, 65536] {
            for n in [1, 24, 127, 128, 576, 960, 1536, 3072, 49152, 262_144] {
                for (max_rows, rows, more) in [(1, 1, 0), (2, 2, 2), (4, 4, 0), (8, 8, 0), (64, 8, 8)] {
                    let shape = Blocks::new(n, k, max_rows, rows, more);
                    let Blocks { output_lanes, block_lanes, outputs, blocks, partials } = shape;
                    assert!((1..=256).contains(&(output_lanes * block_lanes)), "{shape:?}");
                    let rounds = (k / BLOCK).div_ceil(blocks);
                    let beside = more * (blocks + usize::from(rounds > 1));
                    assert!((partials + beside) * 4 <= 16 << 10, "{shape:?}");
                    let needed = shape.outputs_per_group() * rows * (blocks + usize::from(rounds > 1));
                    assert!(partials >= needed, "{shape:?}");
                    assert!([1, 2, 4].contains(&outputs) && block_lanes <= blocks, "{shape:?}");
                    // Of a round's turns at most one invocation in eight stands idle in the mean.
                    let turns = blocks.div_ceil(block_lanes) * block_lanes;
                    assert!(turns * 7 <= blocks * 8, "{shape:?}");
                    assert!(n.div_ceil(shape.outputs_per_group()) <= 65535, "{shape:?}");
                }
            }
        }
    }

    #[test]
    fn products_of_small_models_have_dozens_of_workgroups() {
        for (n, k, workgroups, invocations) in [
            (576, 576, 72, 144),
            (576, 1536, 72, 192),
            (960, 576, 120, 144),
            (1536, 576, 96, 144),
            (3072, 576, 96, 144),
            (2048, 2048, 64, 256),
            (4096, 4096, 128, 256),
            (49152, 576, 1536, 144),
        ] {
            let shape = Blocks::new(n, k, 1, 1, 0);
            let found = (n.div_ceil(shape.outputs_per_group()), shape.output_lanes * shape.block_lanes);
            assert_eq!(found, (workgroups, invocations), "{n} by {k}: {shape:?}");
        }
    }

    #[test]
    fn tiles_are_for_many_rows_and_for_heads() {
        let table = [
            (1, 49152, Division::Blocks),
            (8, 49152, Division::Blocks),
            (32, 1536, Division::Blocks),
            (32, 49152, Division::SmallTiles),
            (64, 1536, Division::Blocks),
            (64, 49152, Division::Tiles),
            (512, 24, Division::Blocks),
            (512, 576, Division::SmallTiles),
            (512, 3072, Division::Tiles),
        ];
        for (rows, n, expected) in table {
            assert_eq!(division(rows, n), expected, "{rows} rows, {n} outputs");
        }
    }

    fn variants() -> impl Iterator<Item = MatmulVariant> {
        MatmulVariant::ALL.into_iter().filter(|variant| variant.is_for_gpus())
    }

    fn product(gpu: &TestGpu, weight: &Weight, x: &[f32], variant: MatmulVariant) -> Vec<f32> {
        let rows = x.len() / weight.inputs;
        let y = gpu.poisoned("y", rows * weight.outputs);
        let (x, count) = (gpu.upload(x), gpu.count(rows));
        let args = Matmul::new(&x, weight, &y, (&count, rows));
        gpu.run(&matmul_as(gpu, args, variant).unwrap(), rows, &y)
    }

    /// Products of so many of the first rows, by blocks and by tiles, against the twin and each other.
    fn check_bits(gpu: &TestGpu, source: SourceType, n: usize, k: usize, rows: &[usize]) {
        let (weight, w) = gpu.weight(source, n, k, (n + k) as u64);
        let most = *rows.iter().max().unwrap();
        let x = Rng::new(k as u64).normal(most * k);
        let product = |rows: usize, variant| product(gpu, &weight, &x[..rows * k], variant);
        let all = product(most, MatmulVariant::BlocksPerWorkgroup);
        let tolerance = if gpu.has_half_products() { 1e-3 } else { 3e-6 };
        assert_close(&all, &twins::matmul(&x, &w, k), tolerance);
        for &rows in rows {
            for variant in variants() {
                assert!(product(rows, variant) == all[..rows * n], "{source:?}, {n} by {k}: {rows} rows, {variant:?}");
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_by_blocks_and_by_tiles() {
        for gpu in [any_gpu(), gpu_with_half_products()] {
            for source in SOURCES {
                check_bits(&gpu, source, 130, 96, &[1, 3, 8, 9, 70]);
            }
        }
    }

    /// Rounding is all that half precision does: what it leaves as it is has the same product to the bit.
    #[test]
    fn halves_have_the_same_product_in_half_precision() {
        let (rows, n, k) = (70, 130, 96);
        let x: Vec<f32> = Rng::new(1).normal(rows * k).into_iter().map(|v| f16::from_f32(v).to_f32()).collect();
        let full = any_gpu();
        let want = product(&full, &full.weight(SourceType::F16, n, k, 2).0, &x, MatmulVariant::BlocksPerWorkgroup);
        let half = gpu_with_half_products();
        for variant in variants() {
            let got = product(&half, &half.weight(SourceType::F16, n, k, 2).0, &x, variant);
            assert!(got == want, "{variant:?}");
        }
    }

    #[test]
    fn what_no_half_can_hold_becomes_the_largest_one() {
        let gpu = gpu_with_half_products();
        let (weight, w) = gpu.weight(SourceType::F16, 70, 32, 3);
        let x: Vec<f32> = (0..9 * 32).map(|i| if i % 2 == 0 { 1e6 } else { -f32::MAX }).collect();
        let within: Vec<f32> = x.iter().map(|v| v.clamp(-65504.0, 65504.0)).collect();
        for variant in variants() {
            assert_close(&product(&gpu, &weight, &x, variant), &twins::matmul(&within, &w, 32), 3e-6);
        }
    }

    /// As the A matrices of adapters, which share one buffer.
    #[test]
    fn a_weight_may_begin_further_on_in_its_buffer() {
        let gpu = any_gpu();
        let (rows, n, k, start) = (9, 70, 64, 12);
        let mut rng = Rng::new(1);
        let (x, w) = (rng.normal(rows * k), rng.normal(start + n * k));
        let weight = Weight { buffer: gpu.upload(&w), format: WeightFormat::F32, outputs: n, inputs: k };
        let want = twins::matmul(&x, &w[start..], k);
        for variant in variants() {
            let y = gpu.poisoned("y", rows * n);
            let (x_buffer, count) = (gpu.upload(&x), gpu.count(rows));
            let args = Matmul::new(&x_buffer, &weight, &y, (&count, rows));
            assert_close(&gpu.run(&build(&gpu, args, variant, start).unwrap(), rows, &y), &want, 3e-6);
        }
    }

    /// Rows of one block, of a number of them that no power of two divides, and of several rounds; one output and many.
    #[test]
    fn every_length_of_row_has_the_same_bits_by_blocks_and_by_tiles() {
        let gpu = any_gpu();
        for (source, n, k) in [
            (SourceType::Q8_0, 1, 32),
            (SourceType::F16, 65, 352),
            (SourceType::F32, 9, 576),
            (SourceType::Q4_1, 24, 1536),
            (SourceType::Q8_0, 300, 4128),
        ] {
            check_bits(&gpu, source, n, k, &[1, 9]);
        }
        // Two and four outputs an item, in two rounds for 8 rows.
        check_bits(&gpu, SourceType::Q4_0, 2049, 576, &[1, 4, 8]);
    }
}
