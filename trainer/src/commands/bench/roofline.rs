//! Every kernel that matters, alone, at the shapes that the model gives it: arithmetic and bytes counted from those
//! shapes, beside the adapter's own best rate and bandwidth.
//!
//! Bytes are those that have to move if every input is read once and every output written once; caches may save more
//! than that, tiles that are read again cost more.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use tmem_core::engine::Engine;
use tmem_core::fast::Projection;
use tmem_core::model::ModelConfig;
use tmem_gpu::ops::{
    AdamWSettings, Attention, AttentionBackward, CrossEntropy, LoraDown, LoraSite, LoraUp, Matmul, MatmulTransposed,
    OptimizerBuffers, OptimizerStep, RmsNorm, RmsNormBackward, SwigluBackward, adamw, attention, attention_backward,
    cross_entropy, gradient_norm, lora_backward_b, lora_backward_u, lora_down, lora_up, matmul, matmul_transposed,
    projection_norms, rms_norm, rms_norm_backward, swiglu, swiglu_backward,
};
use tmem_gpu::{Buffer, Dispatch, Gpu, Row, Sequence, Weight};

use super::decoding::Form;
use super::measure::{PAIR_TOKENS, PAIRS};

/// Rows of a prompt.
const PROMPT: usize = 512;
/// Sequences that decode together, and the tokens that each has behind it.
const BATCH: usize = 8;
const BEHIND: usize = 512;
/// Rows whose logits are held at once in training.
const LOSSES: usize = 64;
/// Bytes that are copied to measure the bandwidth: more than any cache holds.
const COPIED: usize = 96 << 20;
/// Kernels are repeated until one measurement takes this long.
const LONG_ENOUGH: f64 = 0.05;

/// A kernel's figures.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Kernel {
    /// What it does, and at which shape.
    name: String,
    /// Seconds of one run.
    seconds: f64,
    /// Whether the adapter measured them itself.
    stamped: bool,
    /// Operations, in thousand millions.
    gflop: f64,
    /// Bytes that have to move, in thousand millions.
    gigabytes: f64,
    /// The time that the adapter would need at its best rate or bandwidth, whichever is slower, as a share of `seconds`.
    fraction: f64,
    /// Which of the two it is.
    bound: Bound,
}

/// What limits a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    Rate,
    Bandwidth,
}

/// The adapter's bests.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Ceiling {
    /// Operations a second, in thousand millions.
    pub(super) gflops: f64,
    /// Bytes a second, in thousand millions: a copy's reading and writing together.
    pub(super) gigabytes: f64,
}

/// Bytes a second that the adapter copies, reading and writing counted.
pub(super) async fn bandwidth(gpu: &Gpu, repetitions: usize) -> Result<f64> {
    let (from, to) = (gpu.storage("copy from", COPIED / 4)?, gpu.storage("copy to", COPIED / 4)?);
    let mut fastest = f64::INFINITY;
    for _ in 0..=repetitions {
        gpu.finish().await?;
        let began = Instant::now();
        let mut commands = gpu.commands("copy");
        commands.copy(&from, 0, &to, 0, COPIED as u64);
        commands.submit();
        gpu.finish().await?;
        fastest = fastest.min(began.elapsed().as_secs_f64());
    }
    Ok(2.0 * COPIED as f64 / fastest / 1e9)
}

/// A kernel to be measured.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) rows: usize,
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) operations: f64,
    pub(super) bytes: f64,
}

/// Measures all of them, the best of `repetitions` each.
pub(super) async fn all(engine: &Engine, ceiling: Ceiling, repetitions: usize) -> Result<Vec<Kernel>> {
    let bench = Bench::new(engine);
    let mut kernels = Vec::new();
    for case in bench.cases()? {
        eprintln!("measuring {}", case.name);
        kernels.push(measure(bench.gpu, case, ceiling, repetitions).await?);
    }
    Ok(kernels)
}

async fn measure(gpu: &Gpu, case: Case, ceiling: Ceiling, repetitions: usize) -> Result<Kernel> {
    let work: Vec<_> = case.dispatches.into_iter().map(|dispatch| (dispatch, case.rows as u32)).collect();
    let timed = async |times: usize| -> Result<(f64, bool)> {
        gpu.finish().await?;
        let began = Instant::now();
        let stamped = gpu.stamped(&work, times).await?;
        let passed = began.elapsed();
        Ok((stamped.unwrap_or(passed).as_secs_f64() / times as f64, stamped.is_some()))
    };
    let (first, _) = timed(1).await?;
    let (once, _) = timed(1).await?;
    let times = (LONG_ENOUGH / first.min(once).max(1e-7)).ceil().clamp(1.0, 1000.0) as usize;
    let (mut seconds, mut stamped) = (f64::INFINITY, false);
    for _ in 0..repetitions {
        let (this, by_stamps) = timed(times).await?;
        (seconds, stamped) = (seconds.min(this), by_stamps);
    }
    let (gflop, gigabytes) = (case.operations / 1e9, case.bytes / 1e9);
    let (by_rate, by_bandwidth) = (gflop / ceiling.gflops, gigabytes / ceiling.gigabytes);
    let bound = if by_rate > by_bandwidth { Bound::Rate } else { Bound::Bandwidth };
    let fraction = by_rate.max(by_bandwidth) / seconds;
    Ok(Kernel { name: case.name, seconds, stamped, gflop, gigabytes, fraction, bound })
}

/// Ordinary numbers: zeroes or denormals could be faster or slower than real ones.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| 0.1 * (i as f32 * 0.37).sin()).collect()
}

pub(super) struct Bench<'a> {
    pub(super) gpu: &'a Gpu,
    engine: &'a Engine,
    config: &'a ModelConfig,
    rank: usize,
}

impl<'a> Bench<'a> {
    fn new(engine: &'a Engine) -> Self {
        let (gpu, config) = (engine.gpu(), &engine.model().config);
        Self { gpu, engine, config, rank: engine.settings().fast.rank }
    }

    pub(super) fn floats(&self, name: &str, count: usize) -> Result<Buffer> {
        Ok(self.gpu.storage_from(name, &numbers(count))?)
    }

    pub(super) fn count(&self, rows: usize) -> Result<Buffer> {
        Ok(self.gpu.uniform("count", &[rows as u32, 1, 0, 0])?)
    }

    fn cases(&self) -> Result<Vec<Case>> {
        let training = PAIRS * PAIR_TOKENS;
        let weight = |projection| self.engine.model().weights.projection(0, projection, self.config).0;
        let (qkv, output) = (weight(Projection::QProj), weight(Projection::OProj));
        let (gate_up, down) = (weight(Projection::GateProj), weight(Projection::DownProj));
        let head = self.engine.model().weights.head_part();
        let mut cases = Vec::new();
        for (weight, name) in [(qkv, "q k v"), (output, "o"), (gate_up, "gate up"), (down, "down")] {
            cases.push(self.product(&format!("prefill: {name}"), PROMPT, weight)?);
        }
        for rows in [1, BATCH] {
            // The norm before them is in their launch where the device can.
            let normed = Form { normed: projection_norms(self.gpu), ..Form::default() };
            let swiglu = Form { swiglu: true, ..normed };
            let adapted = Form { rank: self.rank, ..swiglu };
            for (form, weight, name) in [
                (normed, qkv, "q k v"),
                (Form::default(), output, "o"),
                (swiglu, gate_up, "gate up, SwiGLU"),
                (adapted, gate_up, "gate up, LoRA, SwiGLU"),
                (Form::default(), down, "down"),
                (normed, head, "head"),
            ] {
                cases.push(self.projection(&format!("decode: {name}"), rows, weight, form)?);
            }
        }
        cases.push(self.attention("prefill: attention", PROMPT, 1)?);
        cases.push(self.attention("decode: attention", BATCH, BATCH)?);
        cases.push(self.norm("prefill: RMSNorm", PROMPT)?);
        cases.push(self.swiglu("prefill: SwiGLU", PROMPT)?);
        cases.extend(self.lora("step", training)?);
        for (weight, name) in [(qkv, "q k v"), (gate_up, "gate up"), (down, "down")] {
            cases.push(self.transposed(&format!("step: backward of {name}"), training, weight)?);
        }
        cases.push(self.transposed("step: backward of head", LOSSES, head)?);
        cases.push(self.attention_backward("step: backward of attention", training)?);
        cases.push(self.norm_backward("step: backward of RMSNorm", training)?);
        cases.push(self.swiglu_backward("step: backward of SwiGLU", training)?);
        cases.extend(self.lora_backward("step", training)?);
        cases.push(self.cross_entropy("step: cross entropy", LOSSES)?);
        cases.push(self.optimizer("step: norm and AdamW")?);
        Ok(cases)
    }

    fn product(&self, name: &str, rows: usize, weight: &Weight) -> Result<Case> {
        let Weight { outputs: n, inputs: k, format, .. } = *weight;
        let (x, y, count) = (self.floats("x", rows * k)?, self.gpu.storage("y", rows * n)?, self.count(rows)?);
        let args = Matmul::new(&x, weight, &y, (&count, rows));
        Ok(Case {
            name: format!("{name}, {rows} x {n} x {k}"),
            rows,
            dispatches: vec![matmul(self.gpu, args)?],
            operations: 2.0 * (rows * n * k) as f64,
            bytes: format.bytes(n, k) as f64 + 4.0 * (rows * (n + k)) as f64,
        })
    }

    fn transposed(&self, name: &str, rows: usize, weight: &Weight) -> Result<Case> {
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

    fn attention(&self, name: &str, rows: usize, sequences: usize) -> Result<Case> {
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

    fn attention_backward(&self, name: &str, rows: usize) -> Result<Case> {
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

    fn norm(&self, name: &str, rows: usize) -> Result<Case> {
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

    fn norm_backward(&self, name: &str, rows: usize) -> Result<Case> {
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

    fn swiglu(&self, name: &str, rows: usize) -> Result<Case> {
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

    fn swiglu_backward(&self, name: &str, rows: usize) -> Result<Case> {
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

    /// Rows of one sequence, all under the same adapter.
    fn one_sequence(&self, rows: usize) -> Result<(Buffer, Buffer)> {
        let list: Vec<Row> = (0..rows).map(|i| Row { position: i as u32, slot: 1, ..Row::default() }).collect();
        Ok((self.gpu.storage_from("rows", &list)?, self.gpu.storage_from("sequences", &[Sequence::new(0)])?))
    }

    /// Down and up of the sites at gate and up.
    fn lora(&self, what: &str, rows: usize) -> Result<Vec<Case>> {
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

    fn lora_backward(&self, what: &str, rows: usize) -> Result<Vec<Case>> {
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

    fn cross_entropy(&self, name: &str, rows: usize) -> Result<Case> {
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
    fn optimizer(&self, name: &str) -> Result<Case> {
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

/// The table.
pub(super) fn print(kernels: &[Kernel], ceiling: Ceiling) {
    println!("best rate {:.1} GFLOP/s, best bandwidth {:.1} GB/s", ceiling.gflops, ceiling.gigabytes);
    println!("{:58} {:>11} {:>9} {:>9} {:>9}  {:9}", "", "microsec.", "GFLOP/s", "GB/s", "roofline", "bound by");
    for kernel in kernels {
        let bound = if kernel.bound == Bound::Rate { "rate" } else { "bandwidth" };
        println!(
            "{:58} {:>11.1} {:>9.2} {:>9.2} {:>7.0} %  {bound}{}",
            kernel.name,
            kernel.seconds * 1e6,
            kernel.gflop / kernel.seconds,
            kernel.gigabytes / kernel.seconds,
            kernel.fraction * 100.0,
            if kernel.stamped { "" } else { " (by the clock)" }
        );
    }
}
