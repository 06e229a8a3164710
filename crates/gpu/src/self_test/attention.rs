//! Checks of attention and of what comes before it: rotary embedding and the cache.

use super::case::{Build, Case, Output};
use super::forward::{SEQUENCES, count, rows};
use crate::ops;
use crate::seeded::Rng;
use crate::twins::{self, AttentionShape};
use crate::{AdapterKind, Gpu, Result, Row, Sequence};

/// Every check by name.
pub(super) const CHECKS: &[(&str, Build)] = &[
    ("rope_cache (interleaved)", |gpu| rope_cache(gpu, true)),
    ("rope_cache (halves)", |gpu| rope_cache(gpu, false)),
    ("attention (few rows)", |gpu| attention(gpu, SHAPE, false, 7)),
    ("attention (few rows, long heads)", |gpu| attention(gpu, LONG_HEADS, false, 7)),
    ("attention (few rows, odd heads)", |gpu| attention(gpu, ODD_HEADS, false, 7)),
    ("attention (many rows)", |gpu| attention(gpu, SHAPE, false, 100)),
    ("attention (many rows, log-sum-exp)", |gpu| attention(gpu, SHAPE, true, 100)),
    ("attention (many rows, log-sum-exp, long heads)", |gpu| attention(gpu, LONG_HEADS, true, 100)),
    ("attention (many rows, log-sum-exp, odd heads)", |gpu| attention(gpu, ODD_HEADS, true, 100)),
    ("attention_step (interleaved)", |gpu| attention_step(gpu, true)),
    ("attention_step (halves)", |gpu| attention_step(gpu, false)),
];

/// Checks of what only GPUs run: keys split among workgroups.
pub(super) const SPLIT: &[(&str, Build)] = &[("attention_combine", attention_combine)];

const SHAPE: AttentionShape = AttentionShape { heads: 4, kv_heads: 2, dim: 64 };
/// The longest heads that there are, and such as cannot be read by fours.
pub(super) const LONG_HEADS: AttentionShape = AttentionShape { heads: 6, kv_heads: 2, dim: 256 };
const ODD_HEADS: AttentionShape = AttentionShape { heads: 2, kv_heads: 1, dim: 7 };

/// Indices of the cache.
const CACHE: usize = 96;

pub(super) fn rope_table(rng: &mut Rng, positions: usize, dim: usize) -> Vec<f32> {
    rng.normal(positions * dim / 2).iter().flat_map(|a| [a.cos(), a.sin()]).collect()
}

fn rope_cache(gpu: &Gpu, interleaved: bool) -> Result<Case> {
    let AttentionShape { heads, kv_heads, dim } = SHAPE;
    let (rows, mut rng) = (rows(), Rng::new(5));
    let table = rope_table(&mut rng, 36, dim);
    let qkv = rng.normal(rows.len() * (heads + 2 * kv_heads) * dim);
    let twin = twins::Rope { shape: SHAPE, rows: &rows, table: &table, interleaved };
    let (want, want_cache) = twin.cache(&qkv, &SEQUENCES, CACHE);
    let zero = vec![0f32; want_cache.len()];
    let (turned, cache) = (Output::changed(gpu, &qkv, want, 1e-6)?, Output::changed(gpu, &zero, want_cache, 1e-6)?);
    let args = ops::RopeCache {
        qkv: &turned.buffer,
        rows: &gpu.storage_from("rows", &rows)?,
        sequences: &gpu.storage_from("sequences", &SEQUENCES)?,
        table: &gpu.storage_from("table", &table)?,
        cache: &cache.buffer,
        heads,
        kv_heads,
        head_dim: dim,
        interleaved,
    };
    Ok(Case::new([ops::rope_cache(gpu, args)?], rows.len(), [turned, cache]))
}

fn attention(gpu: &Gpu, shape: AttentionShape, with_lse: bool, max_rows: usize) -> Result<Case> {
    attention_of(gpu, shape, (&rows(), &SEQUENCES), with_lse, max_rows)
}

/// The next token of each sequence. The twin of attention reads what the twin of the cache has made of it.
fn attention_step(gpu: &Gpu, interleaved: bool) -> Result<Case> {
    let AttentionShape { heads, kv_heads, dim } = SHAPE;
    let row = |(sequence, position)| Row { position, sequence, ..Row::default() };
    let (rows, mut rng) = ([(0, 20), (1, 35), (2, 33)].map(row), Rng::new(13));
    let table = rope_table(&mut rng, 36, dim);
    let qkv = rng.normal(rows.len() * (heads + 2 * kv_heads) * dim);
    let before = rng.normal(CACHE * 2 * kv_heads * dim);
    let twin = twins::Rope { shape: SHAPE, rows: &rows, table: &table, interleaved };
    let (turned, new) = twin.cache(&qkv, &SEQUENCES, CACHE);
    let mut after = before.clone();
    for row in &rows {
        let at = SEQUENCES[row.sequence as usize].kv_index(row.position) as usize * 2 * kv_heads * dim;
        (at..at + 2 * kv_heads * dim).for_each(|i| after[i] = new[i] as f32);
    }
    let queries: Vec<f32> = turned.iter().map(|&value| value as f32).collect();
    let (want, _) = twins::attention(SHAPE, &queries, &after, &rows, &SEQUENCES);
    let (out, cache) = (Output::fresh(gpu, want, 1e-5)?, Output::changed(gpu, &before, twins::double(&after), 1e-6)?);
    // A launch for all of it leaves qkv as it was.
    let kept = if gpu.kind() == AdapterKind::Gpu { twins::double(&qkv) } else { turned };
    let qkv = Output::changed(gpu, &qkv, kept, 1e-6)?;
    let attention = ops::Attention {
        qkv: &qkv.buffer,
        cache: &cache.buffer,
        rows: &gpu.storage_from("rows", &rows)?,
        sequences: &gpu.storage_from("sequences", &SEQUENCES)?,
        out: &out.buffer,
        lse: None,
        spans: None,
        count: &count(gpu, rows.len(), 0)?,
        max_rows: rows.len(),
        heads,
        kv_heads,
        head_dim: dim,
    };
    let table = &gpu.storage_from("table", &table)?;
    let dispatches = ops::attention_step(gpu, ops::AttentionStep { attention, table, interleaved })?;
    Ok(Case::new(dispatches, rows.len(), [qkv, cache, out]))
}

/// A row whose keys are split among workgroups.
fn attention_combine(gpu: &Gpu) -> Result<Case> {
    let shape = AttentionShape { heads: 3, kv_heads: 1, dim: 32 };
    let row = Row { position: 2600, ..Row::default() };
    attention_of(gpu, shape, (&[row], &[Sequence::new(0)]), false, 1)
}

fn attention_of(
    gpu: &Gpu,
    shape: AttentionShape,
    (rows, sequences): (&[Row], &[Sequence]),
    with_lse: bool,
    max_rows: usize,
) -> Result<Case> {
    let AttentionShape { heads, kv_heads, dim } = shape;
    let keys = rows.iter().map(|row| row.position + 1).max().unwrap_or(0);
    let indices = CACHE.max(keys as usize);
    let mut rng = Rng::new(6);
    let (qkv, cache) =
        (rng.normal(rows.len() * (heads + 2 * kv_heads) * dim), rng.normal(indices * 2 * kv_heads * dim));
    let (want, want_lse) = twins::attention(shape, &qkv, &cache, rows, sequences);
    let (out, lse) = (Output::fresh(gpu, want, 1e-5)?, Output::fresh(gpu, want_lse, 1e-5)?);
    let spans = ops::attention_spans(gpu, max_rows, (heads, kv_heads, dim))?;
    let args = ops::Attention {
        qkv: &gpu.storage_from("qkv", &qkv)?,
        cache: &gpu.storage_from("cache", &cache)?,
        rows: &gpu.storage_from("rows", rows)?,
        sequences: &gpu.storage_from("sequences", sequences)?,
        out: &out.buffer,
        lse: with_lse.then_some(&lse.buffer),
        spans: spans.as_ref(),
        count: &count(gpu, rows.len(), 0)?,
        max_rows,
        heads,
        kv_heads,
        head_dim: dim,
    };
    let mut dispatches = vec![ops::attention(gpu, args)?];
    dispatches.extend(ops::attention_combine(gpu, args)?);
    Ok(Case::new(dispatches, rows.len(), if with_lse { vec![out, lse] } else { vec![out] }).with_keys(keys))
}
