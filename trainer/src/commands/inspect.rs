//! `trainer inspect`: the adapter, what it runs, the memory needed, and the spectrum of every adapted weight.

use anyhow::Result;
use serde::Serialize;
use tmem_core::engine::{BatchRoom, Engine, MemoryEstimate, SiteInfo};
use tmem_gpu::{AdapterKind, Gpu, KernelCheck};

use crate::cli::{Common, InspectArguments};
use crate::session::{Session, ensure_right, self_test};
use crate::slow_adapter::Unless;

#[derive(Debug, Serialize)]
struct Inspection {
    adapter: AdapterReport,
    model: ModelReport,
    memory: MemoryReport,
    sites: Vec<SiteReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_test: Option<Vec<CheckReport>>,
}

#[derive(Debug, Serialize)]
struct AdapterReport {
    name: String,
    backend: String,
    driver: String,
    device_type: String,
    /// Which family of kernel variants runs: `cpu` without barriers and workgroup memory, `gpu` with them.
    kernels: &'static str,
    /// How products take their numbers: `full` or `half`.
    products: &'static str,
    features: Vec<String>,
    limits: LimitsReport,
}

#[derive(Debug, Serialize)]
struct LimitsReport {
    max_buffer_bytes: u64,
    max_storage_binding_bytes: u64,
    max_storage_buffers_per_stage: u32,
    max_invocations_per_workgroup: u32,
    max_workgroup_memory_bytes: u32,
    max_workgroups_per_dimension: u32,
}

#[derive(Debug, Serialize)]
struct ModelReport {
    name: String,
    sha256: String,
    /// Sha-256 of the slow adapter merged into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_adapter: Option<String>,
    layers: usize,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    ffn: usize,
    vocab: usize,
    context: usize,
}

#[derive(Debug, Serialize)]
struct MemoryReport {
    /// What the model, its cache, its activations and a write need, estimated from their sizes.
    needed_bytes: NeededReport,
    /// Bytes in GPU buffers with the model loaded and ready to answer.
    ready_bytes: u64,
    /// The most bytes there were on the way there.
    peak_bytes: u64,
    /// The largest buffer, and what one binding of this device can hold.
    largest_buffer_bytes: u64,
    largest_binding_bytes: u64,
    /// For software adapters the memory of the machine that is free; drivers of real ones do not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    available_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct NeededReport {
    weights: u64,
    cache: u64,
    activations: u64,
    training: u64,
    all: u64,
}

#[derive(Debug, Serialize)]
struct SiteReport {
    layer: usize,
    projection: &'static str,
    singular_values: Vec<f32>,
    orthonormality_error: f32,
    residual: f32,
    weight_norm: f32,
}

#[derive(Debug, Serialize)]
struct CheckReport {
    kernel: &'static str,
    passed: bool,
    /// Relative root mean square error, and what is allowed; an error that is not finite is absent.
    error: f64,
    tolerance: f64,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

/// Runs the command.
pub(crate) async fn run(common: &Common, arguments: &InspectArguments) -> Result<()> {
    let session = Session::open(common, Unless::None).await?;
    let engine = session.agent.policy();
    let gpu = engine.gpu();
    let checks = match session.checks {
        _ if !arguments.self_test => None,
        None => Some(self_test(gpu).await?),
        just_now => just_now,
    };
    let inspection = Inspection {
        adapter: adapter(gpu),
        model: model(engine),
        memory: memory(engine)?,
        sites: engine.sites().iter().map(site).collect(),
        self_test: checks.as_ref().map(|checks| checks.iter().map(check).collect()),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        print(&inspection);
    }
    checks.map_or(Ok(()), |checks| ensure_right(gpu, &checks))
}

fn check(check: &KernelCheck) -> CheckReport {
    CheckReport {
        kernel: check.name,
        passed: check.passed,
        error: check.error,
        tolerance: check.tolerance,
        message: check.message.clone(),
    }
}

fn adapter(gpu: &Gpu) -> AdapterReport {
    let (info, limits) = (gpu.info(), gpu.limits());
    AdapterReport {
        name: info.name.clone(),
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        device_type: format!("{:?}", info.device_type),
        kernels: match gpu.kind() {
            AdapterKind::Cpu => "cpu",
            AdapterKind::Gpu => "gpu",
        },
        products: gpu.product_precision(),
        features: gpu.features().iter_names().map(|(name, _)| name.to_owned()).collect(),
        limits: LimitsReport {
            max_buffer_bytes: limits.max_buffer_size,
            max_storage_binding_bytes: limits.max_storage_buffer_binding_size,
            max_storage_buffers_per_stage: limits.max_storage_buffers_per_shader_stage,
            max_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
            max_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
        },
    }
}

fn model(engine: &Engine) -> ModelReport {
    let (model, config) = (engine.model(), &engine.model().config);
    ModelReport {
        name: model.name.clone(),
        sha256: model.sha256.clone(),
        slow_adapter: model.slow_adapter.clone(),
        layers: config.layers,
        hidden: config.hidden,
        heads: config.heads,
        kv_heads: config.kv_heads,
        ffn: config.ffn,
        vocab: config.vocab,
        context: config.context,
    }
}

fn memory(engine: &Engine) -> Result<MemoryReport> {
    let (gpu, limits, model) = (engine.gpu(), engine.gpu().limits(), engine.model());
    let needed = MemoryEstimate::new(&model.config, model.weights.bytes(), engine.settings(), BatchRoom::default())?;
    Ok(MemoryReport {
        needed_bytes: NeededReport {
            weights: needed.weights,
            cache: needed.cache,
            activations: needed.activations,
            training: needed.training,
            all: needed.total(),
        },
        ready_bytes: gpu.memory().live(),
        peak_bytes: gpu.memory().peak(),
        largest_buffer_bytes: gpu.memory().largest(),
        largest_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        available_bytes: if gpu.kind() == AdapterKind::Cpu { machine_memory() } else { None },
    })
}

/// Free memory of the machine, where the system tells.
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

fn site(site: &SiteInfo) -> SiteReport {
    SiteReport {
        layer: site.layer,
        projection: site.projection.name(),
        singular_values: site.singular_values.clone(),
        orthonormality_error: site.orthonormality_error,
        residual: site.residual,
        weight_norm: site.weight_norm,
    }
}

fn print(inspection: &Inspection) {
    let Inspection { adapter, model, memory, sites, self_test } = inspection;
    let limits = &adapter.limits;
    println!("adapter   {} ({}, {}, {})", adapter.name, adapter.backend, adapter.device_type, adapter.driver);
    println!(
        "kernels   variants for {} adapters, products in {} precision",
        if adapter.kernels == "cpu" { "software" } else { "hardware" },
        adapter.products
    );
    println!("features  {}", if adapter.features.is_empty() { "none".to_owned() } else { adapter.features.join(", ") });
    println!(
        "limits    buffer {} MiB, binding {} MiB, {} storage buffers, {} invocations and {} KiB a workgroup",
        limits.max_buffer_bytes >> 20,
        limits.max_storage_binding_bytes >> 20,
        limits.max_storage_buffers_per_stage,
        limits.max_invocations_per_workgroup,
        limits.max_workgroup_memory_bytes >> 10
    );
    println!("model     {} (sha256 {})", model.name, model.sha256);
    if let Some(adapter) = &model.slow_adapter {
        println!("          with the slow adapter {adapter}");
    }
    println!(
        "          {} layers, hidden {}, {} heads ({} for keys), feed-forward {}, vocabulary {}, context {}",
        model.layers, model.hidden, model.heads, model.kv_heads, model.ffn, model.vocab, model.context
    );
    let available = memory.available_bytes.map_or_else(
        || "what is free the driver does not tell".to_owned(),
        |bytes| format!("{} MiB are free", bytes >> 20),
    );
    let needed = &memory.needed_bytes;
    println!(
        "memory    {} MiB needed: weights {}, cache {}, activations {}, training {}",
        needed.all >> 20,
        needed.weights >> 20,
        needed.cache >> 20,
        needed.activations >> 20,
        needed.training >> 20
    );
    println!(
        "          {} MiB in use before the first write, {} MiB at most while loading; {available}",
        memory.ready_bytes >> 20,
        memory.peak_bytes >> 20
    );
    println!(
        "          the largest buffer takes {} MiB of the {} MiB that one binding can hold",
        memory.largest_buffer_bytes >> 20,
        memory.largest_binding_bytes >> 20
    );
    println!("\n{:>5} {:10} {:>9} {:>9}  singular values", "layer", "site", "|VVt-I|", "residual");
    for site in sites {
        let values: Vec<String> = site.singular_values.iter().map(|value| format!("{value:.2}")).collect();
        println!(
            "{:>5} {:10} {:>9.1e} {:>9.1e}  {}",
            site.layer,
            site.projection,
            site.orthonormality_error,
            site.residual,
            values.join(" ")
        );
    }
    for check in self_test.iter().flatten() {
        let verdict = if check.passed { "ok   " } else { "WRONG" };
        println!(
            "{verdict} {:40} error {:.1e} of {:.1e} {}",
            check.kernel, check.error, check.tolerance, check.message
        );
    }
}
