//! The GPU, the model and the agent that a command works with.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use tmem_core::abort::Abort;
use tmem_core::engine::{self, Engine};
use tmem_core::fast::peft::PeftFiles;
use tmem_core::model::{Model, ModelLoader};
use tmem_core::rollout::Agent;
use tmem_core::settings::Settings;
use tmem_gpu::{Gpu, GpuOptions};

use crate::cli::Common;
use crate::interrupt::{Stopped, on_interrupt};
use crate::slow_adapter::{self, Unless};

/// Bytes read from the model file at a time.
const CHUNK: usize = 4 << 20;

/// A model ready to be talked to.
pub(crate) struct Session {
    pub(crate) agent: Agent<Engine>,
    pub(crate) abort: Abort,
    pub(crate) took: Start,
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
        Ok(Self { agent: Agent::new(engine, settings), abort, took, preset: None })
    }
}

/// The adapter asked for.
pub(crate) async fn open_gpu(common: &Common) -> Result<Gpu> {
    let options = GpuOptions { adapter: common.adapter.clone(), ..GpuOptions::default() };
    Ok(Gpu::request(&options).await?)
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
