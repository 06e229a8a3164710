//! The forward pass over rows (token, position, sequence, adapter slot), recorded as a plan.
//!
//! A plan binds every buffer once for a largest batch and is then recorded for any smaller one. Chat, the frozen twin
//! (slot 0), a group whose members carry different Δ, and the lower layers of a training batch are the same plan.

use std::ops::Range;

use tmem_gpu::ops;
use tmem_gpu::{Buffer, Commands, Dispatch, Gpu, GpuError, Row, Sequence};

use super::config::RopeStyle;
use super::decode_layer::{self, DecodeScratch};
use super::kv_cache::KvCache;
use super::linear::{Head, Linear};
use super::weights::Part;
use super::{ModelConfig, ModelWeights};
use crate::fast::{Adapter, Group, RowsOf};

/// What every plan of an engine shares.
pub(crate) struct Shared<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) config: &'a ModelConfig,
    pub(crate) weights: &'a ModelWeights,
    /// cos and sin, [positions][head_dim / 2][2].
    pub(crate) rope: &'a Buffer,
    /// The adapter's slots; `None` for a model without sites.
    pub(crate) adapter: Option<&'a Adapter>,
}

/// A recorded forward pass for up to `max_rows` rows.
pub(crate) struct ForwardPlan {
    gpu: Gpu,
    pub(crate) max_rows: usize,
    /// The batch, \[max_rows\] of [`Row`].
    pub(crate) rows: Buffer,
    /// The sequences that rows point at, \[max_sequences\] of [`Sequence`].
    pub(crate) sequences: Buffer,
    /// Number of rows (uniform).
    pub(crate) count: Buffer,
    /// Number of rows whose logits are wanted (uniform).
    pub(crate) logit_count: Buffer,
    /// Which rows those are.
    pub(crate) logit_rows: Buffer,
    /// The residual stream, [max_rows, hidden].
    pub(crate) stream: Buffer,
    /// [max_logits, vocab].
    pub(crate) logits: Buffer,
    embed: Vec<Dispatch>,
    layers: Vec<Vec<Dispatch>>,
    head: Vec<Dispatch>,
}

/// Largest sizes of a plan's batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanSize {
    pub(crate) rows: usize,
    pub(crate) logits: usize,
    pub(crate) sequences: usize,
    /// Whether every row is the next token of a sequence of its own, behind any shared prefix, and has logits, in the order of
    /// the rows. Such a plan takes fewer launches (`decode_layer`) where the device can.
    pub(crate) decode: bool,
}

impl PlanSize {
    /// Bytes of a plan's own buffers.
    pub(crate) fn bytes(self, config: &ModelConfig) -> u64 {
        let row = 3 * config.hidden + (config.heads + 2 * config.kv_heads) * config.head_dim + 3 * config.ffn;
        (4 * (self.rows * row + self.logits * (config.vocab + 2 * config.hidden))) as u64
    }
}

/// Buffers that one layer hands to the next and nobody needs afterwards.
struct Scratch {
    normed: Buffer,
    qkv: Buffer,
    attended: Buffer,
    /// Between the launches of attention, where the keys of long rows may be split.
    spans: Option<Buffer>,
    gate_up: Buffer,
    hidden: Buffer,
    low_rank: Option<Buffer>,
}

impl Scratch {
    fn new(shared: &Shared<'_>, max_rows: usize) -> Result<Self, GpuError> {
        let Shared { gpu, config, adapter, .. } = *shared;
        Ok(Self {
            normed: gpu.storage("normed", max_rows * config.hidden)?,
            qkv: gpu.storage("qkv", max_rows * Group::Qkv.outputs(config))?,
            attended: gpu.storage("attended", max_rows * config.heads * config.head_dim)?,
            spans: spans(shared, max_rows)?,
            gate_up: gpu.storage("gate and up", max_rows * 2 * config.ffn)?,
            hidden: gpu.storage("ffn hidden", max_rows * config.ffn)?,
            low_rank: adapter.map(|adapter| gpu.storage("A x", max_rows * 3 * adapter.sites.rank)).transpose()?,
        })
    }
}

/// Scratch of attention for the rows of a decoding plan, where its keys may be split.
pub(super) fn spans(shared: &Shared<'_>, max_rows: usize) -> Result<Option<Buffer>, GpuError> {
    let Shape { heads, kv_heads, head_dim, .. } = Shape::of(shared.config);
    ops::attention_spans(shared.gpu, max_rows, (heads, kv_heads, head_dim))
}

impl ForwardPlan {
    pub(crate) fn new(shared: &Shared<'_>, cache: &KvCache, size: PlanSize) -> Result<Self, GpuError> {
        let Shared { gpu, config, weights, .. } = *shared;
        let PlanSize { rows: max_rows, logits: max_logits, sequences: max_sequences, .. } = size;
        let fused = size.decode && decode_layer::runs_on(config, max_rows);
        let rows = match fused {
            true => gpu.uniform_storage("rows", ops::PROJECTION_ROWS * 4)?,
            false => gpu.storage("rows", max_rows * 4)?,
        };
        let sequences = gpu.storage("sequences", max_sequences * 4)?;
        let count = gpu.uniform("row count", &[0u32; 4])?;
        let logit_count = gpu.uniform("logit row count", &[0u32; 4])?;
        let logit_rows = gpu.storage("logit rows", max_logits)?;
        let stream = gpu.storage("residual stream", max_rows * config.hidden)?;
        let logits = gpu.storage("logits", max_logits * config.vocab)?;
        let embed = |part: &Part| {
            let (weight, first) = (&part.weight, part.offset);
            ops::embed(gpu, ops::Embed { rows: &rows, weight, x: &stream, first, vocabulary: config.vocab })
        };
        let embed = weights.embedding.iter().map(embed).collect::<Result<_, _>>()?;
        let batch = RowsOf { rows: &rows, sequences: &sequences, count: &count, max_rows };
        let caches = cache.layers.iter().enumerate();
        let (layers, head) = if fused {
            let scratch = DecodeScratch::new(shared, max_rows)?;
            let record = |(layer, cache)| decode_layer::record(shared, &batch, &scratch, &stream, cache, layer);
            (
                caches.map(record).collect::<Result<_, _>>()?,
                decode_layer::record_head(shared, &batch, &scratch, &stream, &logits)?,
            )
        } else {
            let scratch = Scratch::new(shared, max_rows)?;
            let record = |(layer, cache)| record_layer(shared, &batch, &scratch, &stream, cache, layer);
            let layers = caches.map(record).collect::<Result<_, _>>()?;
            let picked = gpu.storage("picked rows", max_logits * config.hidden)?;
            let picked_normed = gpu.storage("picked rows, normed", max_logits * config.hidden)?;
            let gather = ops::gather_rows(gpu, &stream, &logit_rows, &picked, config.hidden)?;
            let head_norm = norm(shared, &picked, &weights.final_norm, &picked_normed, &logit_count)?;
            let product = Head { x: &picked_normed, logits: &logits, count: &logit_count, max_rows: max_logits };
            (layers, [vec![gather, head_norm], product.record(shared)?].concat())
        };
        Ok(Self {
            gpu: gpu.clone(),
            max_rows,
            rows,
            sequences,
            count,
            logit_count,
            logit_rows,
            stream,
            logits,
            embed,
            layers,
            head,
        })
    }

    /// Uploads the batch. Rows may point at any of the sequences.
    pub(crate) fn set_rows(&self, rows: &[Row]) {
        self.gpu.write(&self.rows, 0, rows);
        self.gpu.write(&self.count, 0, &[rows.len() as u32]);
    }

    /// Uploads all sequences.
    pub(crate) fn set_sequences(&self, sequences: &[Sequence]) {
        self.gpu.write(&self.sequences, 0, sequences);
    }

    /// Uploads which rows of the batch shall have logits.
    pub(crate) fn set_logit_rows(&self, rows: &[u32]) {
        self.gpu.write(&self.logit_rows, 0, rows);
        self.gpu.write(&self.logit_count, 0, &[rows.len() as u32]);
    }

    /// Records: residual stream ← embedding of the rows' tokens.
    pub(crate) fn record_embed(&self, commands: &mut Commands<'_>, rows: usize) {
        for dispatch in &self.embed {
            commands.dispatch(dispatch, rows as u32);
        }
    }

    /// Records layers; the residual stream goes in and comes out.
    pub(crate) fn record_layers(&self, commands: &mut Commands<'_>, layers: Range<usize>, rows: usize) {
        for dispatch in self.layers[layers].iter().flatten() {
            commands.dispatch(dispatch, rows as u32);
        }
    }

    /// Records a decoding step: embedding, all layers and the head for the next token of `rows` sequences, of which none
    /// has more than `keys` tokens with it. Keys of long sequences are split where that pays.
    pub(crate) fn record_step(&self, commands: &mut Commands<'_>, rows: usize, keys: usize) {
        self.record_embed(commands, rows);
        for dispatch in self.layers.iter().flatten() {
            commands.dispatch_with_keys(dispatch, rows as u32, keys as u32);
        }
        self.record_head(commands, rows);
    }

    /// Records the head over the logit rows.
    pub(crate) fn record_head(&self, commands: &mut Commands<'_>, logit_rows: usize) {
        for dispatch in &self.head {
            commands.dispatch(dispatch, logit_rows as u32);
        }
    }

    /// Dispatches of one layer, for benchmarks.
    pub(crate) fn dispatches(&self, layer: usize) -> usize {
        self.layers[layer].len()
    }
}

/// The head counts that attention kernels are compiled for.
pub(crate) struct Shape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) interleaved: bool,
}

impl Shape {
    pub(crate) fn of(config: &ModelConfig) -> Self {
        let &ModelConfig { heads, kv_heads, head_dim, .. } = config;
        Self { heads, kv_heads, head_dim, interleaved: config.rope_style == RopeStyle::Interleaved }
    }
}

pub(super) fn norm(
    shared: &Shared<'_>,
    x: &Buffer,
    weight: &Buffer,
    y: &Buffer,
    count: &Buffer,
) -> Result<Dispatch, GpuError> {
    let Shared { gpu, config, .. } = *shared;
    ops::rms_norm(gpu, ops::RmsNorm { x, weight, y, count, dim: config.hidden, epsilon: config.norm_epsilon })
}

fn record_layer(
    shared: &Shared<'_>,
    batch: &RowsOf<'_>,
    scratch: &Scratch,
    stream: &Buffer,
    cache: &Buffer,
    layer: usize,
) -> Result<Vec<Dispatch>, GpuError> {
    let Shared { gpu, config, weights, .. } = *shared;
    let weights = &weights.layers[layer];
    let count = batch.count;
    let mut plan = vec![norm(shared, stream, &weights.attention_norm, &scratch.normed, count)?];
    let project = |plan: &mut Vec<Dispatch>, group, parts: &[Part], x: &Buffer, y: &Buffer, accumulate| {
        let linear = Linear { layer, group, parts, x, low_rank: scratch.low_rank.as_ref(), y, accumulate };
        linear.record(shared, *batch).map(|dispatches| plan.extend(dispatches))
    };
    project(&mut plan, Group::Qkv, &weights.qkv, &scratch.normed, &scratch.qkv, false)?;
    let buffers = [&scratch.qkv, cache, &scratch.attended];
    plan.extend(record_attention(shared, attention_of(shared, batch, buffers, scratch.spans.as_ref()))?);
    project(&mut plan, Group::Output, &weights.output, &scratch.attended, stream, true)?;
    plan.push(norm(shared, stream, &weights.ffn_norm, &scratch.normed, count)?);
    project(&mut plan, Group::GateUp, &weights.gate_up, &scratch.normed, &scratch.gate_up, false)?;
    plan.push(ops::swiglu(gpu, &scratch.gate_up, &scratch.hidden, config.ffn)?);
    project(&mut plan, Group::Down, &weights.down, &scratch.hidden, stream, true)?;
    Ok(plan)
}

/// The attention of a batch over the cache; `[qkv, cache, out]`. The keys of long rows may be split where there is scratch for
/// their spans.
pub(super) fn attention_of<'a>(
    shared: &Shared<'_>,
    batch: &RowsOf<'a>,
    [qkv, cache, out]: [&'a Buffer; 3],
    spans: Option<&'a Buffer>,
) -> ops::Attention<'a> {
    let &RowsOf { rows, sequences, count, max_rows } = batch;
    let Shape { heads, kv_heads, head_dim, .. } = Shape::of(shared.config);
    ops::Attention { qkv, cache, rows, sequences, out, lse: None, spans, count, max_rows, heads, kv_heads, head_dim }
}

/// Records the turning of queries and keys, the way of keys and values into the cache, and attention over it.
fn record_attention(shared: &Shared<'_>, attention: ops::Attention<'_>) -> Result<Vec<Dispatch>, GpuError> {
    let Shared { gpu, rope: table, .. } = *shared;
    let ops::Attention { qkv, cache, rows, sequences, heads, kv_heads, head_dim, .. } = attention;
    let interleaved = Shape::of(shared.config).interleaved;
    let turn = ops::RopeCache { qkv, rows, sequences, table, cache, heads, kv_heads, head_dim, interleaved };
    let mut plan = vec![ops::rope_cache(gpu, turn)?, ops::attention(gpu, attention)?];
    plan.extend(ops::attention_combine(gpu, attention)?);
    Ok(plan)
}
