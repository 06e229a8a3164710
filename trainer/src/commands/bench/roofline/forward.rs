//! Kernels of a forward pass that are not products with weights.

use anyhow::Result;
use tmem_core::model::ModelConfig;
use tmem_gpu::ops::{Attention, LoraDown, LoraUp, RmsNorm, attention, lora_down, lora_up, rms_norm, swiglu};
use tmem_gpu::{Row, Sequence};

use super::{BEHIND, Bench, Case};

impl Bench<'_> {
    /// Rows of `sequences` sequences: one prompt from its beginning, or the next token of each behind [`BEHIND`] others.
    fn rows(&self, rows: usize, sequences: usize) -> (Vec<Row>, Vec<Sequence>) {
        let behind = if sequences == 1 { 0 } else { BEHIND as u32 };
        let row = |i: usize| match sequences {
            1 => Row { position: i as u32, ..Row::default() },
            _ => Row { position: behind, sequence: i as u32, slot: 1, ..Row::default() },
        };
        let starts = (0..sequences as u32).map(|i| Sequence::new(i * (behind + 1)));
        ((0..rows).map(row).collect(), starts.collect())
    }

    pub(super) fn attention(&self, name: &str, rows: usize, sequences: usize) -> Result<Case> {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.config;
        let (list, starts) = self.rows(rows, sequences);
        let keys: usize = list.iter().map(|row| row.position as usize + 1).sum();
        let held = if sequences == 1 { rows } else { sequences * (BEHIND + 1) };
        let (width, kv) = ((heads + 2 * kv_heads) * head_dim, 2 * kv_heads * head_dim);
        let (qkv, cache) = (self.floats("qkv", rows * width)?, self.floats("cache", held * kv)?);
        let (list, starts) = (self.gpu.storage_from("rows", &list)?, self.gpu.storage_from("sequences", &starts)?);
        let (out, count) = (self.gpu.storage("out", rows * heads * head_dim)?, self.count(rows)?);
        let args = Attention {
            qkv: &qkv,
            cache: &cache,
            rows: &list,
            sequences: &starts,
            out: &out,
            lse: None,
            spans: None,
            count: &count,
            max_rows: rows,
            heads,
            kv_heads,
            head_dim,
        };
        Ok(Case {
            name: format!("{name}, {rows} rows, {} keys each on average", keys / rows),
            rows,
            dispatches: vec![attention(self.gpu, args)?],
            operations: 4.0 * (keys * heads * head_dim) as f64,
            bytes: 4.0 * (2 * rows * heads * head_dim + held * kv) as f64,
        })
    }

    pub(super) fn norm(&self, name: &str, rows: usize) -> Result<Case> {
        let dim = self.config.hidden;
        let (x, weight, y) =
            (self.floats("x", rows * dim)?, self.floats("w", dim)?, self.gpu.storage("y", rows * dim)?);
        let count = self.count(rows)?;
        let args = RmsNorm { x: &x, weight: &weight, y: &y, count: &count, dim, epsilon: 1e-5 };
        Ok(Case {
            name: format!("{name}, {rows} x {dim}"),
            rows,
            dispatches: vec![rms_norm(self.gpu, args)?],
            operations: 4.0 * (rows * dim) as f64,
            bytes: 8.0 * (rows * dim) as f64,
        })
    }

    pub(super) fn swiglu(&self, name: &str, rows: usize) -> Result<Case> {
        let ffn = self.config.ffn;
        let (gate_up, h) = (self.floats("gate_up", rows * 2 * ffn)?, self.gpu.storage("h", rows * ffn)?);
        Ok(Case {
            name: format!("{name}, {rows} x {ffn}"),
            rows,
            dispatches: vec![swiglu(self.gpu, &gate_up, &h, ffn)?],
            operations: 5.0 * (rows * ffn) as f64,
            bytes: 12.0 * (rows * ffn) as f64,
        })
    }

    /// Down and up of the sites at gate and up.
    pub(super) fn lora(&self, what: &str, rows: usize) -> Result<Vec<Case>> {
        let (rank, inputs, outputs) = (self.rank, self.config.hidden, self.config.ffn);
        let stack = 2 * rank;
        let (list, starts) = self.one_sequence(rows)?;
        let (x, a, u) =
            (self.floats("x", rows * inputs)?, self.floats("a", stack * inputs)?, self.floats("u", rows * stack)?);
        let (b, y) = (self.floats("b", outputs * rank)?, self.floats("y", rows * outputs)?);
        let count = self.count(rows)?;
        let down = LoraDown { x: &x, a: &a, a_offset: 0, stack, inputs, u: &u, count: &count, max_rows: rows };
        let up = LoraUp {
            rows: &list,
            sequences: &starts,
            count: &count,
            u: &u,
            u_stride: stack,
            u_offset: 0,
            b: &b,
            b_offset: 0,
            slot_stride: outputs * rank,
            rank,
            outputs,
            y: &y,
            y_stride: outputs,
            y_offset: 0,
        };
        Ok(vec![
            Case {
                name: format!("{what}: LoRA down, {rows} x {stack} x {inputs}"),
                rows,
                dispatches: vec![lora_down(self.gpu, down)?],
                operations: 2.0 * (rows * stack * inputs) as f64,
                bytes: 4.0 * (rows * (inputs + stack) + stack * inputs) as f64,
            },
            Case {
                name: format!("{what}: LoRA up, {rows} x {outputs} x {rank}"),
                rows,
                dispatches: vec![lora_up(self.gpu, up)?],
                operations: 2.0 * (rows * rank * outputs) as f64,
                bytes: 4.0 * (rows * (rank + 2 * outputs) + rank * outputs) as f64,
            },
        ])
    }
}
