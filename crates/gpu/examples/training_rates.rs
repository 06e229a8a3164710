//! Rate of every training kernel on this machine at the sizes of SmolLM2-135M:
//! `cargo run --example training_rates -p tmem-gpu [part of a kernel's name]`.
//!
//! Prints milliseconds and GFLOP/s by the wall clock, best of several runs.
#![allow(clippy::unwrap_used, missing_docs, reason = "a measuring tool: whatever fails should stop it")]

use std::time::Instant;

use tmem_gpu::ops::{MatmulTransposed, matmul_transposed};
use tmem_gpu::{Buffer, Dispatch, Gpu, GpuOptions, Weight, WeightFormat};

/// Packed rows of a step: 16 cards of 51 tokens.
const ROWS: usize = 816;
/// Rows with a loss.
const LOSS_ROWS: usize = 192;
const HIDDEN: usize = 576;
const FFN: usize = 1536;
const VOCAB: usize = 49152;

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
                weight: &Weight::new(gpu, "weight", format, n, k).unwrap(),
                dx: &self.floats(rows * k),
                count: &self.count(rows),
                dy_stride: n,
                dy_offset: 0,
                accumulate: false,
            };
            matmul_transposed(gpu, args).unwrap()
        });
    }

    fn measure(&self, name: &str, rows: usize, flop: f64, build: impl Fn(&Gpu) -> Dispatch) {
        if self.wanted.as_ref().is_some_and(|w| !name.contains(w.as_str())) {
            return;
        }
        let dispatch = build(&self.gpu);
        let run = || {
            let start = Instant::now();
            let mut commands = self.gpu.commands("measure");
            commands.dispatch(&dispatch, rows as u32);
            commands.submit();
            pollster::block_on(self.gpu.finish()).unwrap();
            start.elapsed().as_secs_f64()
        };
        run();
        let seconds = (0..4).map(|_| run()).fold(f64::INFINITY, f64::min);
        println!("{name:<40} {:>9.2} ms {:>8.2} GFLOP/s", seconds * 1e3, flop / seconds / 1e9);
    }
}
