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
use tmem_gpu::ops::{Matmul, matmul, projection_norms};
use tmem_gpu::{Buffer, Dispatch, Gpu, Row, Sequence, Weight};

use super::decoding::Form;
use super::measure::{PAIR_TOKENS, PAIRS};

mod forward;
mod training;

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

    /// Rows of one sequence, all under the same adapter.
    fn one_sequence(&self, rows: usize) -> Result<(Buffer, Buffer)> {
        let list: Vec<Row> = (0..rows).map(|i| Row { position: i as u32, slot: 1, ..Row::default() }).collect();
        Ok((self.gpu.storage_from("rows", &list)?, self.gpu.storage_from("sequences", &[Sequence::new(0)])?))
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
