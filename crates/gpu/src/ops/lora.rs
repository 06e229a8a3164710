//! Low-rank adapters (Hu et al., LoRA, arXiv 2106.09685): y += gate · B (A x), A shared, B per slot.

use super::matmul::{self, Matmul, MatmulVariant};
use super::{SUBGROUP, by_fours, require};
use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, Weight, WeightFormat, shader};

pub(super) const SHADERS: [Shader; 3] = [
    shader!("lora_up", include "rows", include "lora_output", include "lora_columns", include "lora_output_rows"),
    shader!(
        "lora_up_subgroup", include "rows", include "lora_output", include "lora_columns", include "lora_output_rows",
        include "subgroup"
    ),
    shader!("lora_up_tile", include "rows", include "lora_output"),
];

/// Rows that an invocation takes without subgroups.
const TILE_ROWS: u32 = 8;

/// Arguments of [`lora_down`].
#[derive(Debug, Clone, Copy)]
pub struct LoraDown<'a> {
    /// Input, [rows, inputs].
    pub x: &'a Buffer,
    /// Flat f32; the stack of A matrices that share `x` stands at `a_offset`, [stack, inputs].
    pub a: &'a Buffer,
    /// First element of the stack.
    pub a_offset: usize,
    /// Rows of the stack: sites × rank.
    pub stack: usize,
    /// Length of a row of `x` and of A.
    pub inputs: usize,
    /// Output, [rows, stack].
    pub u: &'a Buffer,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// The most rows that this dispatch is recorded with; decides the variant.
    pub max_rows: usize,
}

/// u[r, j] = Σ_k A[j, k] · x[r, k].
///
/// # Errors
/// Buffers that are too small, or a failure of the device.
pub fn lora_down(gpu: &Gpu, args: LoraDown<'_>) -> Result<Dispatch> {
    require("lora_down", args.a, args.a_offset + args.stack * args.inputs)?;
    let weight = Weight { buffer: args.a.clone(), format: WeightFormat::F32, outputs: args.stack, inputs: args.inputs };
    let product = Matmul::new(args.x, &weight, args.u, (args.count, args.max_rows));
    matmul::build(gpu, product, MatmulVariant::choose(gpu, &weight, args.a_offset, args.max_rows), args.a_offset)
}

/// Arguments of [`lora_up`].
#[derive(Debug, Clone, Copy)]
pub struct LoraUp<'a> {
    /// The batch's [`Row`](crate::Row)s, for their slots; slot 0 adds nothing.
    pub rows: &'a Buffer,
    /// The batch's [`Sequence`](crate::Sequence)s, for their gates.
    pub sequences: &'a Buffer,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// What [`lora_down`] gave, [rows, `u_stride`].
    pub u: &'a Buffer,
    /// Elements from one row of `u` to the next.
    pub u_stride: usize,
    /// Where in a row of `u` this site's `rank` values begin.
    pub u_offset: usize,
    /// Flat f32, `slot_stride` elements per slot from slot 1 on.
    pub b: &'a Buffer,
    /// Where in a slot this site's B [outputs, rank] begins.
    pub b_offset: usize,
    /// Elements from one slot to the next.
    pub slot_stride: usize,
    /// Rank of the adapter.
    pub rank: usize,
    /// Rows of B.
    pub outputs: usize,
    /// Added to, [rows, `y_stride`].
    pub y: &'a Buffer,
    /// Elements from one row of `y` to the next.
    pub y_stride: usize,
    /// Where in a row of `y` output 0 goes.
    pub y_offset: usize,
}

/// y[r, `y_offset` + n] += gate · Σ_j B\[slot][n, j] · u[r, `u_offset` + j].
///
/// # Errors
/// Ranges that do not fit in their rows or slots, buffers that are too small, or a failure of the device.
pub fn lora_up(gpu: &Gpu, args: LoraUp<'_>) -> Result<Dispatch> {
    let ranges = [
        ("u", args.u_offset + args.rank, args.u_stride),
        ("b", args.b_offset + args.outputs * args.rank, args.slot_stride),
        ("y", args.y_offset + args.outputs, args.y_stride),
    ];
    for (name, end, stride) in ranges {
        if end > stride {
            return Err(GpuError::Shape {
                op: "lora_up",
                reason: format!("the range of `{name}` ends at {end}, beyond {stride}"),
            });
        }
    }
    require("lora_up", args.u, args.u_stride)?;
    require("lora_up", args.b, args.slot_stride)?;
    require("lora_up", args.y, args.y_stride)?;
    let constants = [
        ("N", args.outputs as f64),
        ("RANK", args.rank as f64),
        ("U_STRIDE", args.u_stride as f64),
        ("U_OFFSET", args.u_offset as f64),
        ("B_OFFSET", args.b_offset as f64),
        ("SLOT_STRIDE", args.slot_stride as f64),
        ("Y_STRIDE", args.y_stride as f64),
        ("Y_OFFSET", args.y_offset as f64),
    ];
    let buffers = [(0, args.rows), (1, args.sequences), (2, args.u), (3, args.b), (4, args.y), (5, args.count)];
    let by_fours = by_fours(&[args.outputs, args.y_stride, args.y_offset]);
    let by_pairs = [args.rank, args.u_stride, args.u_offset, args.b_offset, args.slot_stride];
    let by_pairs = by_pairs.iter().all(|size| size.is_multiple_of(2));
    let [rows, sequences, (_, u), (_, b), y, count] = buffers;
    let pairs = [rows, sequences, y, count, (6, u), (7, b)];
    // The shader, its entry point and what it binds; outputs and rows of a workgroup.
    let (shader, entry, bound, outputs, rows) = match gpu.kind() {
        AdapterKind::Cpu if by_fours && gpu.has_subgroups_of(SUBGROUP) => {
            (&SHADERS[1], "tile_per_subgroup", &buffers[..], 32, SUBGROUP)
        }
        AdapterKind::Cpu if by_fours => (&SHADERS[0], "tile_per_invocation", &buffers[..], 64, TILE_ROWS),
        AdapterKind::Gpu if by_pairs => (&SHADERS[2], "rows_per_invocation", &pairs[..], 64, TILE_ROWS),
        _ => (&SHADERS[0], "output_per_invocation", &buffers[..5], 64, 1),
    };
    let kernel = gpu.kernel(shader, entry, &constants)?;
    gpu.bind(&kernel, Grid::over_rows(args.outputs.div_ceil(outputs) as u32, rows), bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, TestGpu, assert_close, on_every_kind};
    use crate::twins;
    use crate::{Row, Sequence};

    #[test]
    fn every_row_gets_its_own_adapter() {
        on_every_kind(|gpu| {
            // Rows of all slots mixed, of one slot, and of none in the end; outputs that are and are not read by fours, and
            // ranks that are and are not read by pairs.
            for rank in [3, 6, 8] {
                check_own_adapters(gpu, rank, &[0u32, 2, 1, 0, 2, 1, 2, 2, 1], 70, 75);
                check_own_adapters(gpu, rank, &[0u32, 2, 1, 0, 2, 1, 2, 2, 1], 72, 80);
                check_own_adapters(gpu, rank, &[2; 19], 68, 76);
                check_own_adapters(gpu, rank, &[1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], 4, 8);
            }
        });
    }

    #[test]
    fn a_row_has_the_same_bits_among_rows_of_its_slot_and_among_others() {
        on_every_kind(|gpu| {
            for rank in [3, 6] {
                let one_slot = check_own_adapters(gpu, rank, &[2; 8], 72, 80);
                let mixed = check_own_adapters(gpu, rank, &[2, 2, 2, 2, 2, 2, 2, 1], 72, 80);
                assert_eq!(one_slot[..7 * 80], mixed[..7 * 80]);
            }
        });
    }

    /// Gives what was added to.
    fn check_own_adapters(gpu: &TestGpu, rank: usize, slots: &[u32], outputs: usize, y_stride: usize) -> Vec<f32> {
        // Two sites (gate, up) on one input; the second one's B is applied, to a part of y.
        let (inputs, a_offset, b_offset) = (37, 11, rank + 2);
        let slot_stride = b_offset + outputs * rank + 2;
        let (stack, y_offset, u_offset) = (2 * rank, 4, rank);
        let mut rng = Rng::new(9);
        let rows: Vec<Row> =
            slots.iter().enumerate().map(|(i, &slot)| Row { slot, sequence: i as u32 % 2, ..Row::default() }).collect();
        let sequences = [Sequence { gate: 0.25, ..Sequence::new(0) }, Sequence::new(0)];
        let (x, a) = (rng.normal(rows.len() * inputs), rng.normal(a_offset + stack * inputs));
        let (b, before) = (rng.normal(2 * slot_stride), rng.normal(rows.len() * y_stride));
        let (u, y) = (gpu.poisoned("u", rows.len() * stack), gpu.upload(&before));
        let down = lora_down(
            gpu,
            LoraDown {
                x: &gpu.upload(&x),
                a: &gpu.upload(&a),
                a_offset,
                stack,
                inputs,
                u: &u,
                count: &gpu.count(rows.len()),
                max_rows: rows.len(),
            },
        )
        .unwrap();
        let got_u = gpu.run(&down, rows.len(), &u);
        let want_u = twins::matmul(&x, &a[a_offset..], inputs);
        assert_close(&got_u, &want_u, 3e-6);

        let up = lora_up(
            gpu,
            LoraUp {
                rows: &gpu.upload(&rows),
                sequences: &gpu.upload(&sequences),
                count: &gpu.count(rows.len()),
                u: &u,
                u_stride: stack,
                u_offset,
                b: &gpu.upload(&b),
                b_offset,
                slot_stride,
                rank,
                outputs,
                y: &y,
                y_stride,
                y_offset,
            },
        )
        .unwrap();
        let got = gpu.run(&up, rows.len(), &y);
        let site =
            twins::LoraUp { u_stride: stack, u_offset, b_offset, slot_stride, rank, outputs, y_stride, y_offset };
        let mut want = twins::double(&before);
        site.apply(&mut want, &want_u, &b, &rows, &sequences);
        assert_close(&got, &want, 3e-6);
        got
    }
}
