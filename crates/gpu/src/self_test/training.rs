//! Checks of the kernels that train adapters.

use super::attention::{LONG_HEADS, rope_table};
use super::case::{Build, Case, Output};
use super::forward::{FFN, columns, count};
use crate::ops::{self, OptimizerStep, TransposedVariant};
use crate::seeded::{PackedBatch, Rng, random_weight};
use crate::twins::{self, AttentionShape, softmax};
use crate::{Gpu, Result, Row, Sequence, SourceType};

/// Every check by name.
pub(super) const CHECKS: &[(&str, Build)] = &[
    ("log_softmax", |gpu| log_softmax(gpu, 301)),
    ("log_softmax (by fours)", |gpu| log_softmax(gpu, 300)),
    ("cross_entropy", |gpu| cross_entropy(gpu, 301)),
    ("cross_entropy (by fours)", |gpu| cross_entropy(gpu, 300)),
    ("kl_divergence", |gpu| kl_divergence(gpu, 301)),
    ("kl_divergence (by fours)", |gpu| kl_divergence(gpu, 300)),
    ("scatter_rows", scatter_rows),
    ("matmul_transposed (Q4)", |gpu| matmul_transposed(gpu, SourceType::Q4_1, false)),
    ("matmul_transposed (Q4, by fours)", |gpu| matmul_transposed(gpu, SourceType::Q4_1, true)),
    ("matmul_transposed (Q8)", |gpu| matmul_transposed(gpu, SourceType::Q8_0, false)),
    ("matmul_transposed (Q8, by fours)", |gpu| matmul_transposed(gpu, SourceType::Q8_0, true)),
    ("matmul_transposed (Q16)", |gpu| matmul_transposed(gpu, SourceType::Q16, false)),
    ("matmul_transposed (Q16, by fours)", |gpu| matmul_transposed(gpu, SourceType::Q16, true)),
    ("matmul_transposed (F16)", |gpu| matmul_transposed(gpu, SourceType::F16, false)),
    ("matmul_transposed (F16, by fours)", |gpu| matmul_transposed(gpu, SourceType::F16, true)),
    ("matmul_transposed (F32)", |gpu| matmul_transposed(gpu, SourceType::F32, false)),
    ("matmul_transposed (F32, by fours)", |gpu| matmul_transposed(gpu, SourceType::F32, true)),
    ("rms_norm_backward", |gpu| rms_norm_backward(gpu, 91)),
    ("rms_norm_backward (by fours)", |gpu| rms_norm_backward(gpu, 92)),
    ("swiglu_backward", |gpu| swiglu_backward(gpu, FFN)),
    ("swiglu_backward (by fours)", |gpu| swiglu_backward(gpu, FFN + 1)),
    ("attention_backward", |gpu| attention_backward(gpu, SHAPE, &PackedBatch::new(5, &[3, 1, 11]))),
    ("attention_backward (long heads)", |gpu| attention_backward(gpu, LONG_HEADS, &PackedBatch::new(35, &[3, 11]))),
    ("rope_backward (interleaved)", |gpu| rope_backward(gpu, true)),
    ("rope_backward (halves)", |gpu| rope_backward(gpu, false)),
    ("lora_backward_u", |gpu| lora_backward_u(gpu, OUTPUTS)),
    ("lora_backward_u (by fours)", |gpu| lora_backward_u(gpu, OUTPUTS + 3)),
    ("lora_backward_x", |gpu| lora_backward_x(gpu, 91, 9)),
    ("lora_backward_x (by fours)", |gpu| lora_backward_x(gpu, 92, 8)),
    ("lora_backward_b", |gpu| lora_backward_b(gpu, OUTPUTS)),
    ("lora_backward_b (by fours)", |gpu| lora_backward_b(gpu, OUTPUTS + 3)),
    ("gradient_norm", gradient_norm),
    ("adamw", adamw),
    ("sgd", sgd),
    ("gram", gram),
    ("trust_region", trust_region),
];

fn log_softmax(gpu: &Gpu, vocab: usize) -> Result<Case> {
    let logits = Rng::new(20).normal(3 * vocab);
    let want = logits.chunks(vocab).flat_map(softmax).map(f64::ln).collect();
    let output = Output::changed(gpu, &logits, want, 3e-6)?;
    Ok(Case::new([ops::log_softmax(gpu, &output.buffer, vocab)?], 3, [output]))
}

fn cross_entropy(gpu: &Gpu, vocab: usize) -> Result<Case> {
    let mut rng = Rng::new(21);
    let mut logits: Vec<f32> = rng.normal(5 * vocab).iter().map(|v| 3.0 * v).collect();
    let (targets, weights) = (rng.below(vocab as u32, 5), rng.normal(5));
    logits[targets[0] as usize] = 20.0; // beyond the threshold: counts for nothing
    let threshold = 0.5;
    let (loss, probability, gradient) = twins::cross_entropy(&logits, &targets, &weights, f64::from(threshold));
    let outputs = [
        Output::changed(gpu, &logits, gradient, 1e-5)?,
        Output::fresh(gpu, loss, 1e-5)?,
        Output::fresh(gpu, probability, 1e-5)?,
    ];
    let args = ops::CrossEntropy {
        logits: &outputs[0].buffer,
        targets: &gpu.storage_from("targets", &targets)?,
        weights: &gpu.storage_from("weights", &weights)?,
        loss: &outputs[1].buffer,
        probability: &outputs[2].buffer,
        vocab,
        threshold: Some(threshold),
    };
    Ok(Case::new([ops::cross_entropy(gpu, args)?], 5, outputs))
}

fn kl_divergence(gpu: &Gpu, vocab: usize) -> Result<Case> {
    let mut rng = Rng::new(22);
    let (logits, weights) = (rng.normal(3 * vocab), rng.normal(3));
    let base: Vec<f64> = rng.normal(3 * vocab).chunks(vocab).flat_map(softmax).collect();
    let base_log: Vec<f32> = base.iter().map(|p| p.ln() as f32).collect();
    let (loss, gradient) = twins::kl_divergence(&logits, &base, &weights);
    let outputs = [Output::changed(gpu, &logits, gradient, 1e-5)?, Output::fresh(gpu, loss, 1e-5)?];
    let args = ops::KlDivergence {
        logits: &outputs[0].buffer,
        base: &gpu.storage_from("base", &base_log)?,
        weights: &gpu.storage_from("weights", &weights)?,
        loss: &outputs[1].buffer,
        vocab,
    };
    Ok(Case::new([ops::kl_divergence(gpu, args)?], 3, outputs))
}

fn scatter_rows(gpu: &Gpu) -> Result<Case> {
    let (dim, indices) = (91, [5u32, 0, 2]);
    let mut rng = Rng::new(23);
    let (dy, before) = (rng.normal(3 * dim), rng.normal(7 * dim));
    let mut want = before.clone();
    for (row, &index) in dy.chunks(dim).zip(&indices) {
        want[index as usize * dim..][..dim].iter_mut().zip(row).for_each(|(x, v)| *x += v);
    }
    let dx = Output::exact(gpu, &before, &want)?;
    let args = ops::ScatterRows {
        dy: &gpu.storage_from("dy", &dy)?,
        indices: &gpu.storage_from("indices", &indices)?,
        dx: &dx.buffer,
        dim,
    };
    Ok(Case::new([ops::scatter_rows(gpu, args)?], indices.len(), [dx]))
}

/// Checks of the transposed product that only GPUs run and that no small case chooses by itself.
pub(super) const TILED: &[(&str, Build)] = &[
    ("matmul_transposed (Q4, small tile)", |gpu| transposed_of(gpu, SourceType::Q4_1, true, SMALL_TILE)),
    ("matmul_transposed (Q8, small tile)", |gpu| transposed_of(gpu, SourceType::Q8_0, true, SMALL_TILE)),
    ("matmul_transposed (Q16, small tile)", |gpu| transposed_of(gpu, SourceType::Q16, true, SMALL_TILE)),
    ("matmul_transposed (F16, small tile)", |gpu| transposed_of(gpu, SourceType::F16, true, SMALL_TILE)),
    ("matmul_transposed (F32, small tile)", |gpu| transposed_of(gpu, SourceType::F32, true, SMALL_TILE)),
];
const SMALL_TILE: Option<TransposedVariant> = Some(TransposedVariant::SmallTilePerWorkgroup);

fn matmul_transposed(gpu: &Gpu, source: SourceType, fours: bool) -> Result<Case> {
    transposed_of(gpu, source, fours, None)
}

/// With a variant given or chosen.
fn transposed_of(gpu: &Gpu, source: SourceType, fours: bool, variant: Option<TransposedVariant>) -> Result<Case> {
    // Numbers of outputs that are whole fours may have a kernel of their own.
    let (n, stride, offset) = if fours { (36, 44, 4) } else { (37, 42, 2) };
    let (rows, k) = (9, if fours { 96 } else { columns(source) });
    let (weight, w) = random_weight(gpu, source, n, k, 24)?;
    let mut rng = Rng::new(25);
    let (dy, before) = (rng.normal(rows * stride), rng.normal(rows * k));
    let product = twins::matmul_transposed(&dy, &w, n, k, stride, offset);
    let want = product.iter().zip(&before).map(|(p, &b)| p + f64::from(b)).collect();
    let dx = Output::changed(gpu, &before, want, 3e-6)?;
    let args = ops::MatmulTransposed {
        dy: &gpu.storage_from("dy", &dy)?,
        weight: &weight,
        dx: &dx.buffer,
        count: &count(gpu, rows, 0)?,
        dy_stride: stride,
        dy_offset: offset,
        accumulate: true,
    };
    let dispatch = match variant {
        Some(variant) => ops::matmul_transposed_as(gpu, args, variant)?,
        None => ops::matmul_transposed(gpu, args)?,
    };
    Ok(Case::new([dispatch], rows, [dx]))
}

fn rms_norm_backward(gpu: &Gpu, dim: usize) -> Result<Case> {
    let (rows, epsilon) = (9, 1e-5);
    let mut rng = Rng::new(26);
    let (x, w, dy, before) = (rng.normal(rows * dim), rng.normal(dim), rng.normal(rows * dim), rng.normal(rows * dim));
    let gradient = twins::rms_norm_backward(&x, &w, &dy, epsilon);
    let want = gradient.iter().zip(&before).map(|(g, &b)| g + f64::from(b)).collect();
    let dx = Output::changed(gpu, &before, want, 1e-5)?;
    let args = ops::RmsNormBackward {
        x: &gpu.storage_from("x", &x)?,
        weight: &gpu.storage_from("weight", &w)?,
        dy: &gpu.storage_from("dy", &dy)?,
        dx: &dx.buffer,
        count: &count(gpu, rows, 0)?,
        dim,
        epsilon,
        accumulate: true,
    };
    Ok(Case::new([ops::rms_norm_backward(gpu, args)?], rows, [dx]))
}

fn swiglu_backward(gpu: &Gpu, ffn: usize) -> Result<Case> {
    let mut rng = Rng::new(27);
    let (gate_up, dh) = (rng.normal(3 * 2 * ffn), rng.normal(3 * ffn));
    let out = Output::fresh(gpu, twins::swiglu_backward(&gate_up, &dh, ffn), 1e-5)?;
    let args = ops::SwigluBackward {
        gate_up: &gpu.storage_from("gate_up", &gate_up)?,
        dh: &gpu.storage_from("dh", &dh)?,
        d_gate_up: &out.buffer,
        ffn,
    };
    Ok(Case::new([ops::swiglu_backward(gpu, args)?], 3, [out]))
}

const SHAPE: AttentionShape = AttentionShape { heads: 4, kv_heads: 2, dim: 36 };

fn attention_backward(gpu: &Gpu, shape: AttentionShape, batch: &PackedBatch) -> Result<Case> {
    let AttentionShape { heads, kv_heads, dim } = shape;
    let (rows, stride) = (batch.rows.len(), (heads + 2 * kv_heads) * dim);
    let mut rng = Rng::new(28);
    let (qkv, upstream) = (rng.normal(rows * stride), rng.normal(rows * heads * dim));
    let (o, lse, want) = twins::attention_backward(shape, batch, &qkv, &upstream);
    let single = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<_>>();
    let kv: Vec<f32> = qkv.chunks(stride).flat_map(|row| &row[heads * dim..]).copied().collect();
    let dqkv = Output::fresh(gpu, want, 1e-5)?;
    let args = ops::AttentionBackward {
        qkv: &gpu.storage_from("qkv", &qkv)?,
        kv: &gpu.storage_from("kv", &kv)?,
        lse: &gpu.storage_from("lse", &single(&lse))?,
        o: &gpu.storage_from("o", &single(&o))?,
        upstream: &gpu.storage_from("upstream", &upstream)?,
        rows: &gpu.storage_from("rows", &batch.rows)?,
        sequences: &gpu.storage_from("sequences", &batch.sequences)?,
        query_end: &gpu.storage_from("query_end", &batch.query_end)?,
        stats: &gpu.storage("stats", rows * heads * 2)?,
        dqkv: &dqkv.buffer,
        count: &count(gpu, rows, 0)?,
        heads,
        kv_heads,
        head_dim: dim,
        scale: 1.0 / (dim as f32).sqrt(),
    };
    Ok(Case::new(ops::attention_backward(gpu, args)?, rows, [dqkv]))
}

fn rope_backward(gpu: &Gpu, interleaved: bool) -> Result<Case> {
    let shape = SHAPE;
    let AttentionShape { heads, kv_heads, dim } = shape;
    let rows = [4u32, 0, 6].map(|position| Row { position, ..Row::default() });
    let mut rng = Rng::new(29);
    let (table, before) = (rope_table(&mut rng, 7, dim), rng.normal(rows.len() * (heads + 2 * kv_heads) * dim));
    let mut want = twins::double(&before);
    twins::Rope { shape, rows: &rows, table: &table, interleaved }.turn(&mut want, true);
    let dqkv = Output::changed(gpu, &before, want, 1e-6)?;
    let args = ops::RopeBackward {
        dqkv: &dqkv.buffer,
        table: &gpu.storage_from("table", &table)?,
        rows: &gpu.storage_from("rows", &rows)?,
        heads,
        kv_heads,
        head_dim: dim,
        interleaved,
    };
    Ok(Case::new([ops::rope_backward(gpu, args)?], rows.len(), [dqkv]))
}

const OUTPUTS: usize = 69;
const RANK: usize = 9;
const SLOT: u32 = 2;

/// Rows of the trained slot and of others, in sequences of different gates; with the gate that holds for each row.
fn adapted_rows() -> (Vec<Row>, [Sequence; 2], Vec<f64>) {
    let sequences = [1.0, 0.25].map(|gate| Sequence { gate, ..Sequence::default() });
    let slots = [SLOT, 0, SLOT, 1, SLOT, SLOT, SLOT];
    let rows: Vec<Row> = (0..).zip(slots).map(|(i, slot)| Row { sequence: i % 2, slot, ..Row::default() }).collect();
    let gate = |row: &Row| if row.slot == SLOT { f64::from(sequences[row.sequence as usize].gate) } else { 0.0 };
    let gates = rows.iter().map(gate).collect();
    (rows, sequences, gates)
}

fn lora_backward_u(gpu: &Gpu, outputs: usize) -> Result<Case> {
    let (rows, sequences, gates) = adapted_rows();
    let (mut rng, slot_stride) = (Rng::new(30), 4 + outputs * RANK);
    let (dy, b) = (rng.normal(rows.len() * outputs), rng.normal(2 * slot_stride));
    let du = Output::fresh(gpu, twins::lora_backward_u(&gates, &dy, &b[slot_stride + 4..], RANK), 3e-6)?;
    let site = ops::LoraSite {
        dy: &gpu.storage_from("dy", &dy)?,
        rows: &gpu.storage_from("rows", &rows)?,
        sequences: &gpu.storage_from("sequences", &sequences)?,
        count: &count(gpu, rows.len(), SLOT)?,
        outputs,
        rank: RANK,
        dy_stride: outputs,
        dy_offset: 0,
        u_stride: RANK,
        u_offset: 0,
        b_offset: 4,
    };
    let dispatch = ops::lora_backward_u(gpu, site, &gpu.storage_from("b", &b)?, slot_stride, &du.buffer)?;
    Ok(Case::new([dispatch], rows.len(), [du]))
}

fn lora_backward_b(gpu: &Gpu, outputs: usize) -> Result<Case> {
    let (rows, sequences, gates) = adapted_rows();
    let mut rng = Rng::new(31);
    let (dy, u) = (rng.normal(rows.len() * outputs), rng.normal(rows.len() * RANK));
    let db = Output::fresh(gpu, twins::lora_backward_b(&gates, &dy, &u, RANK), 3e-6)?;
    let site = ops::LoraSite {
        dy: &gpu.storage_from("dy", &dy)?,
        rows: &gpu.storage_from("rows", &rows)?,
        sequences: &gpu.storage_from("sequences", &sequences)?,
        count: &count(gpu, rows.len(), SLOT)?,
        outputs,
        rank: RANK,
        dy_stride: outputs,
        dy_offset: 0,
        u_stride: RANK,
        u_offset: 0,
        b_offset: 0,
    };
    let dispatch = ops::lora_backward_b(gpu, site, &gpu.storage_from("u", &u)?, &db.buffer)?;
    Ok(Case::new([dispatch], rows.len(), [db]))
}

fn lora_backward_x(gpu: &Gpu, k: usize, a_offset: usize) -> Result<Case> {
    let (rows, stack) = (9, 6);
    let mut rng = Rng::new(32);
    let (du, a, before) = (rng.normal(rows * stack), rng.normal(a_offset + stack * k), rng.normal(rows * k));
    let gradient = twins::lora_backward_x(&du, &a[a_offset..], stack, k);
    let want = gradient.iter().zip(&before).map(|(g, &b)| g + f64::from(b)).collect();
    let dx = Output::changed(gpu, &before, want, 3e-6)?;
    let args = ops::LoraBackwardX {
        du: &gpu.storage_from("du", &du)?,
        a: &gpu.storage_from("a", &a)?,
        a_offset,
        dx: &dx.buffer,
        count: &count(gpu, rows, 0)?,
        stack,
        k,
    };
    Ok(Case::new([ops::lora_backward_x(gpu, args)?], rows, [dx]))
}

const PARAMETERS: usize = 257;

fn gradient_norm(gpu: &Gpu) -> Result<Case> {
    let mut gradient = Rng::new(33).normal(PARAMETERS);
    gradient[100] = f32::NAN;
    gradient[256] = f32::INFINITY;
    let square: f64 = gradient.iter().filter(|g| g.is_finite()).map(|&g| f64::from(g).powi(2)).sum();
    let norm = Output::fresh(gpu, vec![square, 2.0], 3e-6)?;
    let gradient = gpu.storage_from("gradient", &gradient)?;
    Ok(Case::new([ops::gradient_norm(gpu, &gradient, PARAMETERS, &norm.buffer)?], 1, [norm]))
}

const MAX_NORM: Option<f32> = Some(1.0);

/// Gradient, its (Σ g², number of elements not finite), parameters.
fn optimizer_data(seed: u64) -> (Vec<f32>, [f32; 2], Vec<f32>) {
    let mut rng = Rng::new(seed);
    let (gradient, parameters) = (rng.normal(PARAMETERS), rng.normal(PARAMETERS));
    let square: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
    (gradient, [square as f32, 0.0], parameters)
}

fn adamw(gpu: &Gpu) -> Result<Case> {
    let settings =
        ops::AdamWSettings { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    let (gradient, norm, before) = optimizer_data(34);
    let m_before = Rng::new(35).normal(PARAMETERS);
    let v_before: Vec<f32> = Rng::new(36).normal(PARAMETERS).iter().map(|v| v * v).collect();
    let (mut want, mut m, mut v) = (twins::double(&before), twins::double(&m_before), twins::double(&v_before));
    twins::adamw_step(&settings, 3, MAX_NORM, &gradient, [&mut m, &mut v], &mut want);
    let outputs = [
        Output::changed(gpu, &before, want, 3e-6)?,
        Output::changed(gpu, &m_before, m, 3e-6)?,
        Output::changed(gpu, &v_before, v, 3e-6)?,
    ];
    let args = ops::OptimizerBuffers {
        gradient: &gpu.storage_from("gradient", &gradient)?,
        parameters: &outputs[0].buffer,
        norm: &gpu.storage_from("norm", &norm)?,
        step: &gpu.uniform("step", &OptimizerStep::adamw(&settings, 3, 0, MAX_NORM))?,
        length: PARAMETERS,
    };
    Ok(Case::new([ops::adamw(gpu, args, &outputs[1].buffer, &outputs[2].buffer)?], 1, outputs))
}

fn sgd(gpu: &Gpu) -> Result<Case> {
    let (gradient, norm, before) = optimizer_data(37);
    let mut want = twins::double(&before);
    twins::sgd_step(0.05, 0.1, MAX_NORM, &gradient, &mut want);
    let parameters = Output::changed(gpu, &before, want, 3e-6)?;
    let args = ops::OptimizerBuffers {
        gradient: &gpu.storage_from("gradient", &gradient)?,
        parameters: &parameters.buffer,
        norm: &gpu.storage_from("norm", &norm)?,
        step: &gpu.uniform("step", &OptimizerStep::sgd(0.05, 0.1, 0, MAX_NORM))?,
        length: PARAMETERS,
    };
    Ok(Case::new([ops::sgd(gpu, args)?], 1, [parameters]))
}

fn gram(gpu: &Gpu) -> Result<Case> {
    let b = Rng::new(38).normal(2 * OUTPUTS * RANK);
    let gram = Output::fresh(gpu, twins::gram(&b[OUTPUTS * RANK..], RANK), 3e-6)?;
    let args = ops::Gram {
        b: &gpu.storage_from("b", &b)?,
        sites: &gpu.storage_from("sites", &[0u32, OUTPUTS as u32])?,
        gram: &gram.buffer,
        count: &count(gpu, 1, SLOT)?,
        site_count: 1,
        rank: RANK,
        slot_stride: OUTPUTS * RANK,
    };
    Ok(Case::new([ops::gram(gpu, args)?], 1, [gram]))
}

fn trust_region(gpu: &Gpu) -> Result<Case> {
    let b = Rng::new(39).normal(2 * OUTPUTS * RANK);
    let gram_b = twins::gram(&b[OUTPUTS * RANK..], RANK);
    // A with orthonormal rows, and a limit of half of what B has.
    let gram_a: Vec<f32> = (0..RANK * RANK).map(|i| if i / RANK == i % RANK { 1.0 } else { 0.0 }).collect();
    let length = (0..RANK).map(|j| gram_b[j * RANK + j]).sum::<f64>().sqrt();
    let mut want = twins::double(&b);
    want[OUTPUTS * RANK..].iter_mut().for_each(|value| *value *= 0.5);
    let parameters = Output::changed(gpu, &b, want, 3e-6)?;
    let single: Vec<f32> = gram_b.iter().map(|&value| value as f32).collect();
    let args = ops::TrustRegion {
        gram: ops::Gram {
            b: &parameters.buffer,
            sites: &gpu.storage_from("sites", &[0u32, OUTPUTS as u32])?,
            gram: &gpu.storage_from("gram", &single)?,
            count: &count(gpu, 1, SLOT)?,
            site_count: 1,
            rank: RANK,
            slot_stride: OUTPUTS * RANK,
        },
        gram_a: &gpu.storage_from("A Aᵀ", &gram_a)?,
        weight_norms: &gpu.storage_from("weight norms", &[2.0f32])?,
        limit: &gpu.uniform("limit", &[length as f32 / 4.0, 0.0, 0.0, 0.0])?,
    };
    Ok(Case::new([ops::trust_region(gpu, args)?], 1, [parameters]))
}
