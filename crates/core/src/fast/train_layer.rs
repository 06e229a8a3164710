//! One adapted layer of a training step: forward with what the backward pass needs, and backward.

use tmem_gpu::ops;
use tmem_gpu::{Buffer, Dispatch, Gpu, GpuError};

use super::adapter::{Adapter, RowsOf};
use super::site::Group;
use crate::model::{Linear, ModelConfig, Part, Shape, Shared};

/// Activations of one layer that its backward pass needs.
pub(super) struct Layer {
    /// Input of the layer, [T, hidden].
    pub(super) input: Buffer,
    /// After attention, [T, hidden].
    middle: Buffer,
    /// [T, (heads + 2 kv_heads) · head_dim], queries rotated.
    qkv: Buffer,
    /// Rotated keys and values, [T, 2 · kv_heads · head_dim].
    cache: Buffer,
    /// [T, heads · head_dim].
    attended: Buffer,
    /// Log-sum-exp of the scores, [T, heads].
    lse: Buffer,
    /// [T, 2 · ffn].
    gate_up: Buffer,
    /// A x per group, [T, sites · rank].
    low_rank: [Option<Buffer>; 4],
}

/// What is recorded.
pub(super) enum Step {
    Run(Dispatch),
    /// Copies `width` f32 of every row.
    Copy {
        from: Buffer,
        to: Buffer,
        width: usize,
    },
}

/// Buffers that are overwritten layer by layer.
pub(super) struct Scratch {
    /// [T, hidden]
    normed: Buffer,
    /// [T, ffn]
    hidden: Buffer,
    /// Gradient of the residual stream, [T, hidden].
    pub(super) stream_gradient: Buffer,
    /// [T, hidden]
    normed_gradient: Buffer,
    /// [T, heads · head_dim]
    attended_gradient: Buffer,
    /// [T, (heads + 2 kv_heads) · head_dim]
    qkv_gradient: Buffer,
    /// [T, 2 · heads]
    attention_stats: Buffer,
    /// [T, ffn]
    hidden_gradient: Buffer,
    /// [T, 2 · ffn]
    gate_up_gradient: Buffer,
    /// [T, 3 · rank]
    low_rank_gradient: Buffer,
}

impl Layer {
    pub(super) fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        adapter: &Adapter,
        layer: usize,
        t: usize,
    ) -> Result<Self, GpuError> {
        let low_rank = |group| -> Result<Option<Buffer>, GpuError> {
            let sites = adapter.sites.group(layer, group).len();
            (sites > 0).then(|| gpu.storage("A x of a group", t * sites * adapter.sites.rank)).transpose()
        };
        Ok(Self {
            input: gpu.storage("layer input", t * config.hidden)?,
            middle: gpu.storage("after attention", t * config.hidden)?,
            qkv: gpu.storage("qkv", t * Group::Qkv.outputs(config))?,
            cache: gpu.storage("keys and values", t * 2 * config.kv_heads * config.head_dim)?,
            attended: gpu.storage("attended", t * config.heads * config.head_dim)?,
            lse: gpu.storage("log-sum-exp", t * config.heads)?,
            gate_up: gpu.storage("gate and up", t * 2 * config.ffn)?,
            low_rank: [
                low_rank(Group::Qkv)?,
                low_rank(Group::Output)?,
                low_rank(Group::GateUp)?,
                low_rank(Group::Down)?,
            ],
        })
    }
}

impl Scratch {
    pub(super) fn new(gpu: &Gpu, config: &ModelConfig, rank: usize, t: usize) -> Result<Self, GpuError> {
        Ok(Self {
            normed: gpu.storage("normed", t * config.hidden)?,
            hidden: gpu.storage("ffn hidden", t * config.ffn)?,
            stream_gradient: gpu.storage("gradient of the residual stream", t * config.hidden)?,
            normed_gradient: gpu.storage("gradient of normed", t * config.hidden)?,
            attended_gradient: gpu.storage("gradient of attended", t * config.heads * config.head_dim)?,
            qkv_gradient: gpu.storage("gradient of qkv", t * Group::Qkv.outputs(config))?,
            attention_stats: gpu.storage("attention statistics", t * 2 * config.heads)?,
            hidden_gradient: gpu.storage("gradient of ffn hidden", t * config.ffn)?,
            gate_up_gradient: gpu.storage("gradient of gate and up", t * 2 * config.ffn)?,
            low_rank_gradient: gpu.storage("gradient of A x", t * 3 * rank)?,
        })
    }
}

/// Builds the steps of one layer.
pub(super) struct Builder<'a> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) adapter: &'a Adapter,
    pub(super) batch: RowsOf<'a>,
    pub(super) query_end: &'a Buffer,
    pub(super) gradient: &'a Buffer,
    pub(super) scratch: &'a Scratch,
}

impl Builder<'_> {
    pub(super) fn forward(&self, index: usize, layer: &Layer, next: &Buffer) -> Result<Vec<Step>, GpuError> {
        let Shared { gpu, config, weights, rope, .. } = *self.shared;
        let weights = &weights.layers[index];
        let RowsOf { rows, sequences, count, max_rows } = self.batch;
        let scratch = self.scratch;
        let mut steps = vec![self.norm(&layer.input, &weights.attention_norm)?];
        // A x is kept for the backward pass.
        let project = |steps: &mut Vec<Step>, group, parts: &[Part], x: &Buffer, y: &Buffer, accumulate| {
            let low_rank = layer.low_rank[group as usize].as_ref();
            let linear = Linear { layer: index, group, parts, x, low_rank, y, accumulate };
            linear.record(self.shared, self.batch).map(|plan| steps.extend(plan.into_iter().map(Step::Run)))
        };
        project(&mut steps, Group::Qkv, &weights.qkv, &scratch.normed, &layer.qkv, false)?;
        let Shape { heads, kv_heads, head_dim, interleaved } = Shape::of(config);
        steps.push(Step::Run(ops::rope_cache(
            gpu,
            ops::RopeCache {
                qkv: &layer.qkv,
                rows,
                sequences,
                table: rope,
                cache: &layer.cache,
                heads,
                kv_heads,
                head_dim,
                interleaved,
            },
        )?));
        steps.push(Step::Run(ops::attention(
            gpu,
            ops::Attention {
                qkv: &layer.qkv,
                cache: &layer.cache,
                rows,
                sequences,
                out: &layer.attended,
                lse: Some(&layer.lse),
                spans: None,
                count,
                max_rows,
                heads,
                kv_heads,
                head_dim,
            },
        )?));
        let hidden = config.hidden;
        steps.push(Step::Copy { from: layer.input.clone(), to: layer.middle.clone(), width: hidden });
        project(&mut steps, Group::Output, &weights.output, &layer.attended, &layer.middle, true)?;
        steps.push(self.norm(&layer.middle, &weights.ffn_norm)?);
        project(&mut steps, Group::GateUp, &weights.gate_up, &scratch.normed, &layer.gate_up, false)?;
        steps.push(Step::Run(ops::swiglu(gpu, &layer.gate_up, &scratch.hidden, config.ffn)?));
        steps.push(Step::Copy { from: layer.middle.clone(), to: next.clone(), width: hidden });
        project(&mut steps, Group::Down, &weights.down, &scratch.hidden, next, true)?;
        Ok(steps)
    }

    /// From the gradient of the layer's output to that of its input, in `stream_gradient`. The lowest layer stops at
    /// its lowest site: nothing below it is trained.
    pub(super) fn backward(&self, index: usize, layer: &Layer, lowest: bool) -> Result<Vec<Step>, GpuError> {
        let Shared { gpu, config, weights, rope, .. } = *self.shared;
        let weights = &weights.layers[index];
        let RowsOf { rows, sequences, count, .. } = self.batch;
        let Shape { heads, kv_heads, head_dim, interleaved } = Shape::of(config);
        let scratch = self.scratch;
        let stream = &scratch.stream_gradient;
        let has = |group| !self.adapter.sites.group(index, group).is_empty();
        let mut steps = Vec::new();
        // Does anything below a group still need its input's gradient?
        let below_output = !lowest || has(Group::Qkv);
        let below_gate_up = below_output || has(Group::Output);
        let below_down = below_gate_up || has(Group::GateUp);

        self.site_gradients(&mut steps, index, Group::Down, layer, stream)?;
        if !below_down {
            return Ok(steps);
        }
        self.project_back(&mut steps, index, Group::Down, &weights.down, stream, &scratch.hidden_gradient)?;
        steps.push(Step::Run(ops::swiglu_backward(
            gpu,
            ops::SwigluBackward {
                gate_up: &layer.gate_up,
                dh: &scratch.hidden_gradient,
                d_gate_up: &scratch.gate_up_gradient,
                ffn: config.ffn,
            },
        )?));
        self.site_gradients(&mut steps, index, Group::GateUp, layer, &scratch.gate_up_gradient)?;
        if !below_gate_up {
            return Ok(steps);
        }
        let normed = &scratch.normed_gradient;
        self.project_back(&mut steps, index, Group::GateUp, &weights.gate_up, &scratch.gate_up_gradient, normed)?;
        steps.push(self.norm_back(&layer.middle, &weights.ffn_norm)?);
        self.site_gradients(&mut steps, index, Group::Output, layer, stream)?;
        if !below_output {
            return Ok(steps);
        }
        self.project_back(&mut steps, index, Group::Output, &weights.output, stream, &scratch.attended_gradient)?;
        steps.extend(
            ops::attention_backward(
                gpu,
                ops::AttentionBackward {
                    qkv: &layer.qkv,
                    kv: &layer.cache,
                    lse: &layer.lse,
                    o: &layer.attended,
                    upstream: &scratch.attended_gradient,
                    rows,
                    sequences,
                    query_end: self.query_end,
                    stats: &scratch.attention_stats,
                    dqkv: &scratch.qkv_gradient,
                    count,
                    heads,
                    kv_heads,
                    head_dim,
                    scale: 1.0 / (head_dim as f32).sqrt(),
                },
            )?
            .into_iter()
            .map(Step::Run),
        );
        steps.push(Step::Run(ops::rope_backward(
            gpu,
            ops::RopeBackward {
                rows,
                dqkv: &scratch.qkv_gradient,
                table: rope,
                heads,
                kv_heads,
                head_dim,
                interleaved,
            },
        )?));
        self.site_gradients(&mut steps, index, Group::Qkv, layer, &scratch.qkv_gradient)?;
        if lowest {
            return Ok(steps);
        }
        self.project_back(&mut steps, index, Group::Qkv, &weights.qkv, &scratch.qkv_gradient, normed)?;
        steps.push(self.norm_back(&layer.input, &weights.attention_norm)?);
        Ok(steps)
    }

    fn norm(&self, x: &Buffer, weight: &Buffer) -> Result<Step, GpuError> {
        let Shared { gpu, config, .. } = *self.shared;
        let (dim, epsilon) = (config.hidden, config.norm_epsilon);
        let args = ops::RmsNorm { x, weight, y: &self.scratch.normed, count: self.batch.count, dim, epsilon };
        Ok(Step::Run(ops::rms_norm(gpu, args)?))
    }

    /// Adds the gradient through a norm, which lies in `normed_gradient`, to that of the residual stream.
    fn norm_back(&self, x: &Buffer, weight: &Buffer) -> Result<Step, GpuError> {
        let Shared { gpu, config, .. } = *self.shared;
        Ok(Step::Run(ops::rms_norm_backward(
            gpu,
            ops::RmsNormBackward {
                x,
                weight,
                dy: &self.scratch.normed_gradient,
                dx: &self.scratch.stream_gradient,
                count: self.batch.count,
                dim: config.hidden,
                epsilon: config.norm_epsilon,
                accumulate: true,
            },
        )?))
    }

    /// dB of a group's sites, and the gradient of A x in `low_rank_gradient`.
    fn site_gradients(
        &self,
        steps: &mut Vec<Step>,
        index: usize,
        group: Group,
        layer: &Layer,
        dy: &Buffer,
    ) -> Result<(), GpuError> {
        let Shared { gpu, config, .. } = *self.shared;
        let sites = self.adapter.sites.group(index, group);
        let Some(low_rank) = &layer.low_rank[group as usize] else { return Ok(()) };
        let rank = self.adapter.sites.rank;
        let RowsOf { rows, sequences, count, .. } = self.batch;
        for (i, site) in sites.iter().enumerate() {
            let site = ops::LoraSite {
                dy,
                rows,
                sequences,
                count,
                outputs: site.outputs,
                rank,
                dy_stride: group.outputs(config),
                dy_offset: site.projection.offset_in_group(config),
                u_stride: sites.len() * rank,
                u_offset: i * rank,
                b_offset: site.b_offset,
            };
            let (b, du) = (&self.adapter.b, &self.scratch.low_rank_gradient);
            steps.push(Step::Run(ops::lora_backward_u(gpu, site, b, self.adapter.sites.b_len, du)?));
            steps.push(Step::Run(ops::lora_backward_b(gpu, site, low_rank, self.gradient)?));
        }
        Ok(())
    }

    /// dx = Wᵀ dy + Aᵀ (gradient of A x).
    fn project_back(
        &self,
        steps: &mut Vec<Step>,
        index: usize,
        group: Group,
        parts: &[Part],
        dy: &Buffer,
        dx: &Buffer,
    ) -> Result<(), GpuError> {
        let Shared { gpu, config, .. } = *self.shared;
        for (i, part) in parts.iter().enumerate() {
            steps.push(Step::Run(ops::matmul_transposed(
                gpu,
                ops::MatmulTransposed {
                    dy,
                    weight: &part.weight,
                    dx,
                    count: self.batch.count,
                    dy_stride: group.outputs(config),
                    dy_offset: part.offset,
                    accumulate: i > 0,
                },
            )?));
        }
        let sites = self.adapter.sites.group(index, group);
        if let Some(first) = sites.first() {
            steps.push(Step::Run(ops::lora_backward_x(
                gpu,
                ops::LoraBackwardX {
                    du: &self.scratch.low_rank_gradient,
                    a: &self.adapter.a,
                    a_offset: first.a_offset,
                    dx,
                    count: self.batch.count,
                    stack: sites.len() * self.adapter.sites.rank,
                    k: first.inputs,
                },
            )?));
        }
        Ok(())
    }
}
