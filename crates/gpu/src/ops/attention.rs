//! Causal attention over the key-value cache.

use super::attention_combine::{Shares, spans_of};
use super::{BLOCK_LINES, SUBGROUP, evenly, most_dividing, require};
use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 6] = [
    shader!("attention", include "rows"),
    shader!("attention_tile", include "rows"),
    shader!("attention_subgroup", include "rows", include "subgroup"),
    shader!(
        "attention_decode", include "rows", include "attention_spans", include "attention_walk", include "attention_span_end"
    ),
    shader!("attention_blocks", include "rows", include "pair_tile", include "score_block"),
    shader!("attention_row", include "rows"),
];

/// The longest head that the kernel's registers hold.
const LONGEST_HEAD: usize = 256;

/// The largest decoding plan.
pub(super) const FEW_ROWS: usize = 64;

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
    /// Scratch of [`attention_spans`](super::attention_spans), where the keys of long rows may be split;
    /// [`attention_combine`](super::attention_combine) then follows.
    pub spans: Option<&'a Buffer>,
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

impl Attention<'_> {
    /// Whether GPUs take the kernel for decoding steps, which may split a row's keys.
    pub(super) fn decodes(&self) -> bool {
        self.max_rows <= FEW_ROWS && self.lse.is_none() && self.head_dim.is_multiple_of(4)
    }

    /// Refuses what no kernel takes.
    pub(super) fn check(&self) -> Result<()> {
        let &Self { heads, kv_heads, head_dim, .. } = self;
        let whole_groups = kv_heads > 0 && heads > 0 && heads.is_multiple_of(kv_heads);
        if !whole_groups || head_dim == 0 || head_dim > LONGEST_HEAD {
            return Err(GpuError::Shape {
                op: "attention",
                reason: format!("{heads} heads on {kv_heads} key heads of {head_dim} (at most {LONGEST_HEAD})"),
            });
        }
        require("attention", self.qkv, (heads + 2 * kv_heads) * head_dim)?;
        require("attention", self.cache, 2 * kv_heads * head_dim)?;
        require("attention", self.out, heads * head_dim)
    }
}

/// Softmax attention of each row over positions 0 to its own, scaled by 1/√head_dim, with the online softmax of Milakov
/// and Gimelshein (arXiv 1805.02867).
///
/// # Errors
/// Head counts that do not divide, heads longer than 256, buffers too small for one row, or a failure of the device.
pub fn attention(gpu: &Gpu, args: Attention<'_>) -> Result<Dispatch> {
    args.check()?;
    let Attention { heads, kv_heads, head_dim, .. } = args;
    let mut constants = vec![("HEADS", heads as f64), ("KV_HEADS", kv_heads as f64), ("HEAD_DIM", head_dim as f64)];
    let mut buffers = vec![(0, args.qkv), (1, args.cache), (2, args.rows), (3, args.sequences), (4, args.out)];
    if let Some(lse) = args.lse {
        require("attention", lse, heads)?;
        buffers.push((5, lse));
    }
    // Few rows are those of a decoding step: each has a sequence of its own, so that a tile could not share keys. All
    // decoding plans take the same kernel, so that a row has the same bits in each.
    let few = args.max_rows <= FEW_ROWS;
    let subgroups = gpu.has_subgroups_of(SUBGROUP);
    let spans;
    let (shader, entries, grid) = match gpu.kind() {
        AdapterKind::Gpu if args.decodes() => {
            let shares = Shares::new(heads, kv_heads, head_dim);
            constants = shares.constants(&args).to_vec();
            spans = spans_of(gpu, &args)?;
            buffers.push((7, &spans));
            (&SHADERS[3], ["attention_decode"; 2], shares.grid(&args)?)
        }
        AdapterKind::Gpu if head_dim % 4 == 0 => {
            let together = evenly(heads / kv_heads, 4);
            constants.push(("SHARED", together as f64));
            buffers.push((6, args.count));
            let shares = (kv_heads * (heads / kv_heads).div_ceil(together)) as u32;
            let grid = Grid::over_rows(shares, BLOCK_LINES / together as u32);
            (&SHADERS[4], ["attention_blocks", "attention_blocks_lse"], grid)
        }
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
        AdapterKind::Cpu if few && args.lse.is_none() && head_dim % 4 == 0 => {
            let together = evenly(heads / kv_heads, 4);
            constants.push(("SHARED", together as f64));
            let shares = kv_heads * (heads / kv_heads).div_ceil(together);
            (&SHADERS[5], ["attention_row"; 2], Grid::over_rows(shares as u32, 1))
        }
        AdapterKind::Cpu => {
            buffers.push((6, args.count));
            (&SHADERS[1], ["attention_tile", "attention_tile_lse"], Grid::over_rows(heads as u32, 32))
        }
    };
    let kernel = gpu.kernel(shader, entries[usize::from(args.lse.is_some())], &constants)?;
    gpu.bind(&kernel, grid, &buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, TestGpu, assert_close, on_every_kind};
    use crate::twins::{self, AttentionShape};
    use crate::{Row, Sequence};

    /// Seeded queries and cache of a batch.
    struct Batch {
        shape: AttentionShape,
        sequences: Vec<Sequence>,
        rows: Vec<Row>,
        qkv: Vec<f32>,
        cache: Vec<f32>,
    }

    impl Batch {
        /// Rows are (sequence, position).
        fn new(shape: AttentionShape, sequences: &[Sequence], rows: &[(u32, u32)]) -> Self {
            let AttentionShape { heads, kv_heads, dim } = shape;
            let row = |&(sequence, position): &_| Row { position, sequence, ..Row::default() };
            let rows: Vec<Row> = rows.iter().map(row).collect();
            let last = |row: &Row| sequences[row.sequence as usize].kv_index(row.position);
            let prefix = |s: &Sequence| s.prefix_start + s.prefix_length;
            let indices = rows.iter().map(last).chain(sequences.iter().map(prefix)).max().unwrap() + 1;
            let mut rng = Rng::new((heads * 1000 + dim) as u64);
            let qkv = rng.normal(rows.len() * (heads + 2 * kv_heads) * dim);
            let cache = rng.normal(indices as usize * 2 * kv_heads * dim);
            Self { shape, sequences: sequences.to_vec(), rows, qkv, cache }
        }

        /// The batch of these rows alone, in this order.
        fn pick(&self, rows: &[usize]) -> Self {
            let width = self.qkv.len() / self.rows.len();
            Self {
                shape: self.shape,
                sequences: self.sequences.clone(),
                rows: rows.iter().map(|&r| self.rows[r]).collect(),
                qkv: rows.iter().flat_map(|&r| &self.qkv[r * width..][..width]).copied().collect(),
                cache: self.cache.clone(),
            }
        }

        /// Output and log-sum-exp (where wanted), twice over, in a plan for `max_rows`.
        fn run(&self, gpu: &TestGpu, max_rows: usize, with_lse: bool) -> (Vec<f32>, Vec<f32>) {
            let AttentionShape { heads, kv_heads, dim } = self.shape;
            let count = self.rows.len();
            let (out, lse) = (gpu.poisoned("out", count * heads * dim), gpu.poisoned("lse", count * heads));
            let args = Attention {
                qkv: &gpu.upload(&self.qkv),
                cache: &gpu.upload(&self.cache),
                rows: &gpu.upload(&self.rows),
                sequences: &gpu.upload(&self.sequences),
                out: &out,
                lse: with_lse.then_some(&lse),
                spans: None,
                count: &gpu.count(count),
                max_rows,
                heads,
                kv_heads,
                head_dim: dim,
            };
            let dispatch = attention(gpu, args).unwrap();
            let first = gpu.run(&dispatch, count, &out);
            assert_eq!(first, gpu.run(&dispatch, count, &out), "a second run must give the same bits");
            (first, if with_lse { gpu.floats(&lse) } else { vec![] })
        }

        fn twin(&self) -> (Vec<f64>, Vec<f64>) {
            twins::attention(self.shape, &self.qkv, &self.cache, &self.rows, &self.sequences)
        }
    }

    const SHAPES: [(usize, usize, usize); 17] = [
        (1, 1, 2),
        (4, 2, 7),
        (9, 3, 64),
        (2, 1, 80),
        (12, 2, 128),
        (1, 1, 32),
        (2, 2, 256),
        (1, 1, 4),
        (6, 3, 20),
        (5, 1, 36),
        (7, 1, 64),
        (8, 1, 64),
        (3, 1, 80),
        (4, 1, 128),
        (3, 1, 252),
        (4, 1, 256),
        (8, 8, 32),
    ];

    /// Two sequences behind a shared prefix of 70 at cache index 3, one behind the same prefix of which it knows only 20,
    /// and two without a prefix.
    fn sequences() -> [Sequence; 5] {
        [
            Sequence { prefix_start: 3, prefix_length: 70, start: 80, gate: 1.0 },
            Sequence { prefix_start: 3, prefix_length: 70, start: 200, gate: 1.0 },
            Sequence { prefix_start: 3, prefix_length: 20, start: 150, gate: 1.0 },
            Sequence::new(290),
            Sequence::new(3),
        ]
    }

    #[test]
    fn agrees_with_its_twin_with_shared_prefixes_and_grouped_heads() {
        on_every_kind(|gpu| {
            let rows =
                [(0, 0), (0, 69), (1, 70), (1, 130), (3, 2), (3, 63), (0, 64), (2, 19), (2, 60), (4, 40), (0, 70)];
            for (heads, kv_heads, dim) in SHAPES {
                let batch = Batch::new(AttentionShape { heads, kv_heads, dim }, &sequences(), &rows);
                let (want, want_lse) = batch.twin();
                for (with_lse, max_rows) in [(false, rows.len()), (true, rows.len()), (true, 100)] {
                    let (got, lse) = batch.run(gpu, max_rows, with_lse);
                    assert_close(&got, &want, 3e-6);
                    if with_lse {
                        assert_close(&lse, &want_lse, 3e-6);
                    }
                }
            }
        });
    }

    #[test]
    fn long_contexts_of_several_sequences_in_one_tile_agree_with_their_twin() {
        on_every_kind(|gpu| {
            let length = 1500;
            let sequence = |i| Sequence { prefix_start: 0, prefix_length: length, start: length + i, gate: 1.0 };
            let shape = AttentionShape { heads: 1, kv_heads: 1, dim: 64 };
            let batch = Batch::new(shape, &[0, 1, 2, 3].map(sequence), &[0, 1, 2, 3].map(|i| (i, length)));
            let (want, _) = batch.twin();
            for max_rows in [batch.rows.len(), 256] {
                assert_close(&batch.run(gpu, max_rows, false).0, &want, 3e-6);
            }
        });
    }

    #[test]
    fn a_prompt_of_several_tiles_agrees_with_its_twin() {
        on_every_kind(|gpu| {
            // 3, 1 and 5 heads to a key head: tiles of 10, 32 and 10 rows on a GPU. The prompt goes on behind the prefix.
            for (heads, kv_heads, dim) in [(9, 3, 64), (2, 2, 32), (5, 1, 64)] {
                let rows: Vec<_> = (0..75).map(|p| (0, p)).chain((70..95).map(|p| (1, p))).collect();
                let batch = Batch::new(AttentionShape { heads, kv_heads, dim }, &sequences(), &rows);
                let (want, want_lse) = batch.twin();
                let (got, lse) = batch.run(gpu, rows.len(), true);
                assert_close(&got, &want, 3e-6);
                assert_close(&lse, &want_lse, 3e-6);
                assert_eq!(got, batch.run(gpu, rows.len(), false).0);
            }
        });
    }

    #[test]
    fn a_row_has_the_same_bits_in_decoding_plans_of_every_size() {
        on_every_kind(|gpu| {
            for (heads, kv_heads, dim) in [(9, 3, 64), (4, 2, 128), (3, 1, 80), (4, 2, 7)] {
                // One to 320 keys, with and without a prefix.
                let rows: Vec<_> = (0..64).map(|i| (i % 5, i * 5 + i % 5)).collect();
                let batch = Batch::new(AttentionShape { heads, kv_heads, dim }, &sequences(), &rows);
                let (all, _) = batch.run(gpu, 64, false);
                for max_rows in [1usize, 4, 8, 32] {
                    // The last rows, so that each stands elsewhere than in the whole batch.
                    let picked: Vec<usize> = (64 - max_rows..64).collect();
                    let (got, _) = batch.pick(&picked).run(gpu, max_rows, false);
                    assert_eq!(got, all[(64 - max_rows) * heads * dim..], "in a plan for {max_rows}");
                }
            }
        });
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_rows_stand_beside_it_in_a_tile() {
        on_every_kind(|gpu| {
            for (heads, kv_heads, dim) in [(9, 3, 64), (1, 1, 80), (4, 1, 32), (4, 2, 7)] {
                let rows: Vec<_> = (0..45).map(|i| (i / 2 % 5, 30 + 4 * i)).collect();
                let batch = Batch::new(AttentionShape { heads, kv_heads, dim }, &sequences(), &rows);
                let (all, all_lse) = batch.run(gpu, 100, true);
                for picked in [vec![44], vec![13, 3], vec![40, 7, 6, 5, 41, 20, 21, 22, 23, 0, 14, 44]] {
                    let (got, lse) = batch.pick(&picked).run(gpu, 100, true);
                    for (i, &r) in picked.iter().enumerate() {
                        let width = heads * dim;
                        assert_eq!(got[i * width..][..width], all[r * width..][..width], "row {r} of {heads} × {dim}");
                        assert_eq!(lse[i * heads..][..heads], all_lse[r * heads..][..heads]);
                    }
                }
            }
        });
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_part_of_its_keys_is_a_shared_prefix() {
        on_every_kind(|gpu| {
            // Rows of one sequence, whose keys lie in the cache from 0 on, and of others that see the same keys, of which some
            // are a prefix.
            for (heads, kv_heads, dim) in [(9, 3, 64), (4, 2, 128), (1, 1, 80), (4, 2, 7)] {
                let shape = AttentionShape { heads, kv_heads, dim };
                let rows: Vec<_> = (0..40).map(|i| (0, 50 + 3 * i)).collect();
                let whole = Batch::new(shape, &[Sequence::new(0)], &rows);
                for max_rows in [64, 100] {
                    let (want, want_lse) = whole.run(gpu, max_rows, max_rows > 64);
                    for prefix_length in [1, 31, 32, 40, 64, 100] {
                        let split = Sequence { prefix_start: 0, prefix_length, start: prefix_length, gate: 1.0 };
                        let sequences = vec![split; 3];
                        let mut batch = whole.pick(&(0..40).collect::<Vec<_>>());
                        batch.sequences = sequences;
                        batch.rows.iter_mut().enumerate().for_each(|(i, row)| row.sequence = i as u32 / 7 % 3);
                        let (got, lse) = batch.run(gpu, max_rows, max_rows > 64);
                        assert_eq!(got, want, "{heads} × {dim}, a prefix of {prefix_length}, for {max_rows} rows");
                        assert_eq!(lse, want_lse);
                    }
                }
            }
        });
    }

    #[test]
    fn heads_that_do_not_divide_are_refused() {
        on_every_kind(|gpu| {
            let (buffer, count) = (gpu.poisoned("buffer", 64), gpu.count(1));
            for (heads, kv_heads, head_dim) in [(3, 2, 4), (1, 0, 4), (0, 1, 4), (1, 1, 257), (1, 1, 0)] {
                let args = Attention {
                    qkv: &buffer,
                    cache: &buffer,
                    rows: &buffer,
                    sequences: &buffer,
                    out: &buffer,
                    lse: None,
                    spans: None,
                    count: &count,
                    max_rows: 1,
                    heads,
                    kv_heads,
                    head_dim,
                };
                assert!(attention(gpu, args).is_err());
            }
        });
    }
}
