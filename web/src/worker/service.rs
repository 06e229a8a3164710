//! Works off the commands.

use tmem_core::abort::Abort;
use tmem_gpu::{AdapterKind, Gpu, GpuOptions};
use wasm_bindgen::JsValue;

use super::model_file;
use super::reporter::Reporter;
use crate::protocol::{Action, Cause, Device, Failure, ModelSource, News, Phase, Progress};
use crate::store::Store;

/// What the worker holds between commands.
pub(crate) struct Service {
    reporter: Reporter,
    abort: Abort,
    gpu: Option<Gpu>,
}

impl Service {
    pub(crate) fn new(reporter: Reporter, abort: Abort) -> Self {
        Self { reporter, abort, gpu: None }
    }

    /// Works off one command.
    pub(crate) async fn handle(&mut self, run: u64, action: Action, _attachment: JsValue) -> Result<(), Failure> {
        match action {
            Action::Load { source } => self.load(run, source).await,
            Action::Stop => Ok(()),
            _ => Err(Failure::new(Cause::Other, "The model is not loaded yet.")),
        }
    }

    async fn load(&mut self, run: u64, source: ModelSource) -> Result<(), Failure> {
        let progress = |phase, done, total| self.reporter.send(run, News::Progress(Progress { phase, done, total }));
        progress(Phase::Device, 0, 0);
        let gpu = Gpu::request(&GpuOptions::default()).await?;
        let device = Device {
            name: gpu.info().name.clone(),
            software: gpu.kind() == AdapterKind::Cpu,
            buffer_limit: gpu.limits().max_buffer_size,
        };
        self.reporter.send(run, News::Device(device));
        self.gpu = Some(gpu);
        let store = Store::open().await.ok();
        let manifest = model_file::offered().await?;
        let kept = match &store {
            Some(store) => model_file::kept(store).await,
            None => None,
        };
        if let Some((note, file)) = kept {
            let mut done = 0;
            return model_file::read(&file, &self.abort, &mut |piece| {
                done += piece.len() as u64;
                progress(Phase::Store, done, note.size);
                Ok(())
            })
            .await;
        }
        if source == ModelSource::Store {
            let news = News::NeedsDownload { name: manifest.name().to_owned(), bytes: manifest.size };
            self.reporter.send(run, news);
            return Ok(());
        }
        let mut done = 0;
        model_file::download(&manifest, &self.abort, &mut |piece| {
            done += piece.len() as u64;
            progress(Phase::Download, done, manifest.size);
            Ok(())
        })
        .await
    }
}
