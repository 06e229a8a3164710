//! From nothing to a model that answers: device, self-test, weights.

use js_sys::Reflect;
use serde::{Deserialize, Serialize};
use tmem_core::abort::Abort;
use tmem_core::fast::peft::PeftFiles;
use tmem_core::model::{Model, ModelLoader, identity};
use tmem_core::settings::Settings;
use tmem_gpu::{AdapterKind, Gpu, GpuOptions, SHADERS_FINGERPRINT};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{File, UrlSearchParams};

use super::adapter_file;
use super::model_file::{self, Keeper, Manifest};
use super::reporter::Reporter;
use crate::fit::{Gauge, Room};
use crate::protocol::{Base, Cause, Check, Device, Failure, ModelSource, News, Phase, Progress};
use crate::store::Store;

/// A loaded model, and the name people know it by: that of its file (the one inside it is often a training run's).
pub(super) struct Loaded {
    pub(super) model: Model,
    pub(super) name: String,
    /// Where there are two bases: which this is, and the identity of the other.
    pub(super) base: Option<(Base, String)>,
}

impl Loaded {
    /// A model that came with `manifest`.
    fn of(model: Model, manifest: &Manifest) -> Self {
        let base = manifest.slow_adapter.as_ref().map(|offer| match &model.slow_adapter {
            Some(_) => (Base::Trained, model.sha256.clone()),
            None => (Base::Published, identity(&model.sha256, Some(&offer.sha256))),
        });
        Self { model, name: without_ending(&manifest.file), base }
    }
}

/// The kernels' self-test, where it was passed.
const CHECKS: &str = "checks.json";

/// A self-test that was passed.
#[derive(Serialize, Deserialize)]
struct PassedChecks {
    /// Browser, GPU and shaders.
    holds_for: String,
    checks: Vec<Check>,
}

/// One attempt to load.
pub(super) struct Loading<'a> {
    pub(super) run: u64,
    pub(super) reporter: &'a Reporter,
    pub(super) abort: &'a Abort,
    pub(super) store: Option<&'a Store>,
    pub(super) settings: Settings,
    pub(super) base: Base,
}

impl Loading<'_> {
    pub(super) fn progress(&self, phase: Phase, done: u64, total: u64) {
        self.reporter.send(self.run, News::Progress(Progress { phase, done, total }));
    }

    /// Opens the GPU and tries every kernel on it.
    ///
    /// # Errors
    /// No WebGPU, or a kernel that computes wrongly here.
    pub(super) async fn device(&self) -> Result<Gpu, Failure> {
        self.progress(Phase::Device, 0, 0);
        let gpu = Gpu::request(&gpu_options()).await?;
        let info = gpu.info();
        let name = [&info.name, &info.driver, &info.driver_info].into_iter().find(|name| !name.is_empty());
        let software = gpu.kind() == AdapterKind::Cpu;
        let device = Device {
            name: name.map_or(if software { "an emulated GPU" } else { "this GPU" }, String::as_str).to_owned(),
            software,
        };
        self.reporter.send(self.run, News::Device(device));
        self.self_test(&gpu).await?;
        Ok(gpu)
    }

    /// Tries every kernel, once for each browser, GPU and version of the shaders: compiling all of them is most of what a
    /// start would take.
    async fn self_test(&self, gpu: &Gpu) -> Result<(), Failure> {
        self.progress(Phase::SelfTest, 0, 0);
        let browser = user_agent().unwrap_or_default();
        let holds_for = format!("{browser} | {} | {SHADERS_FINGERPRINT}", gpu.identity());
        if let Some(passed) = self.remembered_checks().await
            && passed.holds_for == holds_for
            && passed.checks.iter().all(|check| check.passed)
        {
            self.reporter.send(self.run, News::Checks { checks: passed.checks });
            return Ok(());
        }
        let mut checks = Vec::new();
        let mut wrong = Vec::new();
        tmem_gpu::self_test(gpu, &mut |check| {
            if !check.passed {
                wrong.push(check.to_string());
            }
            let error = check.error as f32;
            checks.push(Check { name: check.name.to_owned(), error, passed: check.passed });
        })
        .await?;
        if wrong.is_empty()
            && let Some(store) = self.store
        {
            let passed = PassedChecks { holds_for, checks: checks.clone() };
            // Without room for it the kernels are tried again next time.
            let _ = store.write(CHECKS, &serde_json::to_vec(&passed).unwrap_or_default()).await;
        }
        self.reporter.send(self.run, News::Checks { checks });
        if wrong.is_empty() { Ok(()) } else { Err(Failure::new(Cause::WrongKernel, wrong.join("; "))) }
    }

    async fn remembered_checks(&self) -> Option<PassedChecks> {
        let bytes = self.store?.read(CHECKS).await?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The model; `None` where it would have to be downloaded and that was not asked for.
    ///
    /// # Errors
    /// A model that cannot be had, is damaged, or does not fit.
    pub(super) async fn model(&self, gpu: &Gpu, source: ModelSource, file: JsValue) -> Result<Option<Loaded>, Failure> {
        if source == ModelSource::File {
            let Ok(file) = file.dyn_into::<File>() else {
                return Err(Failure::new(Cause::Model, "No file came with the command: drop it again."));
            };
            let model = self.read_file(gpu, &file, Phase::File, None).await?;
            return Ok(Some(Loaded { model, name: without_ending(&file.name()), base: None }));
        }
        let offered = model_file::offered().await;
        if let Some(store) = self.store
            && let Some((note, file)) = model_file::kept(store).await
            // Without a server the model that was kept is still a model.
            && offered.as_ref().map_or(true, |manifest| manifest.sha256 == note.sha256)
        {
            // Where the server is there, its adapter is the newest.
            let manifest = offered.as_ref().unwrap_or(&note);
            let slow = self.slow_adapter(manifest).await;
            match self.read_file(gpu, &file, Phase::Store, slow).await {
                Ok(model) if model.sha256 == note.sha256 => return Ok(Some(Loaded::of(model, manifest))),
                Err(failure) if failure.cause != Cause::Model || self.abort.is_aborted() => return Err(failure),
                Ok(_) | Err(_) => {}
            }
            model_file::discard(store).await;
            let text = "The copy of the model in this browser was damaged and has been deleted.".to_owned();
            self.reporter.send(self.run, News::Notice { text });
        }
        let manifest = offered?;
        if source == ModelSource::Store {
            let name = without_ending(&manifest.file);
            self.reporter.send(self.run, News::NeedsDownload { name, bytes: manifest.size });
            return Ok(None);
        }
        let model = self.download(gpu, &manifest).await?;
        Ok(Some(Loaded::of(model, &manifest)))
    }

    /// The slow adapter that is offered with a model, where it is wanted and can be had.
    async fn slow_adapter(&self, manifest: &Manifest) -> Option<PeftFiles> {
        let offer = manifest.slow_adapter.as_ref().filter(|_| self.base == Base::Trained)?;
        match adapter_file::get(offer, self.store).await {
            Ok(files) => Some(files),
            Err(reason) => {
                let text = format!("The trained base could not be fetched ({reason}): this is the model as published.");
                self.reporter.send(self.run, News::Notice { text });
                None
            }
        }
    }

    fn loader(gpu: &Gpu, slow: Option<PeftFiles>) -> ModelLoader {
        let loader = ModelLoader::new(gpu);
        match slow {
            Some(files) => loader.with_slow_adapter(files),
            None => loader,
        }
    }

    async fn read_file(&self, gpu: &Gpu, file: &File, phase: Phase, slow: Option<PeftFiles>) -> Result<Model, Failure> {
        let total = file.size() as u64;
        let (mut gauge, mut loader) = (self.gauge(gpu, slow.is_some()), Self::loader(gpu, slow));
        let mut done = 0;
        self.progress(phase, done, total);
        model_file::read(file, self.abort, &mut |piece| {
            gauge.push(piece)?;
            loader.push(piece)?;
            done += piece.len() as u64;
            self.progress(phase, done, total);
            Ok(())
        })
        .await?;
        Ok(loader.finish()?)
    }

    async fn download(&self, gpu: &Gpu, manifest: &Manifest) -> Result<Model, Failure> {
        let total = manifest.size;
        let slow = self.slow_adapter(manifest).await;
        let (mut gauge, mut loader) = (self.gauge(gpu, slow.is_some()), Self::loader(gpu, slow));
        let mut keeper = match self.store {
            Some(store) => Keeper::start(store).await,
            None => None,
        };
        let mut done = 0;
        self.progress(Phase::Download, done, total);
        model_file::download(manifest, self.abort, &mut |piece| {
            gauge.push(piece)?;
            loader.push(piece)?;
            keeper = keeper.take().filter(|keeper| keeper.push(piece));
            done += piece.len() as u64;
            self.progress(Phase::Download, done, total);
            Ok(())
        })
        .await
        .map_err(|failure| damaged(manifest, failure))?;
        let model = loader.finish().map_err(|error| damaged(manifest, error.into()))?;
        if model.sha256 != manifest.sha256 {
            let reason = format!("its SHA-256 is {} instead of {}", model.sha256, manifest.sha256);
            return Err(damaged(manifest, Failure::new(Cause::Model, reason)));
        }
        if let Some(keeper) = keeper {
            keeper.commit(manifest).await;
        }
        Ok(model)
    }

    fn gauge(&self, gpu: &Gpu, merged: bool) -> Gauge {
        let buffer = gpu.largest_binding();
        let gauge = Gauge::new(self.settings.clone(), Room { buffer, memory: device_memory() });
        if merged { gauge.with_merged_adapter() } else { gauge }
    }
}

fn without_ending(file: &str) -> String {
    file.strip_suffix(".gguf").unwrap_or(file).to_owned()
}

/// What can be wrong with a download, said so that a person knows what to do.
fn damaged(manifest: &Manifest, failure: Failure) -> Failure {
    match failure.cause {
        Cause::Model => {
            let message = format!(
                "`{}` did not arrive as it should ({}). Nothing of it was kept; try again.",
                manifest.file, failure.message
            );
            Failure::new(Cause::Model, message)
        }
        _ => failure,
    }
}

/// The computer's memory in bytes, where the browser tells it. Not a standard everywhere, so read by name.
fn device_memory() -> Option<u64> {
    let gibibytes = of_navigator("deviceMemory")?.as_f64()?;
    Some((gibibytes * (1u64 << 30) as f64) as u64)
}

/// Name and version of the browser, as it tells servers.
fn user_agent() -> Option<String> {
    of_navigator("userAgent")?.as_string()
}

fn of_navigator(name: &str) -> Option<JsValue> {
    get(&get(&js_sys::global(), "navigator")?, name)
}

/// What the page's address asks for: `?kernels=gpu` for the kernels for real GPUs, `?kernels=cpu` for those for emulated
/// ones, whatever the adapter is; `?products=half` for a GPU's products in half precision. For tests, to find out what is
/// wrong on some device, and to try what is faster there.
fn gpu_options() -> GpuOptions {
    let kernels = match in_address("kernels").as_deref() {
        Some("gpu") => Some(AdapterKind::Gpu),
        Some("cpu") => Some(AdapterKind::Cpu),
        _ => None,
    };
    let half_products = in_address("products").as_deref() == Some("half");
    GpuOptions { kernels, half_products, ..GpuOptions::default() }
}

fn in_address(name: &str) -> Option<String> {
    let search = get(&get(&js_sys::global(), "location")?, "search")?.as_string()?;
    UrlSearchParams::new_with_str(&search).ok()?.get(name)
}

fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(object, &JsValue::from(name)).ok()
}
