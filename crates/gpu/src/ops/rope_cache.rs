//! Rotary position embedding and the write to the key-value cache.

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("rope_cache", include "rows", include "turn");

/// Arguments of [`rope_cache`].
#[derive(Debug, Clone, Copy)]
pub struct RopeCache<'a> {
    /// Queries, keys and values, [rows, (heads + 2 · kv_heads) · head_dim]; queries are turned in place.
    pub qkv: &'a Buffer,
    /// The batch's [`Row`](crate::Row)s.
    pub rows: &'a Buffer,
    /// The batch's [`Sequence`](crate::Sequence)s.
    pub sequences: &'a Buffer,
    /// (cos, sin) of position · frequency, [positions, head_dim / 2].
    pub table: &'a Buffer,
    /// Turned keys, then values, [indices, 2 · kv_heads · head_dim]; written at the row's KV index.
    pub cache: &'a Buffer,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Length of a head, even.
    pub head_dim: usize,
    /// Pairs are (2i, 2i + 1), as in GGUF files of the llama architecture; else (i, i + head_dim / 2), as in
    /// Hugging Face's weights.
    pub interleaved: bool,
}

/// Turns queries and keys by their position (Su et al., RoFormer, arXiv 2104.09864) and stores keys and values.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn rope_cache(gpu: &Gpu, args: RopeCache<'_>) -> Result<Dispatch> {
    let all_heads = args.heads + 2 * args.kv_heads;
    require("rope_cache", args.qkv, all_heads * args.head_dim)?;
    require("rope_cache", args.table, args.head_dim)?;
    require("rope_cache", args.cache, 2 * args.kv_heads * args.head_dim)?;
    let constants = [
        ("HEADS", args.heads as f64),
        ("KV_HEADS", args.kv_heads as f64),
        ("HEAD_DIM", args.head_dim as f64),
        ("INTERLEAVED", f64::from(u8::from(args.interleaved))),
    ];
    let kernel = gpu.kernel(&SHADER, "rope_cache", &constants)?;
    let grid = Grid::over_rows((all_heads * args.head_dim / 2).div_ceil(64) as u32, 1);
    gpu.bind(&kernel, grid, &[(0, args.qkv), (1, args.rows), (2, args.sequences), (3, args.table), (4, args.cache)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins::{AttentionShape, Rope};
    use crate::{Row, Sequence};

    #[test]
    fn turns_queries_and_keys_and_fills_the_cache() {
        on_every_kind(|gpu| {
            for (heads, kv_heads, dim, interleaved) in
                [(1, 1, 2, true), (3, 1, 6, false), (4, 2, 64, true), (9, 3, 64, false)]
            {
                let mut rng = Rng::new((heads * 100 + dim) as u64);
                let (pairs, all) = (dim / 2, heads + 2 * kv_heads);
                let sequences = [
                    Sequence { prefix_start: 1, prefix_length: 2, start: 4, gate: 1.0 },
                    Sequence { prefix_start: 1, prefix_length: 2, start: 7, gate: 1.0 },
                ];
                let rows = [(0u32, 0u32), (0, 3), (1, 2), (1, 4)].map(|(sequence, position)| Row {
                    position,
                    sequence,
                    ..Row::default()
                });
                let table: Vec<f32> = rng.normal(5 * pairs).iter().flat_map(|a| [a.cos(), a.sin()]).collect();
                let qkv = rng.normal(rows.len() * all * dim);
                let (buffer, cache) = (gpu.upload(&qkv), gpu.upload(&vec![0f32; 10 * 2 * kv_heads * dim]));
                let args = RopeCache {
                    qkv: &buffer,
                    rows: &gpu.upload(&rows),
                    sequences: &gpu.upload(&sequences),
                    table: &gpu.upload(&table),
                    cache: &cache,
                    heads,
                    kv_heads,
                    head_dim: dim,
                    interleaved,
                };
                let got = gpu.run(&rope_cache(gpu, args).unwrap(), rows.len(), &buffer);

                let shape = AttentionShape { heads, kv_heads, dim };
                let twin = Rope { shape, rows: &rows, table: &table, interleaved };
                let (want, want_cache) = twin.cache(&qkv, &sequences, 10);
                assert_close(&got, &want, 1e-6);
                assert_close(&gpu.floats(&cache), &want_cache, 1e-6);
            }
        });
    }
}
