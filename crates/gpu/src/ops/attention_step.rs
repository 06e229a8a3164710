//! Attention of a decoding step, with what comes before it: rotary embedding and the write to the key-value cache.

use super::attention::{Attention, attention};
use super::attention_combine::{Shares, attention_combine, spans_of};
use super::require;
use super::rope_cache::{RopeCache, rope_cache};
use crate::{AdapterKind, Buffer, Dispatch, Gpu, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!(
    "attention_step", include "rows", include "turn", include "attention_spans", include "attention_walk",
    include "attention_span_end"
);

/// Arguments of [`attention_step`].
#[derive(Debug, Clone, Copy)]
pub struct AttentionStep<'a> {
    /// Those of [`attention`](super::attention), with queries and keys not yet turned, and without `lse`.
    pub attention: Attention<'a>,
    /// (cos, sin) of position · frequency, [positions, head_dim / 2].
    pub table: &'a Buffer,
    /// How pairs lie in a head, as in [`RopeCache`].
    pub interleaved: bool,
}

/// [`rope_cache`](super::rope_cache), [`attention`](super::attention) and [`attention_combine`](super::attention_combine) for the
/// next token of each sequence, in as few launches as the device can; the bits are the same in any of them. `qkv` may be
/// left turned or as it was.
///
/// Every row has a sequence of its own, whose next token it is: no row reads the key that another one writes. Where two
/// rows have one sequence, what comes out is undefined.
///
/// # Errors
/// As [`attention`](super::attention) and [`rope_cache`](super::rope_cache).
pub fn attention_step(gpu: &Gpu, args: AttentionStep<'_>) -> Result<Vec<Dispatch>> {
    let AttentionStep { attention: of, table, interleaved } = args;
    let Attention { qkv, cache, rows, sequences, out, heads, kv_heads, head_dim, .. } = of;
    // Where pairs are halves of a head apart, a vec4 of one half has all its partners in one of the other.
    let by_fours = interleaved || head_dim.is_multiple_of(8);
    let mut plan = if gpu.kind() == AdapterKind::Gpu && of.decodes() && by_fours {
        of.check()?;
        require("attention_step", table, head_dim)?;
        let shares = Shares::new(heads, kv_heads, head_dim);
        let mut constants = shares.constants(&of).to_vec();
        constants.push(("INTERLEAVED", f64::from(u8::from(interleaved))));
        let kernel = gpu.kernel(&SHADER, "attention_step", &constants)?;
        let spans = spans_of(gpu, &of)?;
        let buffers = [(0, qkv), (1, cache), (2, rows), (3, sequences), (4, out), (7, &spans), (8, table)];
        vec![gpu.bind(&kernel, shares.grid(&of)?, &buffers)?]
    } else {
        let turn = RopeCache { qkv, rows, sequences, table, cache, heads, kv_heads, head_dim, interleaved };
        vec![rope_cache(gpu, turn)?, attention(gpu, of)?]
    };
    plan.extend(attention_combine(gpu, of)?);
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::super::attention_spans;
    use super::*;
    use crate::testing::{Rng, TestGpu, assert_close, on_every_kind};
    use crate::twins::{self, AttentionShape, Rope};
    use crate::{Row, Sequence};

    /// Positions of the step's rows: the first key of all, the last and the first one of a block, the first one behind a
    /// shared prefix, and of split keys the first one of a block and of a span (with heads of 64).
    const POSITIONS: [u32; 6] = [0, 127, 128, 40, 2048, 2304];
    const CACHE: usize = 6000;

    /// Each row has a sequence of its own; the second, fourth and sixth share a prefix of 40.
    fn sequences() -> Vec<Sequence> {
        let mut start = 100;
        let sequence = |(i, position): (usize, u32)| {
            let prefix_length = if i % 2 == 1 { 40 } else { 0 };
            let sequence = Sequence { prefix_start: 7, prefix_length, start, gate: 1.0 };
            start = sequence.kv_index(position) + 1;
            sequence
        };
        POSITIONS.into_iter().enumerate().map(sequence).collect()
    }

    /// A step of seeded rows; what the cache holds at their own places is not a number.
    struct Step {
        shape: AttentionShape,
        interleaved: bool,
        rows: Vec<Row>,
        qkv: Vec<f32>,
        cache: Vec<f32>,
        table: Vec<f32>,
    }

    impl Step {
        fn new(shape: AttentionShape, interleaved: bool) -> Self {
            let AttentionShape { heads, kv_heads, dim } = shape;
            let mut rng = Rng::new((heads * 1000 + dim) as u64);
            let rows: Vec<Row> =
                (0..).zip(POSITIONS).map(|(sequence, position)| Row { position, sequence, ..Row::default() }).collect();
            let width = 2 * kv_heads * dim;
            let mut cache = rng.normal(CACHE * width);
            for (row, sequence) in rows.iter().zip(sequences()) {
                cache[sequence.kv_index(row.position) as usize * width..][..width].fill(f32::NAN);
            }
            Self {
                shape,
                interleaved,
                qkv: rng.normal(rows.len() * (heads + 2 * kv_heads) * dim),
                cache,
                table: rng.normal(2305 * dim / 2).iter().flat_map(|a| [a.cos(), a.sin()]).collect(),
                rows,
            }
        }

        /// Output and cache after a step of the rows in `picked`, in one launch where the device can, or in one for each part.
        fn run(
            &self,
            gpu: &TestGpu,
            picked: std::ops::Range<usize>,
            keys: u32,
            together: bool,
        ) -> (Vec<f32>, Vec<f32>) {
            let AttentionShape { heads, kv_heads, dim: head_dim } = self.shape;
            let width = (heads + 2 * kv_heads) * head_dim;
            let (count, max_rows) = (picked.len(), picked.len());
            let (rows, sequences) = (gpu.upload(&self.rows[picked.clone()]), gpu.upload(&sequences()));
            let (qkv, cache) =
                (gpu.upload(&self.qkv[picked.start * width..picked.end * width]), gpu.upload(&self.cache));
            let (out, table) = (gpu.poisoned("out", count * heads * head_dim), &gpu.upload(&self.table));
            let spans = attention_spans(gpu, max_rows, (heads, kv_heads, head_dim)).unwrap();
            let (qkv, cache, rows, sequences) = (&qkv, &cache, &rows, &sequences);
            let of = Attention {
                qkv,
                cache,
                rows,
                sequences,
                out: &out,
                lse: None,
                spans: spans.as_ref(),
                count: &gpu.count(count),
                max_rows,
                heads,
                kv_heads,
                head_dim,
            };
            let interleaved = self.interleaved;
            let dispatches = if together {
                attention_step(gpu, AttentionStep { attention: of, table, interleaved }).unwrap()
            } else {
                let turn = RopeCache { qkv, rows, sequences, table, cache, heads, kv_heads, head_dim, interleaved };
                let parts = [rope_cache(gpu, turn), attention(gpu, of)].map(Result::unwrap);
                parts.into_iter().chain(attention_combine(gpu, of).unwrap()).collect()
            };
            let mut commands = gpu.commands("test");
            dispatches.iter().for_each(|dispatch| commands.dispatch_with_keys(dispatch, count as u32, keys));
            commands.submit();
            (gpu.floats(&out), gpu.floats(cache))
        }
    }

    fn shape(heads: usize, kv_heads: usize, dim: usize) -> AttentionShape {
        AttentionShape { heads, kv_heads, dim }
    }

    #[test]
    fn agrees_with_the_twins_of_its_parts() {
        on_every_kind(|gpu| {
            for (shape, interleaved) in [(shape(9, 3, 64), true), (shape(4, 2, 80), false)] {
                let step = Step::new(shape, interleaved);
                let twin = Rope { shape, rows: &step.rows, table: &step.table, interleaved };
                let (turned, new) = twin.cache(&step.qkv, &sequences(), CACHE);
                // Where the twin of the cache has nothing new, what was there.
                let single = |new: &f64, &old: &f32| if old.is_nan() { *new as f32 } else { old };
                let cache: Vec<f32> = new.iter().zip(&step.cache).map(|(new, old)| single(new, old)).collect();
                let turned: Vec<f32> = turned.iter().map(|&v| v as f32).collect();
                let (want, _) = twins::attention(shape, &turned, &cache, &step.rows, &sequences());
                let (got, got_cache) = step.run(gpu, 0..6, 2305, true);
                assert_close(&got, &want, 3e-6);
                assert_close(&got_cache, &twins::double(&cache), 1e-6);
            }
        });
    }

    #[test]
    fn has_the_bits_of_its_parts_alone_and_among_others_and_with_keys_split() {
        on_every_kind(|gpu| {
            // Three and four heads together, several shares of a key head, and heads that a GPU does not take in one launch.
            for shape in [shape(9, 3, 64), shape(8, 2, 128), shape(7, 1, 40), shape(5, 1, 256), shape(3, 1, 20)] {
                for interleaved in [true, false] {
                    let step = Step::new(shape, interleaved);
                    let (out, cache) = step.run(gpu, 0..6, 0, false);
                    assert!(cache.iter().chain(&out).all(|value| value.is_finite()), "every key is there");
                    assert_eq!(step.run(gpu, 0..6, 0, true), (out.clone(), cache));
                    let width = shape.heads * shape.dim;
                    for (picked, keys) in [(4..6, 2305), (5..6, 2305), (5..6, 0), (0..1, 1), (1..4, 129)] {
                        let (alone, _) = step.run(gpu, picked.clone(), keys, true);
                        assert_eq!(alone, out[picked.start * width..picked.end * width]);
                    }
                }
            }
        });
    }
}
