//! Decoded rows whose keys are split among workgroups: when they are, the scratch between, and the sum of the spans.

use super::attention::{Attention, FEW_ROWS};
use super::{evenly, require};
use crate::{AdapterKind, Buffer, Depth, Dispatch, Gpu, Grid, KeySplit, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("attention_combine", include "rows", include "attention_spans");

/// Keys up to which a row is never split, and has the sums of one span.
const WHOLE: usize = 2048;

/// The most spans of a row.
const SPANS: usize = 8;

/// From so many on a batch's workgroups are enough to fill a GPU unsplit.
const MANY_WORKGROUPS: usize = 16;

/// How the heads of a decoded row are shared out among workgroups.
pub(super) struct Shares {
    /// Heads that a workgroup takes together.
    together: usize,
    /// Workgroups of a row.
    all: u32,
    /// 4-byte elements of the scratch for one row.
    words: usize,
}

impl Shares {
    pub(super) fn new(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        // A workgroup has room for 512 elements of queries.
        let together = evenly(heads / kv_heads, if head_dim > 128 { 2 } else { 4 });
        let all = kv_heads * (heads / kv_heads).div_ceil(together);
        Self { together, all: all as u32, words: all * SPANS * (together * head_dim + 8) }
    }

    /// The most rows of a batch whose keys are split.
    fn most_rows(&self, max_rows: usize) -> usize {
        ((MANY_WORKGROUPS - 1) / self.all as usize).min(max_rows)
    }

    /// When keys are split; `None` where they never are, for want of scratch or since a row fills a GPU.
    fn split(&self, args: &Attention<'_>) -> Result<Option<KeySplit>> {
        let rows = self.most_rows(args.max_rows);
        let Some(spans) = args.spans.filter(|_| rows > 0) else { return Ok(None) };
        require("attention", spans, rows * self.words)?;
        Ok(Some(KeySplit { spans: SPANS as u32, longer_than: WHOLE as u32, most_rows: rows as u32 }))
    }

    /// What the kernels that know of spans are compiled for.
    pub(super) fn constants(&self, args: &Attention<'_>) -> [(&'static str, f64); 6] {
        [
            ("HEADS", args.heads as f64),
            ("KV_HEADS", args.kv_heads as f64),
            ("HEAD_DIM", args.head_dim as f64),
            ("SHARED", self.together as f64),
            ("SPANS", SPANS as f64),
            ("WHOLE", WHOLE as f64),
        ]
    }

    /// The grid of the kernel that goes over the keys.
    pub(super) fn grid(&self, args: &Attention<'_>) -> Result<Grid> {
        let z = self.split(args)?.map_or(Depth::Fixed(1), Depth::Spans);
        Ok(Grid { z, ..Grid::over_rows(self.all, 1) })
    }
}

/// Scratch for the spans of rows whose keys are split, for batches of up to `max_rows` rows of decoding steps; `None` where
/// keys are never split. All layers may use the same one.
///
/// # Errors
/// A failure that the device reported.
pub fn attention_spans(
    gpu: &Gpu,
    max_rows: usize,
    (heads, kv_heads, head_dim): (usize, usize, usize),
) -> Result<Option<Buffer>> {
    if gpu.kind() == AdapterKind::Cpu || !head_dim.is_multiple_of(4) || max_rows > FEW_ROWS {
        return Ok(None);
    }
    let shares = Shares::new(heads, kv_heads, head_dim);
    let rows = shares.most_rows(max_rows);
    (rows > 0).then(|| gpu.storage("spans of keys", rows * shares.words)).transpose()
}

/// The scratch to bind: a kernel that may split keys has it bound where it never does, too.
pub(super) fn spans_of(gpu: &Gpu, args: &Attention<'_>) -> Result<Buffer> {
    args.spans.map_or_else(|| gpu.storage("no spans", 4), |spans| Ok(spans.clone()))
}

/// What follows [`attention`](super::attention) with the same arguments: the sum of the spans of rows whose keys were split.
/// Recorded with [`dispatch_with_keys`](crate::Commands::dispatch_with_keys) it is left out where they were not; `None` where
/// they never are.
///
/// # Errors
/// As [`attention`](super::attention), which is to be built first.
pub fn attention_combine(gpu: &Gpu, args: Attention<'_>) -> Result<Option<Dispatch>> {
    let Attention { heads, kv_heads, head_dim, .. } = args;
    if gpu.kind() == AdapterKind::Cpu || !args.decodes() {
        return Ok(None);
    }
    let shares = Shares::new(heads, kv_heads, head_dim);
    let (Some(split), Some(spans)) = (shares.split(&args)?, args.spans) else { return Ok(None) };
    let kernel = gpu.kernel(&SHADER, "attention_combine", &shares.constants(&args))?;
    let groups = (heads * head_dim / 4).div_ceil(64) as u32;
    let grid = Grid { z: Depth::WhereSplit(split), ..Grid::over_rows(groups, 1) };
    gpu.bind(&kernel, grid, &[(2, args.rows), (4, args.out), (7, spans)]).map(Some)
}

#[cfg(test)]
mod tests {
    use super::super::attention;
    use super::*;
    use crate::testing::{Rng, TestGpu, assert_close, on_every_kind};
    use crate::twins::{self, AttentionShape};
    use crate::{Row, Sequence};

    const SHAPE: AttentionShape = AttentionShape { heads: 9, kv_heads: 3, dim: 64 };
    const LONG_HEADS: AttentionShape = AttentionShape { heads: 5, kv_heads: 1, dim: 256 };
    const UNEVEN_BLOCKS: AttentionShape = AttentionShape { heads: 7, kv_heads: 1, dim: 80 };

    /// The first sequence has all its keys behind it, the second one shares 1500 of them.
    const SEQUENCES: [Sequence; 2] =
        [Sequence::new(0), Sequence { prefix_start: 0, prefix_length: 1500, start: 5200, gate: 1.0 }];
    const CACHE: usize = 9000;

    /// Rows of so many keys each, in the two sequences by turns.
    struct Batch {
        shape: AttentionShape,
        rows: Vec<Row>,
        qkv: Vec<f32>,
        cache: Vec<f32>,
    }

    impl Batch {
        fn new(shape: AttentionShape, keys: &[u32]) -> Self {
            let row = |(i, &keys): (usize, &u32)| Row { position: keys - 1, sequence: i as u32 % 2, ..Row::default() };
            let mut rng = Rng::new(shape.dim as u64);
            Self {
                shape,
                rows: keys.iter().enumerate().map(row).collect(),
                qkv: rng.normal(keys.len() * (shape.heads + 2 * shape.kv_heads) * shape.dim),
                cache: rng.normal(CACHE * 2 * shape.kv_heads * shape.dim),
            }
        }

        /// The output of the first `count` rows, in a plan for `max_rows`; `keys` as the step's recorder knows them.
        fn run(&self, gpu: &TestGpu, count: usize, max_rows: usize, keys: u32) -> Vec<f32> {
            let AttentionShape { heads, kv_heads, dim } = self.shape;
            let out = gpu.poisoned("out", count * heads * dim);
            let spans = attention_spans(gpu, max_rows, (heads, kv_heads, dim)).unwrap();
            if let Some(spans) = &spans {
                gpu.write(spans, 0, &vec![f32::NAN; spans.words()]);
            }
            let args = Attention {
                qkv: &gpu.upload(&self.qkv),
                cache: &gpu.upload(&self.cache),
                rows: &gpu.upload(&self.rows),
                sequences: &gpu.upload(&SEQUENCES),
                out: &out,
                lse: None,
                spans: spans.as_ref(),
                count: &gpu.count(count),
                max_rows,
                heads,
                kv_heads,
                head_dim: dim,
            };
            let mut commands = gpu.commands("test");
            let mut dispatches = vec![attention(gpu, args).unwrap()];
            dispatches.extend(attention_combine(gpu, args).unwrap());
            dispatches.iter().for_each(|dispatch| commands.dispatch_with_keys(dispatch, count as u32, keys));
            let split = gpu.kind() == AdapterKind::Gpu && keys > 2048 && dispatches.len() == 2 && count <= 5;
            assert_eq!(commands.dispatches(), if split { 2 } else { 1 });
            commands.submit();
            gpu.floats(&out)
        }
    }

    #[test]
    fn rows_around_every_border_of_spans_agree_with_their_twin() {
        on_every_kind(|gpu| {
            // Up to 2048 keys a row is whole; from 2049 on spans of this shape have 3 blocks of 128, from 3073 on 4.
            let borders = [1, 2047, 2048, 2049, 2304, 2305, 2500, 3072, 3073, 4096, 5120];
            for keys in borders.chunks(5) {
                let batch = Batch::new(SHAPE, keys);
                let got = batch.run(gpu, keys.len(), 8, *keys.iter().max().unwrap());
                let (want, _) = twins::attention(batch.shape, &batch.qkv, &batch.cache, &batch.rows, &SEQUENCES);
                assert_close(&got, &want, 3e-6);
            }
        });
    }

    #[test]
    fn a_row_has_the_same_bits_whether_its_keys_are_split_or_not() {
        on_every_kind(|gpu| {
            for shape in [SHAPE, LONG_HEADS, UNEVEN_BLOCKS] {
                let batch = Batch::new(shape, &[4096, 2049, 1, 3100, 2048, 2500, 40, 2600]);
                let width = shape.heads * shape.dim;
                // Eight rows are never split, and one that is recorded without its keys is not, either.
                let whole = batch.run(gpu, 8, 8, 4096);
                assert_eq!(batch.run(gpu, 1, 1, 0), whole[..width]);
                for (count, max_rows) in [(1, 1), (1, 8), (2, 2), (4, 4), (5, 64)] {
                    // More keys than there are, as after the end of a sequence.
                    for keys in [4096, 4100] {
                        assert_eq!(batch.run(gpu, count, max_rows, keys), whole[..count * width]);
                    }
                }
            }
        });
    }
}
