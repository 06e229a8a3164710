//! Kernels of a training step's backward pass, its losses and its optimizer.

use anyhow::Result;
use tmem_core::model::ModelConfig;
use tmem_gpu::ops::{
    AdamWSettings, AttentionBackward, CrossEntropy, LoraSite, MatmulTransposed, OptimizerBuffers, OptimizerStep,
    RmsNormBackward, SwigluBackward, adamw, attention_backward, cross_entropy, gradient_norm, lora_backward_b,
    lora_backward_u, matmul_transposed, rms_norm_backward, swiglu_backward,
};
use tmem_gpu::{Row, Sequence, Weight};

use super::{Bench, Case, PAIR_TOKENS};

impl Bench<'_> {
    pub(super) fn transposed(&self, name: &str, rows: usize, weight: &Weight) -> Result<Case> {
        let Weight { outputs: n, inputs: k, format, .. } = *weight;
        let (dy, dx, count) = (self.floats("dy", rows * n)?, self.gpu.storage("dx", rows * k)?, self.count(rows)?);
        let args =
            MatmulTransposed { dy: &dy, weight, dx: &dx, count: &count, dy_stride: n, dy_offset: 0, accumulate: false };
        Ok(Case {
            name: format!("{name}, {rows} x {k} x {n}"),
            rows,
            dispatches: vec![matmul_transposed(self.gpu, args)?],
            operations: 2.0 * (rows * n * k) as f64,
            bytes: format.bytes(n, k) as f64 + 4.0 * (rows * (n + k)) as f64,
        })
    }

    pub(super) fn attention_backward(&self, name: &str, rows: usize) -> Result<Case> {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.config;
        let (width, kv, out) = ((heads + 2 * kv_heads) * head_dim, 2 * kv_heads * head_dim, heads * head_dim);
        let row = |i: usize| Row {
            position: (i % PAIR_TOKENS) as u32,
            sequence: (i / PAIR_TOKENS) as u32,
            slot: 1,
            ..Row::default()
        };
        let list: Vec<Row> = (0..rows).map(row).collect();
        let starts: Vec<_> = (0..rows.div_ceil(PAIR_TOKENS)).map(|i| Sequence::new((i * PAIR_TOKENS) as u32)).collect();
        let ends: Vec<u32> = (0..rows).map(|i| ((i / PAIR_TOKENS + 1) * PAIR_TOKENS) as u32).collect();
        let keys: usize = list.iter().map(|row| row.position as usize + 1).sum();
        let floats = |name, count| self.floats(name, count);
        let (qkv, kv_buffer, lse) =
            (floats("qkv", rows * width)?, floats("kv", rows * kv)?, floats("lse", rows * heads)?);
        let (o, upstream) = (floats("o", rows * out)?, floats("upstream", rows * out)?);
        let (list, starts) = (self.gpu.storage_from("rows", &list)?, self.gpu.storage_from("sequences", &starts)?);
        let (ends, count) = (self.gpu.storage_from("query_end", &ends)?, self.count(rows)?);
        let (stats, dqkv) = (self.gpu.storage("stats", rows * 2 * heads)?, self.gpu.storage("dqkv", rows * width)?);
        let args = AttentionBackward {
            qkv: &qkv,
            kv: &kv_buffer,
            lse: &lse,
            o: &o,
            upstream: &upstream,
            rows: &list,
            sequences: &starts,
            query_end: &ends,
            stats: &stats,
            dqkv: &dqkv,
            count: &count,
            heads,
            kv_heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
        };
        Ok(Case {
            name: format!("{name}, {rows} rows, {} keys each on average", keys / rows),
            rows,
            dispatches: attention_backward(self.gpu, args)?.to_vec(),
            // Scores again, and four products of the size of one.
            operations: 10.0 * (keys * heads * head_dim) as f64,
            bytes: 4.0 * (rows * (2 * width + kv + 2 * out + 3 * heads)) as f64,
        })
    }

    pub(super) fn norm_backward(&self, name: &str, rows: usize) -> Result<Case> {
        let dim = self.config.hidden;
        let (x, weight, dy) = (self.floats("x", rows * dim)?, self.floats("w", dim)?, self.floats("dy", rows * dim)?);
        let (dx, count) = (self.gpu.storage("dx", rows * dim)?, self.count(rows)?);
        let args = RmsNormBackward {
            x: &x,
            weight: &weight,
            dy: &dy,
            dx: &dx,
            count: &count,
            dim,
            epsilon: 1e-5,
            accumulate: true,
        };
        Ok(Case {
            name: format!("{name}, {rows} x {dim}"),
            rows,
            dispatches: vec![rms_norm_backward(self.gpu, args)?],
            operations: 10.0 * (rows * dim) as f64,
            bytes: 16.0 * (rows * dim) as f64,
        })
    }

    pub(super) fn swiglu_backward(&self, name: &str, rows: usize) -> Result<Case> {
        let ffn = self.config.ffn;
        let (gate_up, dh) = (self.floats("gate_up", rows * 2 * ffn)?, self.floats("dh", rows * ffn)?);
        let d_gate_up = self.gpu.storage("d_gate_up", rows * 2 * ffn)?;
        let args = SwigluBackward { gate_up: &gate_up, dh: &dh, d_gate_up: &d_gate_up, ffn };
        Ok(Case {
            name: format!("{name}, {rows} x {ffn}"),
            rows,
            dispatches: vec![swiglu_backward(self.gpu, args)?],
            operations: 12.0 * (rows * ffn) as f64,
            bytes: 20.0 * (rows * ffn) as f64,
        })
    }

    pub(super) fn lora_backward(&self, what: &str, rows: usize) -> Result<Vec<Case>> {
        let (rank, outputs) = (self.rank, self.config.ffn);
        let (list, starts) = self.one_sequence(rows)?;
        let (dy, b) = (self.floats("dy", rows * outputs)?, self.floats("b", outputs * rank)?);
        let (u, du) = (self.floats("u", rows * rank)?, self.gpu.storage("du", rows * rank)?);
        let (db, count) = (self.gpu.storage("db", outputs * rank)?, self.count(rows)?);
        let site = LoraSite {
            dy: &dy,
            rows: &list,
            sequences: &starts,
            count: &count,
            outputs,
            rank,
            dy_stride: outputs,
            dy_offset: 0,
            u_stride: rank,
            u_offset: 0,
            b_offset: 0,
        };
        let case = |name: &str, dispatch| Case {
            name: format!("{what}: {name}, {rows} x {outputs} x {rank}"),
            rows,
            dispatches: vec![dispatch],
            operations: 2.0 * (rows * rank * outputs) as f64,
            bytes: 4.0 * (rows * (rank + outputs) + rank * outputs) as f64,
        };
        let by_u = lora_backward_u(self.gpu, site, &b, outputs * rank, &du)?;
        let by_b = lora_backward_b(self.gpu, site, &u, &db)?;
        Ok(vec![case("LoRA backward to A x", by_u), case("LoRA gradient of B", by_b)])
    }

    pub(super) fn cross_entropy(&self, name: &str, rows: usize) -> Result<Case> {
        let vocab = self.config.vocab;
        let (logits, targets) = (self.floats("logits", rows * vocab)?, self.gpu.storage("targets", rows)?);
        let (weights, loss) = (self.floats("weights", rows)?, self.gpu.storage("loss", rows)?);
        let probability = self.gpu.storage("probability", rows)?;
        let args = CrossEntropy {
            logits: &logits,
            targets: &targets,
            weights: &weights,
            loss: &loss,
            probability: &probability,
            vocab,
            threshold: None,
        };
        Ok(Case {
            name: format!("{name}, {rows} x {vocab}"),
            rows,
            dispatches: vec![cross_entropy(self.gpu, args)?],
            operations: 5.0 * (rows * vocab) as f64,
            bytes: 8.0 * (rows * vocab) as f64,
        })
    }

    /// All B of the engine in one step.
    pub(super) fn optimizer(&self, name: &str) -> Result<Case> {
        let sites = self.engine.sites().iter();
        let length: usize = sites.map(|site| site.projection.shape(self.config).1 * self.rank).sum();
        let floats = |name| self.floats(name, length);
        let (gradient, parameters, m, v) = (floats("gradient")?, floats("parameters")?, floats("m")?, floats("v")?);
        let norm = self.gpu.storage("norm", 2)?;
        let settings =
            AdamWSettings { learning_rate: 1e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let step = self.gpu.uniform("step", &OptimizerStep::adamw(&settings, 1, 0, None))?;
        let buffers =
            OptimizerBuffers { gradient: &gradient, parameters: &parameters, norm: &norm, step: &step, length };
        let dispatches = vec![gradient_norm(self.gpu, &gradient, length, &norm)?, adamw(self.gpu, buffers, &m, &v)?];
        Ok(Case {
            name: format!("{name}, {length} values"),
            rows: 1,
            dispatches,
            operations: 14.0 * length as f64,
            bytes: 32.0 * length as f64,
        })
    }
}
