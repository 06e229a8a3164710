//! Causal attention over the key-value cache.

use super::{SUBGROUP, most_dividing, require};
use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 3] = [
    shader!("attention", include "rows"),
    shader!("attention_tile", include "rows"),
    shader!("attention_subgroup", include "rows", include "subgroup"),
];

/// The longest head that the kernel's registers hold.
const LONGEST_HEAD: usize = 256;

/// Arguments of [`attention`].
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// Turned queries in front, [rows, (heads + 2 · kv_heads) · head_dim].
    pub qkv: &'a Buffer,
    /// Turned keys, then values, [indices, 2 · kv_heads · head_dim].
    pub cache: &'a Buffer,
    /// The batch's [`Row`](crate::Row)s.
    pub rows: &'a Buffer,
    /// The batch's [`Sequence`](crate::Sequence)s.
    pub sequences: &'a Buffer,
    /// Output, [rows, heads · head_dim].
    pub out: &'a Buffer,
    /// Logarithm of the sum of the exponentials of the scaled scores, [rows, heads], where it is wanted.
    pub lse: Option<&'a Buffer>,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// The most rows that this dispatch is recorded with; decides the variant.
    pub max_rows: usize,
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Length of a head, at most 256.
    pub head_dim: usize,
}

/// Softmax attention of each row over positions 0 to its own, scaled by 1/√head_dim, with the online softmax of Milakov
/// and Gimelshein (arXiv 1805.02867).
///
/// # Errors
/// Head counts that do not divide, heads longer than 256, buffers too small for one row, or a failure of the device.
pub fn attention(gpu: &Gpu, args: Attention<'_>) -> Result<Dispatch> {
    let Attention { heads, kv_heads, head_dim, .. } = args;
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) || head_dim > LONGEST_HEAD {
        return Err(GpuError::Shape {
            op: "attention",
            reason: format!("{heads} heads on {kv_heads} key heads of {head_dim} (at most {LONGEST_HEAD})"),
        });
    }
    require("attention", args.qkv, (heads + 2 * kv_heads) * head_dim)?;
    require("attention", args.cache, 2 * kv_heads * head_dim)?;
    require("attention", args.out, heads * head_dim)?;
    let mut constants = vec![("HEADS", heads as f64), ("KV_HEADS", kv_heads as f64), ("HEAD_DIM", head_dim as f64)];
    let mut buffers = vec![(0, args.qkv), (1, args.cache), (2, args.rows), (3, args.sequences), (4, args.out)];
    if let Some(lse) = args.lse {
        require("attention", lse, heads)?;
        buffers.push((5, lse));
    }
    // Few rows are those of a decoding step: each has a sequence of its own, so that a tile could not share keys.
    let few = args.max_rows <= 32;
    let subgroups = gpu.has_subgroups_of(SUBGROUP);
    let (shader, entries, grid) = match gpu.kind() {
        AdapterKind::Gpu => (&SHADERS[0], ["attention", "attention_lse"], Grid::over_rows(heads as u32, 1)),
        AdapterKind::Cpu if subgroups && few && args.lse.is_none() && head_dim % 32 == 0 && head_dim <= 128 => {
            let groups = kv_heads * (heads / kv_heads).div_ceil(4);
            (&SHADERS[2], ["row_per_subgroup"; 2], Grid::over_rows(groups as u32, 1))
        }
        AdapterKind::Cpu if subgroups && head_dim % 4 == 0 => {
            buffers.push((6, args.count));
            // Heads taken together, so that a key read once serves all of them; with fewer heads more rows.
            let together = most_dividing(heads / kv_heads, 4);
            constants.push(("SHARED", together as f64));
            let grid = Grid::over_rows((heads / together) as u32, SUBGROUP * (4 / together) as u32);
            (&SHADERS[2], ["tile_per_subgroup", "tile_per_subgroup_lse"], grid)
        }
        AdapterKind::Cpu => {
            // Eight invocations: the heads of one row, or 4 rows each of one head.
            constants.push(("ROWS", if few { 1.0 } else { 4.0 }));
            buffers.push((6, args.count));
            let grid =
                if few { Grid::over_rows(heads.div_ceil(8) as u32, 1) } else { Grid::over_rows(heads as u32, 32) };
            (&SHADERS[1], ["attention_tile", "attention_tile_lse"], grid)
        }
    };
    let kernel = gpu.kernel(shader, entries[usize::from(args.lse.is_some())], &constants)?;
    gpu.bind(&kernel, grid, &buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins::{self, AttentionShape};
    use crate::{Row, Sequence};

    #[test]
    fn agrees_with_its_twin_with_shared_prefixes_and_grouped_heads() {
        on_every_kind(|gpu| {
            for (heads, kv_heads, dim) in
                [(1, 1, 2), (4, 2, 7), (9, 3, 64), (2, 1, 80), (12, 2, 128), (1, 1, 32), (2, 2, 256)]
            {
                let mut rng = Rng::new((heads * 1000 + dim) as u64);
                let sequences = vec![
                    Sequence { prefix_start: 3, prefix_length: 70, start: 80, gate: 1.0 },
                    Sequence { prefix_start: 3, prefix_length: 70, start: 200, gate: 1.0 },
                    Sequence::new(290),
                ];
                let rows: Vec<Row> = [(0u32, 0u32), (0, 69), (1, 70), (1, 130), (2, 2), (2, 63), (0, 64)]
                    .iter()
                    .map(|&(sequence, position)| Row { position, sequence, ..Row::default() })
                    .collect();
                let qkv = rng.normal(rows.len() * (heads + 2 * kv_heads) * dim);
                let cache = rng.normal(360 * 2 * kv_heads * dim);
                let shape = AttentionShape { heads, kv_heads, dim };
                let (want, want_lse) = twins::attention(shape, &qkv, &cache, &rows, &sequences);
                let count = rows.len();
                for (with_lse, max_rows) in [(false, count), (true, count), (true, 100)] {
                    let (out, lse) = (gpu.poisoned("out", want.len()), gpu.poisoned("lse", want_lse.len()));
                    let args = Attention {
                        qkv: &gpu.upload(&qkv),
                        cache: &gpu.upload(&cache),
                        rows: &gpu.upload(&rows),
                        sequences: &gpu.upload(&sequences),
                        out: &out,
                        lse: with_lse.then_some(&lse),
                        count: &gpu.count(count),
                        max_rows,
                        heads,
                        kv_heads,
                        head_dim: dim,
                    };
                    let dispatch = attention(gpu, args).unwrap();
                    let first = gpu.run(&dispatch, count, &out);
                    assert_close(&first, &want, 3e-6);
                    if with_lse {
                        assert_close(&gpu.floats(&lse), &want_lse, 3e-6);
                    }
                    assert_eq!(first, gpu.run(&dispatch, count, &out), "a second run must give the same bits");
                }
            }
        });
    }

    #[test]
    fn long_contexts_of_several_sequences_in_one_tile_agree_with_their_twin() {
        on_every_kind(|gpu| {
            let (heads, kv_heads, dim) = (1, 1, 64);
            let length = 1500;
            let mut rng = Rng::new(7);
            let sequences: Vec<Sequence> = (0..4)
                .map(|i| Sequence { prefix_start: 0, prefix_length: length, start: length + i, gate: 1.0 })
                .collect();
            let rows: Vec<Row> = (0..4).map(|sequence| Row { position: length, sequence, ..Row::default() }).collect();
            let qkv = rng.normal(rows.len() * (heads + 2 * kv_heads) * dim);
            let cache = rng.normal((length as usize + 4) * 2 * kv_heads * dim);
            let shape = AttentionShape { heads, kv_heads, dim };
            let (want, _) = twins::attention(shape, &qkv, &cache, &rows, &sequences);
            for max_rows in [rows.len(), 256] {
                let out = gpu.poisoned("out", want.len());
                let args = Attention {
                    qkv: &gpu.upload(&qkv),
                    cache: &gpu.upload(&cache),
                    rows: &gpu.upload(&rows),
                    sequences: &gpu.upload(&sequences),
                    out: &out,
                    lse: None,
                    count: &gpu.count(rows.len()),
                    max_rows,
                    heads,
                    kv_heads,
                    head_dim: dim,
                };
                let dispatch = attention(gpu, args).unwrap();
                assert_close(&gpu.run(&dispatch, rows.len(), &out), &want, 3e-6);
            }
        });
    }
}
