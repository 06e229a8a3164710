//! The GPU, the model and the agent that a command works with.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use tmem_core::abort::Abort;
use tmem_core::engine::{self, Engine};
use tmem_core::fast::peft::PeftFiles;
use tmem_core::model::{Model, ModelLoader};
use tmem_core::rollout::Agent;
use tmem_core::settings::Settings;
use tmem_gpu::{AdapterKind, Gpu, GpuOptions, KernelCheck, SHADERS_FINGERPRINT};

use crate::cli::{Common, Kernels, Products};
use crate::interrupt::{Stopped, on_interrupt};
use crate::slow_adapter::{self, Unless};

/// Bytes read from the model file at a time.
const CHUNK: usize = 4 << 20;

/// A model ready to be talked to.
pub(crate) struct Session {
    pub(crate) agent: Agent<Engine>,
    pub(crate) abort: Abort,
    pub(crate) took: Start,
    /// Every kernel with its check, where they were tried just now.
    pub(crate) checks: Option<Vec<KernelCheck>>,
    /// The preset that the settings began from, where that is known.
    pub(crate) preset: Option<String>,
}

/// What the start took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// Reading the file and putting it on the GPU.
    pub(crate) model: Duration,
    /// Plans, caches, and the decomposition of every adapted weight.
    pub(crate) engine: Duration,
}

impl Session {
    /// Opens the adapter, loads the model and makes the fast weights. `unless` says which slow adapter is merged unless
    /// the command line names one.
    pub(crate) async fn open(common: &Common, unless: Unless<'_>) -> Result<Self> {
        let session = Self::with_settings(common, common.settings()?, unless).await?;
        Ok(Self { preset: Some(common.preset.clone()), ..session })
    }

    /// The same with settings from elsewhere.
    pub(crate) async fn with_settings(common: &Common, settings: Settings, unless: Unless<'_>) -> Result<Self> {
        let abort = on_interrupt()?;
        let gpu = open_gpu(common).await?;
        let checks = check_kernels(&gpu).await?;
        let path = tmem_fetch::ensure_model(common.model.as_deref())?;
        let name = path.display();
        let began = Instant::now();
        let slow_adapter = slow_adapter::files(common.slow_adapter.as_ref(), unless, &path)?;
        let bar = ProgressBar::no_length().with_style(style("{bytes}/{total_bytes} {eta}"));
        bar.set_message("Loading the model");
        let model =
            load_model(&gpu, &path, slow_adapter, &bar, &abort).with_context(|| format!("cannot load {name}"))?;
        gpu.finish().await?;
        let loaded = began.elapsed();
        tune(&gpu, &model).await?;
        let spinner = spinner("Decomposing the adapted weights");
        let began = Instant::now();
        let engine = Engine::new(&gpu, model, &settings).await?;
        let took = Start { model: loaded, engine: began.elapsed() };
        spinner.finish_and_clear();
        Ok(Self { agent: Agent::new(engine, settings), abort, took, checks, preset: None })
    }
}

/// The adapter asked for.
pub(crate) async fn open_gpu(common: &Common) -> Result<Gpu> {
    let kernels = common.kernels.map(|kernels| match kernels {
        Kernels::Gpu => AdapterKind::Gpu,
        Kernels::Cpu => AdapterKind::Cpu,
    });
    let half_products = common.products == Products::Half;
    let adapter = common.adapter.clone();
    let gpu = Gpu::request(&GpuOptions { adapter, kernels, half_products, ..GpuOptions::default() }).await?;
    ensure!(
        gpu.has_half_products() == half_products,
        "--products half is for GPUs; {} is emulated, and its kernels have no use for it: leave it out, or try it with \
         --kernels gpu",
        gpu.info().name
    );
    Ok(gpu)
}

/// Tries every kernel, once for each device and version of the shaders; that they passed is remembered beside the models,
/// and gives `None` from then on.
///
/// # Errors
/// Kernels that compute wrongly here.
pub(crate) async fn check_kernels(gpu: &Gpu) -> Result<Option<Vec<KernelCheck>>> {
    let folder = tmem_fetch::models_folder();
    let path = folder.join("self-test");
    let holds_for = format!("{} | {SHADERS_FINGERPRINT}\n", gpu.identity());
    let passed = fs::read_to_string(&path).unwrap_or_default();
    if passed.split_inclusive('\n').any(|line| line == holds_for) {
        return Ok(None);
    }
    let checks = self_test(gpu).await?;
    ensure_right(gpu, &checks)?;
    if let Err(error) = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, passed + &holds_for)) {
        tracing::warn!(%error, "cannot write {}: kernels will be tried again", path.display());
    }
    Ok(Some(checks))
}

/// Every kernel with its check.
pub(crate) async fn self_test(gpu: &Gpu) -> Result<Vec<KernelCheck>> {
    let running = spinner("Checking every kernel");
    let checks = tmem_gpu::self_test(gpu, &mut |check| running.set_message(check.name)).await?;
    running.finish_and_clear();
    Ok(checks)
}

/// An error that names what computes wrongly, and what to do.
pub(crate) fn ensure_right(gpu: &Gpu, checks: &[KernelCheck]) -> Result<()> {
    let wrong: Vec<_> = checks.iter().filter(|check| !check.passed).map(ToString::to_string).collect();
    let info = gpu.info();
    let others = if gpu.kind() == AdapterKind::Gpu { "cpu (slower, and simpler)" } else { "gpu" };
    ensure!(
        wrong.is_empty(),
        "{} ({} {}) computes wrongly: update its driver, use another --adapter, or try --kernels {others}. {}",
        info.name,
        info.driver,
        info.driver_info,
        wrong.join("; ")
    );
    Ok(())
}

/// Puts the kernels in force that are fastest for this model here: measured once, and remembered beside the models.
pub(crate) async fn tune(gpu: &Gpu, model: &Model) -> Result<()> {
    let path = tmem_fetch::models_folder().join("tuning");
    let remembered = fs::read(&path).ok();
    let spinner = spinner("Measuring the kernels, once");
    let measured = engine::tune(gpu, model, remembered.as_deref()).await?;
    spinner.finish_and_clear();
    if let Some(bytes) = measured
        && let Err(error) = fs::write(&path, bytes)
    {
        tracing::warn!(%error, "cannot write {}: kernels will be measured again", path.display());
    }
    Ok(())
}

/// Reads the model in chunks; it is never held whole in memory. Also returns the size of the file.
pub(crate) fn load_model(
    gpu: &Gpu,
    path: &Path,
    slow_adapter: Option<PeftFiles>,
    bar: &ProgressBar,
    abort: &Abort,
) -> Result<Model> {
    let mut file = File::open(path)?;
    bar.set_length(file.metadata()?.len());
    let mut loader = ModelLoader::new(gpu);
    if let Some(files) = slow_adapter {
        loader = loader.with_slow_adapter(files);
    }
    let mut chunk = vec![0; CHUNK];
    loop {
        if abort.is_aborted() {
            return Err(Stopped.into());
        }
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        loader.push(&chunk[..read])?;
        bar.inc(read as u64);
    }
    let model = loader.finish()?;
    bar.finish_and_clear();
    Ok(model)
}

/// A bar with its message before it and `figures` behind it; hidden where the standard error is no terminal.
pub(crate) fn style(figures: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!("{{msg:28}} [{{bar:32}}] {figures}"))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Something that takes a while and cannot say how far it is.
pub(crate) fn spinner(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_kernel_is_named_with_what_to_do() {
        let gpu = pollster::block_on(Gpu::request(&GpuOptions::default())).unwrap();
        let check = |name, passed, message: &str| {
            let message = message.to_owned();
            KernelCheck { name, passed, error: 0.1, tolerance: 3e-6, message }
        };
        let right = check("rms_norm", true, "");
        assert!(ensure_right(&gpu, std::slice::from_ref(&right)).is_ok());
        let error = ensure_right(&gpu, &[right, check("swiglu", false, "element 0: got 2, want 1")]).unwrap_err();
        let error = error.to_string();
        for part in [gpu.info().name.as_str(), "`swiglu`: element 0: got 2, want 1", "--kernels", "--adapter"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("rms_norm"), "{error}");
    }
}
