//! A projection of a few rows with what stands around it, in one launch: for decoding, where a launch costs as much as
//! what it computes.

use super::matmul_workgroup::Blocks;
use super::{FORMATS, SUBGROUP, require, shader_for, shader_per_format};
use crate::weights::BLOCK;
use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, Weight, shader};

pub(super) const SHADERS: [Shader; FORMATS] =
    shader_per_format!("projection", include "rows", include "projection", include "row_sums");

pub(super) const SUBGROUP_SHADERS: [Shader; FORMATS] = shader_per_format!("projection_subgroup", include "rows", include "projection", include "row_sums", include "subgroup", include "rows_subgroup");

pub(super) const WORKGROUP_SHADERS: [Shader; FORMATS] = shader_per_format!(packed "projection_workgroup", include "rows", include "projection", include "row_sums", include "column_blocks", include "tile_full");

/// The most rows of a batch: what the kernels' table of rows holds.
pub const PROJECTION_ROWS: usize = 64;

/// The most adapted sites among the outputs of one projection (q, k, v).
pub const PROJECTION_SITES: usize = 3;

/// Names of what a kernel is told of each site.
const SITE_CONSTANTS: [[&str; 3]; PROJECTION_SITES] =
    [["SITE_0", "SITE_0_END", "SITE_0_B"], ["SITE_1", "SITE_1_END", "SITE_1_B"], ["SITE_2", "SITE_2_END", "SITE_2_B"]];

/// Arguments of [`projection`].
#[derive(Debug, Clone, Copy)]
pub struct Projection<'a> {
    /// Input, [rows, k].
    pub x: &'a Buffer,
    /// RMSNorm of the input on its way in, where the device [can](projection_norms).
    pub norm: Option<InputNorm<'a>>,
    /// W, [n, k].
    pub weight: &'a Weight,
    /// Word of the weight's buffer at which W begins.
    pub weight_start: usize,
    /// What an adapter adds to the outputs.
    pub adapter: Option<AdapterTerm<'a>>,
    /// The batch's [`Row`](crate::Row)s, room for [`PROJECTION_ROWS`] of them; from
    /// [`Gpu::uniform_storage`](crate::Gpu::uniform_storage).
    pub rows: &'a Buffer,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// The most rows that this dispatch is recorded with.
    pub max_rows: usize,
    /// Output, [rows, `y_stride`]; must not be an input.
    pub y: &'a Buffer,
    /// Elements from one row of `y` to the next.
    pub y_stride: usize,
    /// Where in a row of `y` output 0 goes.
    pub y_offset: usize,
    /// What becomes of the sums.
    pub finish: Finish,
}

impl<'a> Projection<'a> {
    /// The product alone, into rows of `y` that hold nothing else. `batch` is (rows, count, the most rows).
    pub const fn new(
        x: &'a Buffer,
        weight: &'a Weight,
        y: &'a Buffer,
        (rows, count, max_rows): (&'a Buffer, &'a Buffer, usize),
    ) -> Self {
        Self {
            x,
            norm: None,
            weight,
            weight_start: 0,
            adapter: None,
            rows,
            count,
            max_rows,
            y,
            y_stride: weight.outputs,
            y_offset: 0,
            finish: Finish::Overwrite,
        }
    }
}

/// RMSNorm, as in [`rms_norm`](super::rms_norm()).
#[derive(Debug, Clone, Copy)]
pub struct InputNorm<'a> {
    /// Gain, \[k\].
    pub gain: &'a Buffer,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// What a low-rank adapter adds, as in [`lora_up`](super::lora_up).
#[derive(Debug, Clone, Copy)]
pub struct AdapterTerm<'a> {
    /// The batch's [`Sequence`](crate::Sequence)s, for their gates.
    pub sequences: &'a Buffer,
    /// A x of the sites, one behind the other, [rows, sites · rank].
    pub u: &'a Buffer,
    /// Flat f32, `slot_stride` elements per slot from slot 1 on.
    pub b: &'a Buffer,
    /// Elements from one slot to the next.
    pub slot_stride: usize,
    /// Rank of the adapter.
    pub rank: usize,
    /// The adapted outputs, in the order of `u`; at most [`PROJECTION_SITES`].
    pub sites: &'a [AdaptedOutputs],
}

/// The outputs of one adapted site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptedOutputs {
    /// Where in a row of `y` (before SwiGLU) they begin.
    pub first: usize,
    /// How many they are: the rows of B.
    pub outputs: usize,
    /// Where in a slot B [outputs, rank] begins.
    pub b_offset: usize,
}

/// What becomes of a projection's sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// They are stored.
    Overwrite,
    /// They are added to `y`.
    Accumulate,
    /// The first half are gates g, the second half u; silu(g) · u is stored, n / 2 elements.
    Swiglu,
}

/// Whether [`projection`] can take rows of `k` elements: whole blocks.
pub const fn projection_runs_on(k: usize) -> bool {
    k.is_multiple_of(BLOCK)
}

/// Whether this device's kernels can do the norm. Those for emulated adapters cannot: they would read the gain anew for
/// every few outputs, and a read costs them more than a launch saves.
pub fn projection_norms(gpu: &Gpu) -> bool {
    gpu.kind() == AdapterKind::Gpu
}

/// Entry point, how it divides the product, and its constants for that.
struct Form {
    shaders: &'static [Shader; FORMATS],
    entry: &'static str,
    rows: u32,
    /// Outputs of a workgroup.
    outputs: usize,
    constants: Vec<(&'static str, f64)>,
    /// Whether weights are read four words at a time, with the scales of quantised ones beside them, or by the word.
    by_fours: bool,
}

/// The one place where a projection's kernel is chosen.
fn form(gpu: &Gpu, args: &Projection<'_>) -> Form {
    let Weight { outputs: n, inputs: k, .. } = *args.weight;
    let lanes = SUBGROUP as usize;
    let rows = match args.max_rows {
        0..=1 => 1,
        2 => 2,
        3..=4 => 4,
        _ => 8,
    };
    let with_rows = |rows: u32| vec![("ROWS", f64::from(rows))];
    if gpu.kind() == AdapterKind::Gpu {
        let blocks = Blocks::new(n, k, args.max_rows, rows as usize, rows as usize);
        let squares = rows as usize * (blocks.blocks + usize::from(blocks.blocks < k / BLOCK));
        let constants = [&with_rows(rows)[..], &blocks.constants(), &[("SQUARES", squares as f64)]].concat();
        let (shaders, entry, outputs) = (&WORKGROUP_SHADERS, "blocks_per_workgroup", blocks.outputs_per_group());
        return Form { shaders, entry, rows, outputs, constants, by_fours: true };
    }
    if gpu.has_subgroups_of(SUBGROUP) {
        let shaders = &SUBGROUP_SHADERS;
        if rows == 1 {
            // A narrow product would be a single workgroup.
            let own = if n <= 128 && args.finish != Finish::Swiglu { 1 } else { 8 };
            let constants = vec![("OUTPUTS", own as f64)];
            let entry = "row_per_subgroup";
            return Form { shaders, entry, rows, outputs: own * lanes, constants, by_fours: true };
        }
        let rows = rows.max(4);
        let (entry, constants) = ("tile_per_subgroup", with_rows(rows));
        return Form { shaders, entry, rows, outputs: 4 * lanes, constants, by_fours: true };
    }
    let by_fours = rows <= 2;
    let (entry, own) = if by_fours { ("rows_per_invocation", 4) } else { ("tile_per_invocation", 8) };
    Form { shaders: &SHADERS, entry, rows, outputs: own * lanes, constants: with_rows(rows), by_fours }
}

/// s = norm(x) Wᵀ + gate · B\[slot\] u, and y = s, y + s or SwiGLU(s), row by row. Sums are f32 in the order of k (on GPUs
/// by blocks of 32); a row has the same bits alone and in any batch.
///
/// # Errors
/// Ranges that do not fit, buffers that are too small, rows that are no whole blocks, or a failure of the device.
pub fn projection(gpu: &Gpu, args: Projection<'_>) -> Result<Dispatch> {
    let Weight { outputs: n, inputs: k, format, buffer } = args.weight;
    check(gpu, &args)?;
    let swiglu = args.finish == Finish::Swiglu;
    let half = if swiglu { n / 2 } else { *n };
    let form = form(gpu, &args);
    let flag = |set: bool| f64::from(u8::from(set));
    let mut constants = vec![
        ("WEIGHT_START", args.weight_start as f64),
        ("N", *n as f64),
        ("K", *k as f64),
        ("HALF", half as f64),
        ("SWIGLU", flag(swiglu)),
        ("ACCUMULATE", flag(args.finish == Finish::Accumulate)),
        ("Y_STRIDE", args.y_stride as f64),
        ("Y_OFFSET", args.y_offset as f64),
    ];
    constants.extend(form.constants);
    // What is not used is bound to the weight.
    let (mut sequences, mut u, mut b, mut b_starts) = (buffer, buffer, buffer, args.count.clone());
    if let Some(adapter) = args.adapter {
        (sequences, u, b) = (adapter.sequences, adapter.u, adapter.b);
        constants.extend([
            ("RANK", adapter.rank as f64),
            ("U_STRIDE", (adapter.sites.len() * adapter.rank) as f64),
            ("SLOT_STRIDE", adapter.slot_stride as f64),
        ]);
        let mut starts = [0u32; 4];
        for ((site, names), start) in adapter.sites.iter().zip(SITE_CONSTANTS).zip(&mut starts) {
            let range = [site.first, site.first + site.outputs];
            constants.extend(names.into_iter().zip(range.map(|value| value as f64)));
            *start = site.b_offset as u32;
        }
        b_starts = gpu.uniform("where B begins", &starts)?;
    }
    if let Some(norm) = args.norm {
        constants.extend([("NORMED", 1.0), ("EPS", f64::from(norm.epsilon))]);
    }
    let kernel = gpu.kernel(shader_for(form.shaders, *format), form.entry, &constants)?;
    let mut buffers = vec![(0, args.x), (2, args.y), (3, args.count), (6, args.rows), (7, sequences), (8, u), (9, b)];
    buffers.push((10, &b_starts));
    buffers.extend(projection_norms(gpu).then(|| (5, args.norm.map_or(buffer, |norm| norm.gain))));
    buffers.extend((format.is_quantised() || !form.by_fours).then_some((1, buffer)));
    buffers.extend(form.by_fours.then_some((4, buffer)));
    let per_group = if swiglu { form.outputs / 2 } else { form.outputs };
    gpu.bind(&kernel, Grid::over_rows(half.div_ceil(per_group) as u32, form.rows), &buffers)
}

fn check(gpu: &Gpu, args: &Projection<'_>) -> Result<()> {
    let wrong = |reason: String| Err(GpuError::Shape { op: "projection", reason });
    let Weight { outputs: n, inputs: k, .. } = *args.weight;
    if !projection_runs_on(k) || !args.weight_start.is_multiple_of(4) || args.max_rows > PROJECTION_ROWS {
        return wrong(format!(
            "rows must be whole blocks of {BLOCK}, the weight must begin at a multiple of 4 words, and there may be \
             {PROJECTION_ROWS} rows: not {k}, {} and {}",
            args.weight_start, args.max_rows
        ));
    }
    let swiglu = args.finish == Finish::Swiglu;
    if swiglu && (!n.is_multiple_of(2) || args.y_offset != 0) {
        return wrong(format!(
            "SwiGLU needs pairs of outputs in a row of their own, not {n} from {} on",
            args.y_offset
        ));
    }
    let stored = if swiglu { n / 2 } else { n };
    if args.y_offset.checked_add(stored).is_none_or(|end| end > args.y_stride) {
        return wrong(format!("{stored} outputs from {} on do not fit in rows of {}", args.y_offset, args.y_stride));
    }
    require("projection", args.x, k)?;
    require("projection", args.y, args.y_stride)?;
    require("projection", args.rows, 4 * PROJECTION_ROWS)?;
    if let Some(norm) = args.norm {
        if !projection_norms(gpu) {
            return wrong("this device's kernels take no norm".to_owned());
        }
        require("projection", norm.gain, k)?;
    }
    let Some(adapter) = args.adapter else { return Ok(()) };
    if adapter.sites.len() > PROJECTION_SITES {
        return wrong(format!("{} adapted sites, at most {PROJECTION_SITES}", adapter.sites.len()));
    }
    for site in adapter.sites {
        if site.b_offset + site.outputs * adapter.rank > adapter.slot_stride {
            return wrong(format!("B of a site ends beyond a slot of {}", adapter.slot_stride));
        }
    }
    require("projection", adapter.u, adapter.sites.len() * adapter.rank)?;
    require("projection", adapter.b, adapter.slot_stride)
}

#[cfg(test)]
#[path = "projection_tests.rs"]
mod tests;
