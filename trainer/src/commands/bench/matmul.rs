//! The adapter's own best f32 matrix product: the measure beside every other figure.

use std::time::Instant;

use anyhow::Result;
use tmem_gpu::ops::{Matmul, MatmulVariant, matmul_as};
use tmem_gpu::{AdapterKind, Gpu, Weight, WeightFormat};

/// (rows, outputs, inputs): the shapes of a prefill chunk, of a training batch, and a square one.
const SHAPES: [(usize, usize, usize); 4] = [(512, 1536, 576), (512, 3072, 576), (512, 576, 1536), (1024, 1024, 1024)];
/// Submits before the clock starts: pipelines are compiled and caches warm.
const WARM_UP: usize = 1;

/// The best rate found over shapes and variants.
#[derive(Debug, Clone)]
pub(crate) struct MatmulRate {
    /// Multiplications and additions a second, in thousand millions.
    pub(crate) gflops: f64,
    /// Where it was reached.
    pub(crate) shape: (usize, usize, usize),
    /// How.
    pub(crate) variant: MatmulVariant,
}

/// Measures every variant on every shape, each several times, and keeps the best.
pub(crate) async fn best_rate(gpu: &Gpu, repetitions: usize) -> Result<MatmulRate> {
    let mut best: Option<MatmulRate> = None;
    for shape in SHAPES {
        for variant in MatmulVariant::ALL {
            let Some(gflops) = rate(gpu, shape, variant, repetitions).await? else { continue };
            if best.as_ref().is_none_or(|best| gflops > best.gflops) {
                best = Some(MatmulRate { gflops, shape, variant });
            }
        }
    }
    best.ok_or_else(|| anyhow::anyhow!("no matrix product was measured"))
}

/// `None` for a variant that this device cannot run, or that would take it seconds and never be the best.
async fn rate(
    gpu: &Gpu,
    (rows, outputs, inputs): (usize, usize, usize),
    variant: MatmulVariant,
    repetitions: usize,
) -> Result<Option<f64>> {
    // Ordinary numbers: zeroes or denormals could be faster or slower than real ones.
    let numbers = |count: usize| (0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
    let weight = Weight::new(gpu, "bench weight", WeightFormat::F32, outputs, inputs)?;
    let emulated = gpu.kind() == AdapterKind::Cpu && variant.is_for_gpus();
    if emulated || !variant.runs_on(gpu, &weight, 0) {
        return Ok(None);
    }
    gpu.write(&weight.buffer, 0, &numbers(outputs * inputs));
    let x = gpu.storage_from("bench input", &numbers(rows * inputs))?;
    let y = gpu.storage("bench output", rows * outputs)?;
    let count = gpu.uniform("bench count", &[rows as u32, 0, 0, 0])?;
    let args = Matmul::new(&x, &weight, &y, (&count, rows));
    let dispatch = matmul_as(gpu, args, variant)?;
    let mut fastest = f64::INFINITY;
    for repetition in 0..WARM_UP + repetitions {
        let began = Instant::now();
        let mut commands = gpu.commands("bench");
        commands.dispatch(&dispatch, rows as u32);
        commands.submit();
        gpu.finish().await?;
        if repetition >= WARM_UP {
            fastest = fastest.min(began.elapsed().as_secs_f64());
        }
    }
    Ok(Some(2.0 * (rows * outputs * inputs) as f64 / fastest / 1e9))
}
