//! Gradient of causal grouped-query attention over a packed batch.

use super::{BLOCK_LINES, SUBGROUP, evenly, most_dividing, require};
use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 3] = [
    shader!("attention_backward", include "rows", include "attention_gradient"),
    shader!("attention_backward_subgroup", include "rows", include "attention_gradient", include "subgroup"),
    shader!(
        "attention_backward_blocks",
        include "rows",
        include "attention_gradient",
        include "pair_tile",
        include "score_block"
    ),
];

/// Arguments of [`attention_backward`]. In a packed batch the key and value of a row lie at the row's own number, and
/// the [`Sequence`](crate::Sequence)s point at row numbers.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackward<'a> {
    /// Rotated queries (then keys and values, not read), [rows, (heads + 2 · kv_heads) · head_dim].
    pub qkv: &'a Buffer,
    /// Rotated keys, then values, [rows, 2 · kv_heads · head_dim].
    pub kv: &'a Buffer,
    /// ln Σ exp of the forward pass's scaled scores, [rows, heads].
    pub lse: &'a Buffer,
    /// The forward output, [rows, heads · head_dim].
    pub o: &'a Buffer,
    /// Its gradient, [rows, heads · head_dim].
    pub upstream: &'a Buffer,
    /// The batch's [`Row`](crate::Row)s.
    pub rows: &'a Buffer,
    /// The batch's sequences.
    pub sequences: &'a Buffer,
    /// For each row (u32), one past the last row that can see its key.
    pub query_end: &'a Buffer,
    /// Scratch, [rows, 2 · heads].
    pub stats: &'a Buffer,
    /// Output: gradients of the rotated queries and keys and of the values, laid out as `qkv`.
    pub dqkv: &'a Buffer,
    /// Uniform, the number of rows in its first word.
    pub count: &'a Buffer,
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Length of a head: a multiple of 4, at most 256.
    pub head_dim: usize,
    /// Factor on the scores, 1 / √head_dim as a rule.
    pub scale: f32,
}

/// Gradients of queries, keys and values. The three dispatches are to be recorded in this order.
///
/// # Errors
/// Sizes that do not fit together, or a failure of the device.
pub fn attention_backward(gpu: &Gpu, args: AttentionBackward<'_>) -> Result<[Dispatch; 3]> {
    const OP: &str = "attention_backward";
    let AttentionBackward { heads, kv_heads, head_dim, .. } = args;
    let whole_groups = kv_heads > 0 && heads > 0 && heads.is_multiple_of(kv_heads);
    if !whole_groups || head_dim == 0 || !head_dim.is_multiple_of(4) || head_dim > 256 {
        return Err(GpuError::Shape {
            op: OP,
            reason: format!(
                "{heads} heads of {head_dim} over {kv_heads}: heads must divide evenly, their length must be a \
                 multiple of 4 up to 256"
            ),
        });
    }
    require(OP, args.qkv, (heads + 2 * kv_heads) * head_dim)?;
    require(OP, args.dqkv, (heads + 2 * kv_heads) * head_dim)?;
    require(OP, args.kv, 2 * kv_heads * head_dim)?;
    require(OP, args.stats, 2 * heads)?;
    let constants = [
        ("KV_HEADS", kv_heads as f64),
        ("GROUP", (heads / kv_heads) as f64),
        ("HEAD_DIM", head_dim as f64),
        ("SCALE", f64::from(args.scale)),
    ];
    let prepare = gpu.kernel(&SHADERS[0], "prepare", &constants)?;
    let inputs = [(2, args.stats), (3, args.upstream), (9, args.lse), (10, args.o)];
    let prepare = gpu.bind(&prepare, Grid::over_rows(heads.div_ceil(64) as u32, 1), &inputs)?;
    // Query heads taken together: a key read once serves all of them. Then the rows and keys that a workgroup takes, and for
    // the keys how many workgroups along x to a key head.
    let sharing = heads / kv_heads;
    let (shader, [queries, keys], together, [rows_per_group, keys_per_group], parts) = match gpu.kind() {
        AdapterKind::Cpu if gpu.has_subgroups_of(SUBGROUP) => {
            (&SHADERS[1], ["queries_by_subgroup", "keys_by_subgroup"], most_dividing(sharing, 4), [8, 16], 1)
        }
        AdapterKind::Cpu => (&SHADERS[0], ["queries_by_lane", "keys_by_lane"], most_dividing(sharing, 3), [8, 16], 1),
        AdapterKind::Gpu => {
            let together = evenly(sharing, 4);
            let rows = BLOCK_LINES / together as u32;
            (&SHADERS[2], ["queries_by_block", "keys_by_block"], together, [rows, BLOCK_LINES], 2)
        }
    };
    let buffers = [
        (0, args.qkv),
        (1, args.kv),
        (2, args.stats),
        (3, args.upstream),
        (4, args.rows),
        (5, args.sequences),
        (6, args.dqkv),
        (7, args.query_end),
        (8, args.count),
    ];
    // The auto layout keeps only the bindings that an entry point uses: no query needs `query_end`.
    let of_queries: Vec<_> = buffers.into_iter().filter(|&(binding, _)| binding != 7).collect();
    let mut sharing_constants = constants.to_vec();
    sharing_constants.push(("SHARED", together as f64));
    let queries = gpu.kernel(shader, queries, &sharing_constants)?;
    let shares = (kv_heads * sharing.div_ceil(together)) as u32;
    let queries = gpu.bind(&queries, Grid::over_rows(shares, rows_per_group), &of_queries)?;
    let keys = gpu.kernel(shader, keys, &sharing_constants)?;
    let keys = gpu.bind(&keys, Grid::over_rows(parts * kv_heads as u32, keys_per_group), &buffers)?;
    Ok([prepare, queries, keys])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PackedBatch, Rng, TestGpu, assert_close, on_every_kind};
    use crate::twins::{self, AttentionShape};

    fn single(values: &[f64]) -> Vec<f32> {
        values.iter().map(|&v| v as f32).collect()
    }

    /// Gradients of a batch, twice over, and those of its twin.
    fn gradients(
        gpu: &TestGpu,
        shape: AttentionShape,
        batch: &PackedBatch,
        qkv: &[f32],
        upstream: &[f32],
    ) -> (Vec<f32>, Vec<f64>) {
        let AttentionShape { heads, kv_heads, dim } = shape;
        let rows = batch.rows.len();
        let stride = (heads + 2 * kv_heads) * dim;
        let (o, want_lse, want) = twins::attention_backward(shape, batch, qkv, upstream);
        let kv: Vec<f32> = qkv.chunks(stride).flat_map(|row| row[heads * dim..].to_vec()).collect();
        let dqkv = gpu.poisoned("dqkv", rows * stride);
        let args = AttentionBackward {
            qkv: &gpu.upload(qkv),
            kv: &gpu.upload(&kv),
            lse: &gpu.upload(&single(&want_lse)),
            o: &gpu.upload(&single(&o)),
            upstream: &gpu.upload(upstream),
            rows: &gpu.upload(&batch.rows),
            sequences: &gpu.upload(&batch.sequences),
            query_end: &gpu.upload(&batch.query_end),
            stats: &gpu.poisoned("stats", rows * heads * 2),
            dqkv: &dqkv,
            count: &gpu.count(rows),
            heads,
            kv_heads,
            head_dim: dim,
            scale: 1.0 / (dim as f32).sqrt(),
        };
        let dispatches = attention_backward(gpu, args).unwrap();
        let run = || {
            let mut commands = gpu.commands("test");
            dispatches.iter().for_each(|dispatch| commands.dispatch(dispatch, rows as u32));
            commands.submit();
            gpu.floats(&dqkv)
        };
        let first = run();
        gpu.write(&dqkv, 0, &vec![f32::NAN; rows * stride]);
        assert_eq!(first, run(), "a second run must give the same bits");
        (first, want)
    }

    #[test]
    fn agrees_with_its_twin_on_packed_batches() {
        on_every_kind(|gpu| {
            // One to five and eight query heads to a key head; prefixes and sequences shorter and longer than a tile.
            let shapes: [(usize, &[usize], usize, usize, usize); 12] = [
                (0, &[1], 1, 1, 4),
                (5, &[3, 1, 7], 3, 1, 8),
                (0, &[9, 2, 17], 4, 2, 36),
                (11, &[70, 5, 1, 3], 9, 3, 64),
                (3, &[6], 1, 1, 68),
                (20, &[2, 13], 8, 2, 12),
                (2, &[18], 5, 1, 4),
                (40, &[33, 2, 9], 8, 1, 32),
                (7, &[45], 6, 3, 80),
                (0, &[34, 5], 4, 4, 128),
                (3, &[20, 14], 3, 1, 256),
                (1, &[9, 26], 4, 1, 196),
            ];
            for (prefix, lengths, heads, kv_heads, dim) in shapes {
                let batch = PackedBatch::new(prefix, lengths);
                let rows = batch.rows.len();
                let mut rng = Rng::new((rows * 1000 + dim) as u64);
                let (qkv, upstream) = (rng.normal(rows * (heads + 2 * kv_heads) * dim), rng.normal(rows * heads * dim));
                let (got, want) = gradients(gpu, AttentionShape { heads, kv_heads, dim }, &batch, &qkv, &upstream);
                assert_close(&got, &want, 3e-6);
            }
        });
    }

    #[test]
    fn a_sequence_has_the_same_bits_alone_and_behind_others() {
        on_every_kind(|gpu| {
            let shape = AttentionShape { heads: 6, kv_heads: 2, dim: 16 };
            let (stride, out, others, length) = (10 * 16, 6 * 16, 13, 21);
            let mut rng = Rng::new(5);
            let (qkv, upstream) = (rng.normal((others + length) * stride), rng.normal((others + length) * out));
            let (among, _) = gradients(gpu, shape, &PackedBatch::new(0, &[others, length]), &qkv, &upstream);
            let alone = PackedBatch::new(0, &[length]);
            let (alone, _) = gradients(gpu, shape, &alone, &qkv[others * stride..], &upstream[others * out..]);
            assert_eq!(alone, among[others * stride..]);
        });
    }

    #[test]
    fn heads_that_do_not_divide_are_refused() {
        on_every_kind(|gpu| {
            let (buffer, count) = (gpu.poisoned("buffer", 64), gpu.count(1));
            for (heads, kv_heads, head_dim) in [(3, 2, 4), (1, 0, 4), (0, 1, 4), (1, 1, 6), (1, 1, 260), (1, 1, 0)] {
                let args = AttentionBackward {
                    qkv: &buffer,
                    kv: &buffer,
                    lse: &buffer,
                    o: &buffer,
                    upstream: &buffer,
                    rows: &buffer,
                    sequences: &buffer,
                    query_end: &buffer,
                    stats: &buffer,
                    dqkv: &buffer,
                    count: &count,
                    heads,
                    kv_heads,
                    head_dim,
                    scale: 1.0,
                };
                assert!(attention_backward(gpu, args).is_err());
            }
        });
    }
}
