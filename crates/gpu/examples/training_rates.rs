//! Rate of every training kernel on this machine at the sizes of SmolLM2-135M:
//! `cargo run --example training_rates -p tmem-gpu [part of a kernel's name]`.
//!
//! Prints milliseconds and GFLOP/s by the wall clock, best of several runs, and how long the kernel took to build.
#![allow(clippy::unwrap_used, missing_docs, reason = "a measuring tool: whatever fails should stop it")]

use std::time::Instant;

use tmem_gpu::ops::{
    AdamWSettings, Attention, AttentionBackward, CrossEntropy, Gram, KlDivergence, LoraBackwardX, LoraSite,
    MatmulTransposed, OptimizerBuffers, OptimizerStep, RmsNorm, RmsNormBackward, RopeBackward, SwigluBackward, adamw,
    attention, attention_backward, cross_entropy, gradient_norm, gram, kl_divergence, lora_backward_b, lora_backward_u,
    lora_backward_x, matmul_transposed, rms_norm, rms_norm_backward, rope_backward, swiglu, swiglu_backward,
};
use tmem_gpu::{Buffer, Dispatch, Gpu, GpuOptions, Result, Row, Sequence, Weight, WeightFormat};

/// Packed rows of a step: 16 cards of 51 tokens.
const ROWS: usize = 816;
/// Rows with a loss.
const LOSS_ROWS: usize = 192;
const HIDDEN: usize = 576;
const FFN: usize = 1536;
const VOCAB: usize = 49152;
const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const HEAD: usize = 64;
const RANK: usize = 6;
/// Rows of the shared prefix, and of each card after it.
const PREFIX: usize = 32;
const CARD: usize = 49;
/// Adapted layers, and the elements of B in each.
const LAYERS: usize = 8;
const LAYER_B: usize = (2 * FFN + HIDDEN) * RANK;

struct Bench {
    gpu: Gpu,
    wanted: Option<String>,
}

fn main() {
    let gpu = pollster::block_on(Gpu::request(&GpuOptions::default())).unwrap();
    println!("{} ({:?})", gpu.info().name, gpu.kind());
    let bench = Bench { gpu, wanted: std::env::args().nth(1) };
    for format in WeightFormat::ALL {
        bench.linear("gate_up", ROWS, 2 * FFN, HIDDEN, format);
    }
    bench.linear("down", ROWS, HIDDEN, FFN, WeightFormat::Q4);
    bench.linear("head", LOSS_ROWS, VOCAB, HIDDEN, WeightFormat::Q8);
    bench.loss();
    bench.attention();
    bench.elementwise();
    bench.adapters();
    bench.optimizer();
}

impl Bench {
    fn floats(&self, words: usize) -> Buffer {
        let data: Vec<f32> = (0..words).map(|i| (i as f32 * 0.37).sin()).collect();
        self.gpu.storage_from("data", &data).unwrap()
    }

    fn count(&self, rows: usize) -> Buffer {
        self.gpu.uniform("count", &[rows as u32, 1, 0, 0]).unwrap()
    }

    fn linear(&self, name: &str, rows: usize, n: usize, k: usize, format: WeightFormat) {
        let name = format!("matmul_transposed {name} {format:?}");
        self.measure(&name, rows, 2.0 * (rows * n * k) as f64, |gpu| {
            let args = MatmulTransposed {
                dy: &self.floats(rows * n),
                weight: &Weight::new(gpu, "weight", format, n, k)?,
                dx: &self.floats(rows * k),
                count: &self.count(rows),
                dy_stride: n,
                dy_offset: 0,
                accumulate: false,
            };
            Ok(vec![matmul_transposed(gpu, args)?])
        });
    }

    fn loss(&self) {
        let elements = (LOSS_ROWS * VOCAB) as f64;
        let (logits, base) = (self.floats(LOSS_ROWS * VOCAB), self.floats(LOSS_ROWS * VOCAB));
        let (a, b, c) = (self.floats(LOSS_ROWS), self.floats(LOSS_ROWS), self.floats(LOSS_ROWS));
        self.measure("cross_entropy", LOSS_ROWS, 10.0 * elements, |gpu| {
            let targets = gpu.storage("targets", LOSS_ROWS)?;
            let args = CrossEntropy {
                logits: &logits,
                targets: &targets,
                weights: &a,
                loss: &b,
                probability: &c,
                vocab: VOCAB,
                threshold: None,
            };
            Ok(vec![cross_entropy(gpu, args)?])
        });
        self.measure("kl_divergence", LOSS_ROWS, 12.0 * elements, |gpu| {
            let args = KlDivergence { logits: &logits, base: &base, weights: &a, loss: &b, vocab: VOCAB };
            Ok(vec![kl_divergence(gpu, args)?])
        });
    }

    /// Rows, sequences and the last row that sees each key.
    fn batch(&self) -> [Buffer; 3] {
        let (mut rows, mut sequences, mut query_end) = (vec![], vec![Sequence::new(0)], vec![]);
        for t in 0..ROWS as u32 {
            let (prefix, card) = (PREFIX as u32, CARD as u32);
            if t < prefix {
                rows.push(Row { position: t, slot: 1, ..Row::default() });
                query_end.push(ROWS as u32);
                continue;
            }
            let start = prefix + (t - prefix) / card * card;
            if t == start {
                sequences.push(Sequence { prefix_start: 0, prefix_length: prefix, start, gate: 1.0 });
            }
            rows.push(Row { position: prefix + t - start, sequence: sequences.len() as u32 - 1, slot: 1, token: 0 });
            query_end.push((start + card).min(ROWS as u32));
        }
        let gpu = &self.gpu;
        [
            gpu.storage_from("rows", &rows).unwrap(),
            gpu.storage_from("sequences", &sequences).unwrap(),
            gpu.storage_from("query_end", &query_end).unwrap(),
        ]
    }

    fn attention(&self) {
        let [rows, sequences, query_end] = self.batch();
        let qkv = (HEADS + 2 * KV_HEADS) * HEAD;
        let seen = PREFIX as f64 + CARD as f64 / 2.0;
        let product = 2.0 * ROWS as f64 * seen * (HEADS * HEAD) as f64;
        self.measure("attention, with log-sum-exp", ROWS, 2.0 * product, |gpu| {
            let args = Attention {
                qkv: &self.floats(ROWS * qkv),
                cache: &self.floats(ROWS * 2 * KV_HEADS * HEAD),
                rows: &rows,
                sequences: &sequences,
                out: &self.floats(ROWS * HEADS * HEAD),
                lse: Some(&self.floats(ROWS * HEADS)),
                spans: None,
                count: &self.count(ROWS),
                max_rows: ROWS,
                heads: HEADS,
                kv_heads: KV_HEADS,
                head_dim: HEAD,
            };
            Ok(vec![attention(gpu, args)?])
        });
        for (part, name) in ["prepare", "queries", "keys"].into_iter().enumerate() {
            self.measure(&format!("attention_backward {name}"), ROWS, product * [0.0, 3.0, 4.0][part], |gpu| {
                let args = AttentionBackward {
                    qkv: &self.floats(ROWS * qkv),
                    kv: &self.floats(ROWS * 2 * KV_HEADS * HEAD),
                    lse: &self.floats(ROWS * HEADS),
                    o: &self.floats(ROWS * HEADS * HEAD),
                    upstream: &self.floats(ROWS * HEADS * HEAD),
                    rows: &rows,
                    sequences: &sequences,
                    query_end: &query_end,
                    stats: &self.floats(ROWS * HEADS * 2),
                    dqkv: &self.floats(ROWS * qkv),
                    count: &self.count(ROWS),
                    heads: HEADS,
                    kv_heads: KV_HEADS,
                    head_dim: HEAD,
                    scale: 0.125,
                };
                Ok(vec![attention_backward(gpu, args)?[part].clone()])
            });
        }
    }

    fn elementwise(&self) {
        let (count, wide, narrow) = (self.count(ROWS), self.floats(ROWS * 2 * FFN), self.floats(ROWS * FFN));
        self.measure("swiglu_backward", ROWS, 12.0 * (ROWS * FFN) as f64, |gpu| {
            let d_gate_up = self.floats(ROWS * 2 * FFN);
            let args = SwigluBackward { gate_up: &wide, dh: &narrow, d_gate_up: &d_gate_up, ffn: FFN };
            Ok(vec![swiglu_backward(gpu, args)?])
        });
        self.measure("rms_norm_backward", ROWS, 10.0 * (ROWS * HIDDEN) as f64, |gpu| {
            let args = RmsNormBackward {
                x: &wide,
                weight: &self.floats(HIDDEN),
                dy: &narrow,
                dx: &self.floats(ROWS * HIDDEN),
                count: &count,
                dim: HIDDEN,
                epsilon: 1e-5,
                accumulate: true,
            };
            Ok(vec![rms_norm_backward(gpu, args)?])
        });
        let [rows, ..] = self.batch();
        let width = (HEADS + 2 * KV_HEADS) * HEAD;
        self.measure("rope_backward", ROWS, 3.0 * (ROWS * (HEADS + KV_HEADS) * HEAD) as f64, |gpu| {
            let args = RopeBackward {
                rows: &rows,
                dqkv: &self.floats(ROWS * width),
                table: &self.floats((PREFIX + CARD) * HEAD),
                heads: HEADS,
                kv_heads: KV_HEADS,
                head_dim: HEAD,
                interleaved: true,
            };
            Ok(vec![rope_backward(gpu, args)?])
        });
        self.measure("rms_norm", ROWS, 4.0 * (ROWS * HIDDEN) as f64, |gpu| {
            let (weight, y) = (self.floats(HIDDEN), self.floats(ROWS * HIDDEN));
            let args = RmsNorm { x: &wide, weight: &weight, y: &y, count: &count, dim: HIDDEN, epsilon: 1e-5 };
            Ok(vec![rms_norm(gpu, args)?])
        });
        self.measure("swiglu", ROWS, 5.0 * (ROWS * FFN) as f64, |gpu| {
            Ok(vec![swiglu(gpu, &wide, &self.floats(ROWS * FFN), FFN)?])
        });
    }

    fn adapters(&self) {
        let [rows, sequences, _] = self.batch();
        let (count, dy, u) = (self.count(ROWS), self.floats(ROWS * 2 * FFN), self.floats(ROWS * 2 * RANK));
        let (b, db) = (self.floats(LAYER_B), self.floats(LAYER_B));
        let site = LoraSite {
            dy: &dy,
            rows: &rows,
            sequences: &sequences,
            count: &count,
            outputs: FFN,
            rank: RANK,
            dy_stride: 2 * FFN,
            dy_offset: FFN,
            u_stride: 2 * RANK,
            u_offset: RANK,
            b_offset: 0,
        };
        let flop = 2.0 * (ROWS * FFN * RANK) as f64;
        self.measure("lora_backward_u", ROWS, flop, |gpu| Ok(vec![lora_backward_u(gpu, site, &b, LAYER_B, &u)?]));
        self.measure("lora_backward_b", ROWS, flop, |gpu| Ok(vec![lora_backward_b(gpu, site, &u, &db)?]));
        self.measure("lora_backward_x", ROWS, 4.0 * (ROWS * HIDDEN * RANK) as f64, |gpu| {
            let args = LoraBackwardX {
                du: &u,
                a: &self.floats(2 * RANK * HIDDEN),
                a_offset: 0,
                dx: &self.floats(ROWS * HIDDEN),
                count: &count,
                stack: 2 * RANK,
                k: HIDDEN,
            };
            Ok(vec![lora_backward_x(gpu, args)?])
        });
    }

    fn optimizer(&self) {
        let length = LAYERS * LAYER_B;
        let (gradient, parameters) = (self.floats(length), self.floats(length));
        let norm = self.gpu.storage("norm", 2).unwrap();
        self.measure("gradient_norm", 1, 2.0 * length as f64, |gpu| {
            Ok(vec![gradient_norm(gpu, &gradient, length, &norm)?])
        });
        self.measure("adamw", 1, 12.0 * length as f64, |gpu| {
            let settings =
                AdamWSettings { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
            let step = gpu.uniform("step", &OptimizerStep::adamw(&settings, 1, 0, None))?;
            let buffers =
                OptimizerBuffers { gradient: &gradient, parameters: &parameters, norm: &norm, step: &step, length };
            Ok(vec![adamw(gpu, buffers, &self.floats(length), &self.floats(length))?])
        });
        self.measure("gram", 1, 2.0 * (length * RANK) as f64, |gpu| {
            let (mut sites, mut offset) = (vec![], 0);
            for outputs in [FFN, FFN, HIDDEN].repeat(LAYERS) {
                sites.push([offset as u32, outputs as u32]);
                offset += outputs * RANK;
            }
            let args = Gram {
                b: &parameters,
                sites: &gpu.storage_from("sites", &sites)?,
                gram: &gpu.storage("gram", sites.len() * RANK * RANK)?,
                count: &self.count(1),
                site_count: sites.len(),
                rank: RANK,
                slot_stride: length,
            };
            Ok(vec![gram(gpu, args)?])
        });
    }

    fn measure(&self, name: &str, rows: usize, flop: f64, build: impl Fn(&Gpu) -> Result<Vec<Dispatch>>) {
        if self.wanted.as_ref().is_some_and(|w| !name.contains(w.as_str())) {
            return;
        }
        let start = Instant::now();
        let dispatches = build(&self.gpu).unwrap();
        let compiled = start.elapsed().as_secs_f64();
        let run = || {
            let start = Instant::now();
            let mut commands = self.gpu.commands("measure");
            dispatches.iter().for_each(|dispatch| commands.dispatch(dispatch, rows as u32));
            commands.submit();
            pollster::block_on(self.gpu.finish()).unwrap();
            start.elapsed().as_secs_f64()
        };
        run();
        let seconds = (0..4).map(|_| run()).fold(f64::INFINITY, f64::min);
        let rate = flop / seconds / 1e9;
        println!("{name:<36} {:>9.2} ms {rate:>7.2} GFLOP/s, built in {compiled:.2} s", seconds * 1e3);
    }
}
