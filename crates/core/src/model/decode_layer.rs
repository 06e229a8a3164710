//! A layer for the next tokens of a few sequences: what stands around a projection (norm, adapter, residual, activation)
//! is done in its launch, and what comes before attention (turning, cache) in that of attention. One sequence's token takes a
//! launch so short that launches are what a step costs.

use tmem_gpu::ops::{self, AdaptedOutputs, AdapterTerm, AttentionStep, Finish, InputNorm, LoraDown, Projection};
use tmem_gpu::{Buffer, Dispatch, GpuError, Weight, WeightFormat};

use super::ModelConfig;
use super::forward::{Shape, Shared, attention_of, norm, spans};
use super::weights::Part;
use crate::fast::{Group, RowsOf};

/// Buffers that one layer hands to the next and nobody needs afterwards.
pub(super) struct DecodeScratch {
    qkv: Buffer,
    attended: Buffer,
    /// Between the launches of attention, where the keys of long rows may be split.
    spans: Option<Buffer>,
    hidden: Buffer,
    /// Gate and up, where they have no matrix in common.
    gate_up: Option<Buffer>,
    low_rank: Option<Buffer>,
    /// The normed stream, where a norm has a launch of its own.
    normed: Option<Buffer>,
}

impl DecodeScratch {
    pub(super) fn new(shared: &Shared<'_>, max_rows: usize) -> Result<Self, GpuError> {
        let Shared { gpu, config, adapter, weights, .. } = *shared;
        let in_parts = weights.layers.iter().any(|layer| layer.gate_up.len() > 1);
        Ok(Self {
            qkv: gpu.storage("qkv", max_rows * Group::Qkv.outputs(config))?,
            attended: gpu.storage("attended", max_rows * config.heads * config.head_dim)?,
            spans: spans(shared, max_rows)?,
            hidden: gpu.storage("ffn hidden", max_rows * config.ffn)?,
            gate_up: in_parts.then(|| gpu.storage("gate and up", max_rows * 2 * config.ffn)).transpose()?,
            low_rank: adapter.map(|adapter| gpu.storage("A x", max_rows * 3 * adapter.sites.rank)).transpose()?,
            normed: (!ops::projection_norms(gpu))
                .then(|| gpu.storage("normed", max_rows * config.hidden))
                .transpose()?,
        })
    }
}

/// Whether such a model, with so many sequences, can be decoded in these launches.
pub(super) fn runs_on(config: &ModelConfig, max_rows: usize) -> bool {
    let inputs = [config.hidden, config.heads * config.head_dim, config.ffn];
    max_rows <= ops::PROJECTION_ROWS && inputs.iter().all(|&k| ops::projection_runs_on(k))
}

/// A group of projections that share their input.
struct Fused<'a> {
    layer: usize,
    group: Group,
    parts: &'a [Part],
    x: &'a Buffer,
    /// Gain of the norm before it.
    norm: Option<&'a Buffer>,
    y: &'a Buffer,
    finish: Finish,
}

impl Fused<'_> {
    fn record(
        &self,
        shared: &Shared<'_>,
        batch: &RowsOf<'_>,
        scratch: &DecodeScratch,
    ) -> Result<Vec<Dispatch>, GpuError> {
        let Shared { gpu, config, .. } = *shared;
        let &Self { layer, group, parts, y, finish, .. } = self;
        let &RowsOf { rows, sequences, count, max_rows } = batch;
        let mut plan = Vec::with_capacity(parts.len() + 2);
        let (x, norm) = normed_input(shared, count, scratch, (self.x, self.norm), &mut plan)?;
        let mut outputs = Vec::new();
        let mut term = None;
        if let (Some(adapter), Some(u)) = (shared.adapter, &scratch.low_rank) {
            let sites = adapter.sites.group(layer, group);
            let rank = adapter.sites.rank;
            if let Some(first) = sites.first() {
                let (inputs, a_offset, stack) = (first.inputs, first.a_offset, sites.len() * rank);
                plan.push(match norm {
                    // The kernel that prefill has for it: every site has one of its own, and compiling takes its time.
                    None => {
                        let a = &adapter.a;
                        ops::lora_down(gpu, LoraDown { x, a, a_offset, stack, inputs, u, count, max_rows })?
                    }
                    Some(_) => {
                        let (buffer, format) = (adapter.a.clone(), WeightFormat::F32);
                        let weight = &Weight { buffer, format, outputs: stack, inputs };
                        let product = Projection::new(x, weight, u, (rows, count, max_rows));
                        let args = Projection { norm, weight_start: a_offset, ..product };
                        ops::projection(gpu, args)?
                    }
                });
                outputs.extend(sites.iter().map(|site| AdaptedOutputs {
                    first: site.projection.offset_in_group(config),
                    outputs: site.outputs,
                    b_offset: site.b_offset,
                }));
                term = Some((u, &adapter.b, adapter.sites.b_len, rank));
            }
        }
        let adapter =
            term.map(|(u, b, slot_stride, rank)| AdapterTerm { sequences, u, b, slot_stride, rank, sites: &outputs });
        let y_stride = if finish == Finish::Swiglu { config.ffn } else { group.outputs(config) };
        for Part { weight, offset } in parts {
            let product = Projection::new(x, weight, y, (rows, count, max_rows));
            let args = Projection { norm, adapter, y_stride, y_offset: *offset, finish, ..product };
            plan.push(ops::projection(gpu, args)?);
        }
        Ok(plan)
    }
}

/// What a projection reads of `x`, and the norm that it is to do itself; records the norm where it has a launch of its own.
fn normed_input<'a>(
    shared: &Shared<'_>,
    count: &Buffer,
    scratch: &'a DecodeScratch,
    (x, gain): (&'a Buffer, Option<&'a Buffer>),
    plan: &mut Vec<Dispatch>,
) -> Result<(&'a Buffer, Option<InputNorm<'a>>), GpuError> {
    match (gain, &scratch.normed) {
        (Some(gain), Some(normed)) => {
            plan.push(norm(shared, x, gain, normed, count)?);
            Ok((normed, None))
        }
        _ => Ok((x, gain.map(|gain| InputNorm { gain, epsilon: shared.config.norm_epsilon }))),
    }
}

/// Records a layer; the residual stream goes in and comes out.
pub(super) fn record(
    shared: &Shared<'_>,
    batch: &RowsOf<'_>,
    scratch: &DecodeScratch,
    stream: &Buffer,
    cache: &Buffer,
    layer: usize,
) -> Result<Vec<Dispatch>, GpuError> {
    let weights = &shared.weights.layers[layer];
    let (accumulate, overwrite) = (Finish::Accumulate, Finish::Overwrite);
    let group = |group, parts, x, norm, y, finish| {
        Fused { layer, group, parts, x, norm, y, finish }.record(shared, batch, scratch)
    };
    let mut plan = group(Group::Qkv, &weights.qkv, stream, Some(&weights.attention_norm), &scratch.qkv, overwrite)?;
    let buffers = [&scratch.qkv, cache, &scratch.attended];
    let attention = attention_of(shared, batch, buffers, scratch.spans.as_ref());
    let interleaved = Shape::of(shared.config).interleaved;
    // Each row is the next token of a sequence of its own, as this asks for.
    plan.extend(ops::attention_step(shared.gpu, AttentionStep { attention, table: shared.rope, interleaved })?);
    plan.extend(group(Group::Output, &weights.output, &scratch.attended, None, stream, accumulate)?);
    let norm = Some(&weights.ffn_norm);
    match &scratch.gate_up {
        None => plan.extend(group(Group::GateUp, &weights.gate_up, stream, norm, &scratch.hidden, Finish::Swiglu)?),
        Some(gate_up) => {
            plan.extend(group(Group::GateUp, &weights.gate_up, stream, norm, gate_up, overwrite)?);
            plan.push(ops::swiglu(shared.gpu, gate_up, &scratch.hidden, shared.config.ffn)?);
        }
    }
    plan.extend(group(Group::Down, &weights.down, &scratch.hidden, None, stream, accumulate)?);
    Ok(plan)
}

/// Records logits = W norm(stream), for every row.
pub(super) fn record_head(
    shared: &Shared<'_>,
    batch: &RowsOf<'_>,
    scratch: &DecodeScratch,
    stream: &Buffer,
    logits: &Buffer,
) -> Result<Vec<Dispatch>, GpuError> {
    let Shared { gpu, config, weights, .. } = *shared;
    let &RowsOf { rows, count, max_rows, .. } = batch;
    let mut plan = Vec::with_capacity(2);
    let (x, norm) = normed_input(shared, count, scratch, (stream, Some(&weights.final_norm)), &mut plan)?;
    for Part { weight, offset } in weights.head() {
        let product = Projection::new(x, weight, logits, (rows, count, max_rows));
        let args = Projection { norm, y_stride: config.vocab, y_offset: *offset, ..product };
        plan.push(ops::projection(gpu, args)?);
    }
    Ok(plan)
}
