//! `trainer bench`: speed, each figure beside what the adapter's own matrix product reaches in the same run.

mod adapters;
mod decoding;
mod matmul;
mod measure;
mod roofline;
mod stream;
mod work;

use anyhow::Result;
use serde::Serialize;
use tmem_core::engine::Engine;

use crate::cli::{BenchArguments, Common};
use crate::session::Session;
use crate::slow_adapter::Unless;

/// One figure.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    /// What was measured.
    name: String,
    /// Seconds it took, the best of the repetitions.
    seconds: f64,
    /// How many units a second, where it has a unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    /// The unit of the rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    /// Operations it needs, in thousand millions, where they can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    gflop: Option<f64>,
    /// Its operations a second as a share of the adapter's best matrix product.
    #[serde(skip_serializing_if = "Option::is_none")]
    fraction: Option<f64>,
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
struct Report {
    model: String,
    adapter: String,
    kernels: String,
    /// How products take their numbers: `full` or `half`.
    products: &'static str,
    /// The adapter's best matrix product in this run.
    matmul_gflops: f64,
    matmul_shape: (usize, usize, usize),
    matmul_variant: String,
    figures: Vec<Figure>,
    peak_gpu_bytes: u64,
}

/// Runs the command.
pub(crate) async fn run(common: &Common, arguments: &BenchArguments) -> Result<()> {
    let mut session = Session::open(common, Unless::None).await?;
    let gpu = session.agent.policy().gpu().clone();
    if let Some(tokens) = arguments.stream {
        return stream::run(&mut session, tokens, arguments.json).await;
    }
    let repetitions = if arguments.quick { 1 } else { 3 };
    eprintln!("measuring the matrix product");
    let before = matmul::best_rate(&gpu, 2 * repetitions).await?;
    if arguments.roofline {
        return kernels(session.agent.policy(), before.gflops, repetitions, arguments.json).await;
    }
    let mut figures = measure::all(&mut session, repetitions, arguments.only).await?;
    // Machines warm up and share: the better of before and after is the measure.
    let after = matmul::best_rate(&gpu, 2 * repetitions).await?;
    let best = if after.gflops > before.gflops { after } else { before };
    for figure in &mut figures {
        figure.fraction = figure.gflop.map(|gflop| gflop / figure.seconds / best.gflops);
    }
    let engine = session.agent.policy();
    let report = Report {
        model: format!("{} ({})", engine.model().name, engine.model().sha256),
        adapter: gpu.info().name.clone(),
        kernels: format!("{:?}", gpu.kind()).to_lowercase(),
        products: gpu.product_precision(),
        matmul_gflops: best.gflops,
        matmul_shape: best.shape,
        matmul_variant: format!("{:?}", best.variant),
        figures,
        peak_gpu_bytes: gpu.memory().peak(),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

/// `--roofline`: kernel by kernel.
async fn kernels(engine: &Engine, gflops: f64, repetitions: usize, json: bool) -> Result<()> {
    let gigabytes = roofline::bandwidth(engine.gpu(), repetitions).await?;
    let ceiling = roofline::Ceiling { gflops, gigabytes };
    let kernels = roofline::all(engine, ceiling, repetitions).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "ceiling": ceiling, "kernels": kernels }))?);
    } else {
        println!("{} on {}", engine.model().name, engine.gpu().info().name);
        roofline::print(&kernels, ceiling);
    }
    Ok(())
}

fn print(report: &Report) {
    let (rows, outputs, inputs) = report.matmul_shape;
    println!("{} on {}", report.model, report.adapter);
    println!(
        "best matrix product in {} precision: {:.2} GFLOP/s ({rows} x {outputs} x {inputs}, {})",
        report.products, report.matmul_gflops, report.matmul_variant
    );
    println!("{:44} {:>10} {:>16} {:>10} {:>9}", "", "seconds", "rate", "GFLOP", "fraction");
    for figure in &report.figures {
        let rate = figure.rate.zip(figure.unit).map_or_else(|| "-".to_owned(), |(r, unit)| format!("{r:.1} {unit}"));
        let gflop = figure.gflop.map_or_else(|| "-".to_owned(), |gflop| format!("{gflop:.2}"));
        let fraction = figure.fraction.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0));
        println!("{:44} {:>10.3} {rate:>16} {gflop:>10} {fraction:>9}", figure.name, figure.seconds);
    }
    println!("most bytes on the GPU: {} MiB", report.peak_gpu_bytes >> 20);
}
