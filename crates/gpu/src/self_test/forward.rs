//! Checks of the kernels that generate tokens, but for attention.

use super::case::{Build, Case, Output};
use crate::ops::{self, MatmulVariant};
use crate::seeded::{Rng, random_weight};
use crate::twins;
use crate::{Buffer, Gpu, Result, Row, Sequence, SourceType};

/// Every check by name.
pub(super) const CHECKS: &[(&str, Build)] = &[
    ("embed (Q4)", |gpu| embed(gpu, SourceType::Q4_1)),
    ("embed (Q8)", |gpu| embed(gpu, SourceType::Q8_0)),
    ("embed (Q16)", |gpu| embed(gpu, SourceType::Q16)),
    ("embed (F16)", |gpu| embed(gpu, SourceType::F16)),
    ("embed (F32)", |gpu| embed(gpu, SourceType::F32)),
    ("rms_norm", |gpu| rms_norm(gpu, 91)),
    ("rms_norm (by fours)", |gpu| rms_norm(gpu, 92)),
    ("matmul (Q4)", |gpu| matmul(gpu, SourceType::Q4_1, columns(SourceType::Q4_1), 7)),
    ("matmul (Q8)", |gpu| matmul(gpu, SourceType::Q8_0, columns(SourceType::Q8_0), 7)),
    ("matmul (Q16)", |gpu| matmul(gpu, SourceType::Q16, columns(SourceType::Q16), 7)),
    ("matmul (F16)", |gpu| matmul(gpu, SourceType::F16, columns(SourceType::F16), 7)),
    ("matmul (F32)", |gpu| matmul(gpu, SourceType::F32, columns(SourceType::F32), 7)),
    ("matmul (F16, whole blocks)", |gpu| matmul(gpu, SourceType::F16, 96, 7)),
    ("matmul (F32, whole blocks)", |gpu| matmul(gpu, SourceType::F32, 96, 7)),
    ("swiglu", |gpu| swiglu(gpu, FFN)),
    ("swiglu (by fours)", |gpu| swiglu(gpu, FFN + 1)),
    ("lora_down", |gpu| lora_down(gpu, 91, 11)),
    ("lora_down (whole blocks)", |gpu| lora_down(gpu, 96, 12)),
    ("lora_up", |gpu| lora_up(gpu, 70, 3)),
    ("lora_up (by fours)", |gpu| lora_up(gpu, 72, 3)),
    ("lora_up (rank by pairs)", |gpu| lora_up(gpu, 72, 6)),
    ("gather_rows", gather_rows),
    ("keep_columns", keep_columns),
    ("sample", sample),
];

const TILE: MatmulVariant = MatmulVariant::TilePerWorkgroup;
const SMALL_TILE: MatmulVariant = MatmulVariant::SmallTilePerWorkgroup;
const WIDE_TILE: MatmulVariant = MatmulVariant::WideTilePerWorkgroup;

/// Checks of the products through workgroup memory that only GPUs run and that no small case chooses by itself.
pub(super) const TILED: &[(&str, Build)] = &[
    ("matmul (Q4, 2 outputs an item)", |gpu| matmul_of(gpu, SourceType::Q4_1, (1025, 96), 4, None)),
    ("matmul (Q4, 4 outputs an item, two rounds)", |gpu| matmul_of(gpu, SourceType::Q4_1, (2049, 576), 7, None)),
    ("matmul (Q4, tile)", |gpu| matmul_of(gpu, SourceType::Q4_1, (69, 96), 67, Some(TILE))),
    ("matmul (Q8, tile)", |gpu| matmul_of(gpu, SourceType::Q8_0, (69, 96), 67, Some(TILE))),
    ("matmul (Q16, tile)", |gpu| matmul_of(gpu, SourceType::Q16, (69, 96), 67, Some(TILE))),
    ("matmul (F16, tile)", |gpu| matmul_of(gpu, SourceType::F16, (69, 96), 67, Some(TILE))),
    ("matmul (F32, tile)", |gpu| matmul_of(gpu, SourceType::F32, (69, 96), 67, Some(TILE))),
    ("matmul (Q4, small tile)", |gpu| matmul_of(gpu, SourceType::Q4_1, (69, 96), 67, Some(SMALL_TILE))),
    ("matmul (Q8, small tile)", |gpu| matmul_of(gpu, SourceType::Q8_0, (69, 96), 67, Some(SMALL_TILE))),
    ("matmul (Q16, small tile)", |gpu| matmul_of(gpu, SourceType::Q16, (69, 96), 67, Some(SMALL_TILE))),
    ("matmul (F16, small tile)", |gpu| matmul_of(gpu, SourceType::F16, (69, 96), 67, Some(SMALL_TILE))),
    ("matmul (F32, small tile)", |gpu| matmul_of(gpu, SourceType::F32, (69, 96), 67, Some(SMALL_TILE))),
    ("matmul (Q4, wide tile)", |gpu| matmul_of(gpu, SourceType::Q4_1, (69, 96), 67, Some(WIDE_TILE))),
    ("matmul (Q8, wide tile)", |gpu| matmul_of(gpu, SourceType::Q8_0, (69, 96), 67, Some(WIDE_TILE))),
    ("matmul (Q16, wide tile)", |gpu| matmul_of(gpu, SourceType::Q16, (69, 96), 67, Some(WIDE_TILE))),
    ("matmul (F16, wide tile)", |gpu| matmul_of(gpu, SourceType::F16, (69, 96), 67, Some(WIDE_TILE))),
    ("matmul (F32, wide tile)", |gpu| matmul_of(gpu, SourceType::F32, (69, 96), 67, Some(WIDE_TILE))),
];

pub(super) fn count(gpu: &Gpu, rows: usize, slot: u32) -> Result<Buffer> {
    gpu.uniform("count", &[rows as u32, slot, 0, 0])
}

/// Columns of a weight matrix: whole blocks where there are such, else a ragged end of odd length.
pub(super) fn columns(source: SourceType) -> usize {
    if source.format().is_quantised() { 96 } else { 91 }
}

fn embed(gpu: &Gpu, source: SourceType) -> Result<Case> {
    let dim = columns(source);
    let (weight, w) = random_weight(gpu, source, 9, dim, 1)?;
    let tokens = [0u32, 8, 3, u32::MAX];
    let rows = tokens.map(|token| Row { token, ..Row::default() });
    let x = Output::fresh(gpu, twins::embed(&tokens, &w, dim), 1e-7)?;
    let batch = gpu.storage_from("rows", &rows)?;
    let args = ops::Embed { rows: &batch, weight: &weight, x: &x.buffer, first: 0, vocabulary: weight.outputs };
    Ok(Case::new([ops::embed(gpu, args)?], rows.len(), [x]))
}

fn rms_norm(gpu: &Gpu, dim: usize) -> Result<Case> {
    let (rows, epsilon) = (9, 1e-5);
    let mut rng = Rng::new(2);
    let (x, w) = (rng.normal(rows * dim), rng.normal(dim));
    let y = Output::fresh(gpu, twins::rms_norm(&x, &w, epsilon), 3e-6)?;
    let args = ops::RmsNorm {
        x: &gpu.storage_from("x", &x)?,
        weight: &gpu.storage_from("weight", &w)?,
        y: &y.buffer,
        count: &count(gpu, rows, 0)?,
        dim,
        epsilon,
    };
    Ok(Case::new([ops::rms_norm(gpu, args)?], rows, [y]))
}

fn matmul(gpu: &Gpu, source: SourceType, k: usize, rows: usize) -> Result<Case> {
    matmul_of(gpu, source, (69, k), rows, None)
}

/// What a product may be off by; drivers round to halves in different directions.
fn product_tolerance(gpu: &Gpu) -> f64 {
    if gpu.has_half_products() { 2e-3 } else { 3e-6 }
}

/// A weight of so many outputs and inputs, with a variant given or chosen; into a part of a wider row that is left as it
/// was; adding for 7 rows.
fn matmul_of(
    gpu: &Gpu,
    source: SourceType,
    (n, k): (usize, usize),
    rows: usize,
    variant: Option<MatmulVariant>,
) -> Result<Case> {
    let (stride, offset, accumulate) = (n + 5, 3, rows == 7);
    let (weight, w) = random_weight(gpu, source, n, k, 3)?;
    let mut rng = Rng::new(4);
    let (x, before) = (rng.normal(rows * k), rng.normal(rows * stride));
    let mut want = twins::double(&before);
    for (line, product) in want.chunks_mut(stride).zip(twins::matmul(&x, &w, k).chunks(n)) {
        for (y, product) in line[offset..offset + n].iter_mut().zip(product) {
            *y = product + if accumulate { *y } else { 0.0 };
        }
    }
    let y = Output::changed(gpu, &before, want, product_tolerance(gpu))?;
    let (x, count) = (gpu.storage_from("x", &x)?, count(gpu, rows, 0)?);
    let product = ops::Matmul::new(&x, &weight, &y.buffer, (&count, rows));
    let args = ops::Matmul { y_stride: stride, y_offset: offset, accumulate, ..product };
    let dispatch = match variant {
        Some(variant) => ops::matmul_as(gpu, args, variant)?,
        None => ops::matmul(gpu, args)?,
    };
    Ok(Case::new([dispatch], rows, [y]))
}

/// Two sequences with a shared prefix of 20 positions at cache index 3, and one of its own.
pub(super) const SEQUENCES: [Sequence; 3] = [
    Sequence { prefix_start: 3, prefix_length: 20, start: 24, gate: 1.0 },
    Sequence { prefix_start: 3, prefix_length: 20, start: 40, gate: 0.25 },
    Sequence::new(60),
];

pub(super) fn rows() -> Vec<Row> {
    let places = [(0u32, 0u32), (0, 19), (1, 20), (1, 35), (2, 2), (2, 33), (0, 20)];
    (1..).zip(places).map(|(i, (sequence, position))| Row { position, sequence, slot: i % 3, token: 0 }).collect()
}

pub(super) const FFN: usize = 91;

fn swiglu(gpu: &Gpu, ffn: usize) -> Result<Case> {
    let mut gate_up = Rng::new(7).normal(3 * 2 * ffn);
    gate_up[0] = -100.0; // exp overflows here; the result must still be zero
    let h = Output::fresh(gpu, twins::swiglu(&gate_up, ffn), 3e-6)?;
    let dispatch = ops::swiglu(gpu, &gpu.storage_from("gate_up", &gate_up)?, &h.buffer, ffn)?;
    Ok(Case::new([dispatch], 3, [h]))
}

fn lora_down(gpu: &Gpu, inputs: usize, a_offset: usize) -> Result<Case> {
    let (rows, stack) = (7, 6);
    let mut rng = Rng::new(8);
    let (x, a) = (rng.normal(rows * inputs), rng.normal(a_offset + stack * inputs));
    let u = Output::fresh(gpu, twins::matmul(&x, &a[a_offset..], inputs), product_tolerance(gpu))?;
    let args = ops::LoraDown {
        x: &gpu.storage_from("x", &x)?,
        a: &gpu.storage_from("a", &a)?,
        a_offset,
        stack,
        inputs,
        u: &u.buffer,
        count: &count(gpu, rows, 0)?,
        max_rows: rows,
    };
    Ok(Case::new([ops::lora_down(gpu, args)?], rows, [u]))
}

fn lora_up(gpu: &Gpu, outputs: usize, rank: usize) -> Result<Case> {
    // Eight rows of one slot, then rows of all slots.
    let one_slot = [Row { slot: 2, sequence: 1, ..Row::default() }; 8];
    let (rows, mut rng) = ([one_slot.to_vec(), rows()].concat(), Rng::new(9));
    let b_offset = rank + 2;
    let site = twins::LoraUp {
        u_stride: 2 * rank,
        u_offset: rank,
        b_offset,
        slot_stride: b_offset + rank * outputs + 2,
        rank,
        outputs,
        // Whole fours where the outputs are.
        y_stride: outputs + if outputs.is_multiple_of(4) { 8 } else { 5 },
        y_offset: 4,
    };
    let (u, b) = (rng.normal(rows.len() * site.u_stride), rng.normal(2 * site.slot_stride));
    let before = rng.normal(rows.len() * site.y_stride);
    let mut want = twins::double(&before);
    site.apply(&mut want, &twins::double(&u), &b, &rows, &SEQUENCES);
    let y = Output::changed(gpu, &before, want, 3e-6)?;
    let args = ops::LoraUp {
        rows: &gpu.storage_from("rows", &rows)?,
        sequences: &gpu.storage_from("sequences", &SEQUENCES)?,
        count: &count(gpu, rows.len(), 0)?,
        u: &gpu.storage_from("u", &u)?,
        u_stride: site.u_stride,
        u_offset: site.u_offset,
        b: &gpu.storage_from("b", &b)?,
        b_offset: site.b_offset,
        slot_stride: site.slot_stride,
        rank: site.rank,
        outputs: site.outputs,
        y: &y.buffer,
        y_stride: site.y_stride,
        y_offset: site.y_offset,
    };
    Ok(Case::new([ops::lora_up(gpu, args)?], rows.len(), [y]))
}

fn gather_rows(gpu: &Gpu) -> Result<Case> {
    let (dim, indices) = (91, [6u32, 0, 6, 5]);
    let x = Rng::new(10).normal(7 * dim);
    let want: Vec<f32> = indices.iter().flat_map(|&i| x[i as usize * dim..][..dim].iter().copied()).collect();
    let y = Output::exact(gpu, &vec![f32::NAN; want.len()], &want)?;
    let (x, indices_buffer) = (gpu.storage_from("x", &x)?, gpu.storage_from("indices", &indices)?);
    Ok(Case::new([ops::gather_rows(gpu, &x, &indices_buffer, &y.buffer, dim)?], indices.len(), [y]))
}

fn keep_columns(gpu: &Gpu) -> Result<Case> {
    let (rows, stride, columns) = (3, 91, 7..80);
    let before = Rng::new(12).normal(rows * stride);
    let kept = |(i, &v): (usize, &f32)| if columns.contains(&(i % stride)) { v } else { 0.0 };
    let want: Vec<f32> = before.iter().enumerate().map(kept).collect();
    let y = Output::exact(gpu, &before, &want)?;
    Ok(Case::new([ops::keep_columns(gpu, &y.buffer, stride, columns)?], rows, [y]))
}

/// One draw for each way to draw: greedy, free, and with every cut and the penalty.
fn sample(gpu: &Gpu) -> Result<Case> {
    let vocabulary = 301;
    let free = ops::Sampling { seed: [7, 9], temperature: 0.8, ..ops::Sampling::greedy(1, 2) };
    let cut = ops::Sampling { top_k: 7, top_p: 0.7, min_p: 0.05, repetition_penalty: 1.2, seed: [1, 2], ..free };
    let settings = [ops::Sampling::greedy(0, 1), free, cut];
    let sequences = settings.len();
    let logits: Vec<f32> = Rng::new(11).normal(sequences * vocabulary).iter().map(|v| 3.0 * v).collect();
    let words = vocabulary.div_ceil(32);
    // Every third token has been seen before.
    let is_seen = |token: usize| token.is_multiple_of(3);
    let seen_bits: Vec<u32> = (0..sequences * words)
        .map(|word| {
            let first = word % words * 32;
            (0..32).filter(|bit| first + bit < vocabulary && is_seen(first + bit)).fold(0, |word, bit| word | 1 << bit)
        })
        .collect();
    let seen: Vec<bool> = (0..vocabulary).map(is_seen).collect();
    let progress_before: Vec<_> = (0..3).map(|i| ops::Progress { position: 10 * i, step: 0 }).collect();
    let progress_after: Vec<_> = (0..3).map(|i| ops::Progress { position: 10 * i + 1, step: 1 }).collect();
    let (mut rows_after, mut seen_after, mut drawn) = (vec![], seen_bits.clone(), vec![]);
    for (i, wish) in settings.iter().enumerate() {
        let line = &logits[i * vocabulary..][..vocabulary];
        let (token, log_probability) = twins::sample(line, &seen, wish, progress_before[i].position);
        rows_after.push(Row { token, position: 10 * i as u32, sequence: wish.sequence, slot: wish.slot });
        seen_after[i * words + token as usize / 32] |= 1 << (token % 32);
        // The token's own bits, read as f32, are next to nothing; `rows` holds it to the bit.
        drawn.extend([f64::from(f32::from_bits(token)), log_probability]);
    }
    let rows = Output::exact(gpu, &vec![Row::default(); sequences], &rows_after)?;
    let progress = Output::exact(gpu, &progress_before, &progress_after)?;
    let seen = Output::exact(gpu, &seen_bits, &seen_after)?;
    let ring = Output::fresh(gpu, drawn, 1e-5)?;
    let args = ops::Sample {
        logits: &gpu.storage_from("logits", &logits)?,
        settings: &gpu.storage_from("settings", &settings)?,
        progress: &progress.buffer,
        seen: &seen.buffer,
        ring: &ring.buffer,
        rows: &rows.buffer,
        vocabulary,
        sequences,
        steps: 1,
    };
    Ok(Case::new([ops::sample(gpu, args)?], sequences, [rows, progress, seen, ring]))
}
