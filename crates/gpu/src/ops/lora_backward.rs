//! Gradients of low-rank adapters, y += gate · B (A x) with A shared and B per slot.
//!
//! One slot is trained at a time; `count` holds (rows, slot). Rows of other slots get gate 0: their loss does not
//! depend on this slot's B.

use super::{SUBGROUP, by_fours, require};
use crate::{AdapterKind, Buffer, Depth, Dispatch, Gpu, GpuError, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 6] = [
    shader!("lora_backward_u", include "rows", include "lora_site", include "lora_columns", include "lora_inner_gradient"),
    shader!("lora_backward_x", include "lora_columns", include "lora_input_gradient"),
    shader!("lora_backward_b", include "rows", include "lora_site", include "lora_columns", include "lora_b_gradient"),
    shader!(
        "lora_backward_u_subgroup", include "rows", include "lora_site", include "lora_columns",
        include "lora_inner_gradient", include "subgroup"
    ),
    shader!("lora_backward_x_subgroup", include "lora_columns", include "lora_input_gradient", include "subgroup"),
    shader!(
        "lora_backward_b_subgroup", include "rows", include "lora_site", include "lora_columns",
        include "lora_b_gradient", include "subgroup"
    ),
];

/// Columns of B that one workgroup covers (`COLUMNS` in the shaders).
const COLUMNS: usize = 8;

/// What [`lora_backward_u`] and [`lora_backward_b`] need to know of one site.
#[derive(Debug, Clone, Copy)]
pub struct LoraSite<'a> {
    /// Gradient of the site's outputs, [rows, `dy_stride`].
    pub dy: &'a Buffer,
    /// The batch's [`Row`](crate::Row)s.
    pub rows: &'a Buffer,
    /// The batch's [`Sequence`](crate::Sequence)s.
    pub sequences: &'a Buffer,
    /// Uniform: number of rows, trained slot (at least 1).
    pub count: &'a Buffer,
    /// Outputs of the site.
    pub outputs: usize,
    /// Rank of the adapter.
    pub rank: usize,
    /// Elements from one row of `dy` to the next.
    pub dy_stride: usize,
    /// Where in a row of `dy` output 0 stands.
    pub dy_offset: usize,
    /// Elements from one row of u (or du) to the next.
    pub u_stride: usize,
    /// Where in a row of u (or du) this site's `rank` elements stand.
    pub u_offset: usize,
    /// Where in a slot of B this site's [outputs, rank] stands.
    pub b_offset: usize,
}

impl LoraSite<'_> {
    fn check(&self, op: &'static str, u: &Buffer) -> Result<()> {
        require(op, self.dy, self.dy_stride)?;
        require(op, u, self.u_stride)?;
        let fits = |offset: usize, length: usize, stride: usize| {
            length > 0 && offset.checked_add(length).is_some_and(|end| end <= stride)
        };
        if !fits(self.dy_offset, self.outputs, self.dy_stride) || !fits(self.u_offset, self.rank, self.u_stride) {
            return Err(GpuError::Shape { op, reason: format!("outputs or rank do not fit in a row: {self:?}") });
        }
        Ok(())
    }

    /// Whether `dy` can be read by fours.
    fn by_fours(&self) -> bool {
        by_fours(&[self.outputs, self.dy_stride, self.dy_offset])
    }

    fn constants(&self) -> [(&'static str, f64); 7] {
        [
            ("N", self.outputs as f64),
            ("RANK", self.rank as f64),
            ("DY_STRIDE", self.dy_stride as f64),
            ("DY_OFFSET", self.dy_offset as f64),
            ("U_STRIDE", self.u_stride as f64),
            ("U_OFFSET", self.u_offset as f64),
            ("B_OFFSET", self.b_offset as f64),
        ]
    }
}

/// du[t, u_offset + j] = gate Σ_n dy[t, dy_offset + n] · B[n, j] for one site.
///
/// `b` holds all slots, slot s ≥ 1 from element (s − 1) · `slot_stride` on; `du` is [rows, `u_stride`].
///
/// # Errors
/// Sizes that do not fit together, or a failure of the device.
pub fn lora_backward_u(gpu: &Gpu, site: LoraSite<'_>, b: &Buffer, slot_stride: usize, du: &Buffer) -> Result<Dispatch> {
    site.check("lora_backward_u", du)?;
    require("lora_backward_u", b, site.b_offset + site.outputs * site.rank)?;
    let mut constants = site.constants().to_vec();
    constants.push(("SLOT_STRIDE", slot_stride as f64));
    let (shader, entry, rows_per_group) = match gpu.kind() {
        AdapterKind::Cpu if site.by_fours() && gpu.has_subgroups_of(SUBGROUP) => (&SHADERS[3], "tile_per_subgroup", 32),
        AdapterKind::Cpu if site.by_fours() => (&SHADERS[0], "tile_per_invocation", 32),
        _ => (&SHADERS[0], "lora_backward_u", 4),
    };
    let kernel = gpu.kernel(shader, entry, &constants)?;
    let grid = Grid { x: 1, rows_per_group, z: Depth::Fixed(site.rank.div_ceil(COLUMNS) as u32) };
    let buffers = [(0, site.dy), (1, b), (2, site.rows), (3, site.sequences), (4, du), (5, site.count)];
    gpu.bind(&kernel, grid, &buffers)
}

/// Arguments of [`lora_backward_x`].
#[derive(Debug, Clone, Copy)]
pub struct LoraBackwardX<'a> {
    /// Gradients of A x of all sites with this input, [rows, `stack`].
    pub du: &'a Buffer,
    /// The A of all sites, flat.
    pub a: &'a Buffer,
    /// Where in `a` the sites' matrices, [stack, k] one below the other, begin.
    pub a_offset: usize,
    /// Added to, [rows, k].
    pub dx: &'a Buffer,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// Sites times rank.
    pub stack: usize,
    /// Length of the input.
    pub k: usize,
}

/// dx[t, k] += Σ_j du[t, j] · A[j, k].
///
/// # Errors
/// Sizes that do not fit together, or a failure of the device.
pub fn lora_backward_x(gpu: &Gpu, args: LoraBackwardX<'_>) -> Result<Dispatch> {
    require("lora_backward_x", args.du, args.stack)?;
    require("lora_backward_x", args.a, args.a_offset + args.stack * args.k)?;
    require("lora_backward_x", args.dx, args.k)?;
    let constants = [("J", args.stack as f64), ("K", args.k as f64), ("A_OFFSET", args.a_offset as f64)];
    let by_fours = by_fours(&[args.k, args.a_offset]);
    let (shader, entry, columns) = match gpu.kind() {
        AdapterKind::Cpu if by_fours && gpu.has_subgroups_of(SUBGROUP) => (&SHADERS[4], "tile_per_subgroup", 32),
        AdapterKind::Cpu if by_fours => (&SHADERS[1], "tile_per_invocation", 64),
        _ => (&SHADERS[1], "lora_backward_x", 64),
    };
    let kernel = gpu.kernel(shader, entry, &constants)?;
    let grid = Grid::over_rows(args.k.div_ceil(columns) as u32, 8);
    gpu.bind(&kernel, grid, &[(0, args.du), (1, args.a), (2, args.dx), (3, args.count)])
}

/// db[b_offset + n · rank + j] = Σ_t gate dy[t, dy_offset + n] · u[t, u_offset + j] for one site, overwriting.
///
/// `u` is the forward pass's A x, [rows, `u_stride`]; `db` is laid out as one slot of B.
///
/// # Errors
/// Sizes that do not fit together, or a failure of the device.
pub fn lora_backward_b(gpu: &Gpu, site: LoraSite<'_>, u: &Buffer, db: &Buffer) -> Result<Dispatch> {
    site.check("lora_backward_b", u)?;
    require("lora_backward_b", db, site.b_offset + site.outputs * site.rank)?;
    let (shader, entry, outputs_per_group) = match gpu.kind() {
        AdapterKind::Cpu if site.by_fours() && gpu.has_subgroups_of(SUBGROUP) => {
            (&SHADERS[5], "rows_in_order_by_subgroup", 32)
        }
        AdapterKind::Cpu if site.by_fours() => (&SHADERS[2], "rows_in_order_by_fours", 64),
        AdapterKind::Cpu => (&SHADERS[2], "rows_in_order", 32),
        AdapterKind::Gpu => (&SHADERS[2], "rows_in_stripes", 64),
    };
    let kernel = gpu.kernel(shader, entry, &site.constants())?;
    let grid = Grid {
        x: site.outputs.div_ceil(outputs_per_group) as u32,
        rows_per_group: 0,
        z: Depth::Fixed(site.rank.div_ceil(COLUMNS) as u32),
    };
    let buffers = [(0, site.dy), (1, u), (2, site.rows), (3, site.sequences), (4, db), (5, site.count)];
    gpu.bind(&kernel, grid, &buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, TestGpu, assert_close, on_every_kind};
    use crate::twins;
    use crate::{Row, Sequence};

    const SLOT: u32 = 2;

    /// A batch with three sequences of different gates and rows of other slots among its own.
    struct Batch {
        rows: Vec<Row>,
        sequences: Vec<Sequence>,
    }

    impl Batch {
        fn new(n: usize, rng: &mut Rng) -> Self {
            let (sequence, other) = (rng.below(3, n), rng.below(5, n));
            let rows = (0..n)
                .map(|t| Row {
                    sequence: sequence[t],
                    slot: if other[t] == 0 { t as u32 % 2 } else { SLOT },
                    ..Row::default()
                })
                .collect();
            let sequences = [1.0, 0.25, 0.0].map(|gate| Sequence { gate, ..Sequence::default() }).to_vec();
            Self { rows, sequences }
        }

        fn gates(&self) -> Vec<f64> {
            let gate_of = |row: &Row| f64::from(self.sequences[row.sequence as usize].gate);
            self.rows.iter().map(|row| if row.slot == SLOT { gate_of(row) } else { 0.0 }).collect()
        }

        fn count(&self, gpu: &TestGpu) -> Buffer {
            gpu.uniform("count", &[self.rows.len() as u32, SLOT, 0, 0]).unwrap()
        }
    }

    /// Columns `start..start + width` of rows of `stride`.
    fn part(values: &[f32], stride: usize, start: usize, width: usize) -> Vec<f32> {
        values.chunks(stride).flat_map(|row| &row[start..start + width]).copied().collect()
    }

    /// Rows, outputs (or inputs), rank (or stack).
    const SHAPES: [(usize, usize, usize); 8] =
        [(1, 1, 1), (3, 5, 6), (7, 257, 9), (65, 70, 8), (1, 4, 1), (13, 68, 6), (33, 36, 11), (70, 100, 8)];

    /// How far into a row or buffer a part begins: by fours where the part is whole fours, which the kernels for
    /// subgroups take.
    fn offset(length: usize, otherwise: usize) -> usize {
        if length.is_multiple_of(4) { 4 } else { otherwise }
    }

    #[test]
    fn inner_gradients_agree_with_their_twin() {
        on_every_kind(|gpu| {
            for (rows, n, rank) in SHAPES {
                let mut rng = Rng::new((rows * 1000 + n) as u64);
                let batch = Batch::new(rows, &mut rng);
                let dy_offset = offset(n, 2);
                let (dy_stride, u_stride, slot_stride) = (n + 2 * dy_offset, rank + 2, n * rank + 5);
                let (dy, b) = (rng.normal(rows * dy_stride), rng.normal(3 * slot_stride));
                let du = gpu.upload(&vec![7.0f32; rows * u_stride]);
                let mut want = vec![7.0; rows * u_stride];
                let b_site = &b[slot_stride + 4..][..n * rank];
                let du_site = twins::lora_backward_u(&batch.gates(), &part(&dy, dy_stride, dy_offset, n), b_site, rank);
                for (row, du) in want.chunks_mut(u_stride).zip(du_site.chunks(rank)) {
                    row[1..=rank].copy_from_slice(du);
                }
                let site = LoraSite {
                    dy: &gpu.upload(&dy),
                    rows: &gpu.upload(&batch.rows),
                    sequences: &gpu.upload(&batch.sequences),
                    count: &batch.count(gpu),
                    outputs: n,
                    rank,
                    dy_stride,
                    dy_offset,
                    u_stride,
                    u_offset: 1,
                    b_offset: 4,
                };
                let dispatch = lora_backward_u(gpu, site, &gpu.upload(&b), slot_stride, &du).unwrap();
                let first = gpu.run(&dispatch, rows, &du);
                assert_close(&first, &want, 2e-6);
                assert_eq!(first, gpu.run(&dispatch, rows, &du), "a second run must give the same bits");
            }
        });
    }

    #[test]
    fn gradients_of_b_agree_with_their_twin() {
        on_every_kind(|gpu| {
            for (rows, n, rank) in SHAPES {
                let mut rng = Rng::new((rows * 1000 + n) as u64);
                let batch = Batch::new(rows, &mut rng);
                let dy_offset = offset(n, 2);
                let (dy_stride, u_stride) = (n + 2 * dy_offset, rank + 2);
                let (dy, u) = (rng.normal(rows * dy_stride), rng.normal(rows * u_stride));
                // What lies around the site's part stays as it is.
                let db = gpu.upload(&vec![7.0f32; n * rank + 6]);
                let mut want = vec![7.0; n * rank + 6];
                let (dy_site, u_site) = (part(&dy, dy_stride, dy_offset, n), part(&u, u_stride, 1, rank));
                let db_site = twins::lora_backward_b(&batch.gates(), &dy_site, &u_site, rank);
                want[4..4 + n * rank].copy_from_slice(&db_site);
                let site = LoraSite {
                    dy: &gpu.upload(&dy),
                    rows: &gpu.upload(&batch.rows),
                    sequences: &gpu.upload(&batch.sequences),
                    count: &batch.count(gpu),
                    outputs: n,
                    rank,
                    dy_stride,
                    dy_offset,
                    u_stride,
                    u_offset: 1,
                    b_offset: 4,
                };
                let dispatch = lora_backward_b(gpu, site, &gpu.upload(&u), &db).unwrap();
                let first = gpu.run(&dispatch, rows, &db);
                assert_close(&first, &want, 2e-6);
                assert_eq!(first, gpu.run(&dispatch, rows, &db), "a second run must give the same bits");
            }
        });
    }

    #[test]
    fn input_gradients_agree_with_their_twin() {
        on_every_kind(|gpu| {
            for (rows, k, stack) in SHAPES {
                let mut rng = Rng::new((rows * 1000 + k) as u64);
                let a_offset = offset(k, 9);
                let (du, a) = (rng.normal(rows * stack), rng.normal(stack * k + a_offset));
                let before = rng.normal(rows * k);
                let gradient = twins::lora_backward_x(&du, &a[a_offset..], stack, k);
                let want: Vec<f64> = gradient.iter().zip(&before).map(|(g, &b)| g + f64::from(b)).collect();
                let dx = gpu.upload(&before);
                let args = LoraBackwardX {
                    du: &gpu.upload(&du),
                    a: &gpu.upload(&a),
                    a_offset,
                    dx: &dx,
                    count: &gpu.count(rows),
                    stack,
                    k,
                };
                let dispatch = lora_backward_x(gpu, args).unwrap();
                let first = gpu.run(&dispatch, rows, &dx);
                assert_close(&first, &want, 2e-6);
                gpu.write(&dx, 0, &before);
                assert_eq!(first, gpu.run(&dispatch, rows, &dx), "a second run must give the same bits");
            }
        });
    }

    #[test]
    fn sites_that_do_not_fit_their_rows_are_refused() {
        on_every_kind(|gpu| {
            let (buffer, count) = (gpu.poisoned("buffer", 64), gpu.count(1));
            let site = LoraSite {
                dy: &buffer,
                rows: &buffer,
                sequences: &buffer,
                count: &count,
                outputs: 8,
                rank: 4,
                dy_stride: 9,
                dy_offset: 2,
                u_stride: 4,
                u_offset: 0,
                b_offset: 0,
            };
            assert!(lora_backward_b(gpu, site, &buffer, &buffer).is_err());
            assert!(lora_backward_u(gpu, LoraSite { dy_offset: 1, rank: 5, ..site }, &buffer, 32, &buffer).is_err());
        });
    }
}
