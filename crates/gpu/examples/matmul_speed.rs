//! Speed of every matmul variant on this machine: `cargo run --example matmul_speed -p tmem-gpu [adapter]`.
//! Prints GFLOP/s (2·rows·n·k operations) and milliseconds per call, best of several, for the shapes of a small model.
#![allow(clippy::unwrap_used, missing_docs, reason = "a measuring tool: whatever fails should stop it")]

use std::time::Instant;

use tmem_gpu::ops::{Matmul, MatmulVariant, matmul_as};
use tmem_gpu::{Gpu, GpuOptions, Weight, WeightFormat};

fn main() {
    let options = GpuOptions { adapter: std::env::args().nth(1), ..GpuOptions::default() };
    let gpu = pollster::block_on(Gpu::request(&options)).unwrap();
    println!("{} ({:?})", gpu.info().name, gpu.kind());
    println!("{:>5} {:>6} {:>5} {:>4} {:>22} {:>9} {:>9}", "rows", "n", "k", "", "variant", "GFLOP/s", "ms");
    for (rows, n, k) in [
        (1, 24, 576),
        (1, 1536, 576),
        (1, 576, 1536),
        (1, 49152, 576),
        (8, 1536, 576),
        (512, 24, 576),
        (512, 1536, 576),
    ] {
        for format in WeightFormat::ALL {
            for variant in MatmulVariant::ALL {
                let emulated_tile = variant.is_for_gpus() && gpu.kind() == tmem_gpu::AdapterKind::Cpu;
                let weight = Weight::new(&gpu, "weight", format, n, k).unwrap();
                if emulated_tile || !variant.runs_on(&gpu, &weight, 0) {
                    continue; // a tile by workgroup takes an emulated adapter seconds a call
                }
                let seconds = measure(&gpu, rows, &weight, variant);
                let flops = 2.0 * (rows * n * k) as f64;
                println!(
                    "{rows:>5} {n:>6} {k:>5} {format:>4?} {:>22} {:>9.2} {:>9.3}",
                    format!("{variant:?}"),
                    flops / seconds / 1e9,
                    seconds * 1e3
                );
            }
        }
    }
}

fn measure(gpu: &Gpu, rows: usize, weight: &Weight, variant: MatmulVariant) -> f64 {
    let Weight { outputs: n, inputs: k, .. } = *weight;
    let x = gpu.storage_from("x", &vec![1.0f32; rows * k]).unwrap();
    let y = gpu.storage("y", rows * n).unwrap();
    let count = gpu.uniform("count", &[rows as u32, 0, 0, 0]).unwrap();
    let args = Matmul::new(&x, weight, &y, (&count, rows));
    let dispatch = matmul_as(gpu, args, variant).unwrap();
    let calls = if rows > 8 || n > 10_000 { 1 } else { 20 };
    let run = || {
        let start = Instant::now();
        let mut commands = gpu.commands("measure");
        (0..calls).for_each(|_| commands.dispatch(&dispatch, rows as u32));
        commands.submit();
        pollster::block_on(gpu.finish()).unwrap();
        start.elapsed().as_secs_f64() / f64::from(calls)
    };
    run();
    (0..5).map(|_| run()).fold(f64::INFINITY, f64::min)
}
