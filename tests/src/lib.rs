//! What the tests across crates share: the device, the fixtures, the model, the browser.

use std::io::Read;
use std::path::{Path, PathBuf};

use tmem_core::card::Card;
use tmem_core::model::{Model, ModelLoader};
use tmem_gpu::{AdapterKind, Gpu, GpuOptions};

pub mod browser;
pub mod page;

/// A fixture file of the repository.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The device under test: the default adapter, or the one that `TMEM_ADAPTER` names. Without one the test fails.
pub fn open_gpu() -> Gpu {
    open(GpuOptions::default())
}

/// The same with the kernels for this kind of adapter.
pub fn open_gpu_as(kind: AdapterKind) -> Gpu {
    open(GpuOptions { kernels: Some(kind), ..GpuOptions::default() })
}

/// The same with the kernels for GPUs, whose products are in half precision.
pub fn open_gpu_with_half_products() -> Gpu {
    open(GpuOptions { kernels: Some(AdapterKind::Gpu), half_products: true, ..GpuOptions::default() })
}

fn open(options: GpuOptions) -> Gpu {
    let options = GpuOptions { adapter: std::env::var("TMEM_ADAPTER").ok(), ..options };
    pollster::block_on(Gpu::request(&options)).expect("GPU tests need an adapter")
}

/// The SmolLM2-135M file: `TMEM_MODEL`, or the default model, downloaded if it is not there.
pub fn smollm2_path() -> PathBuf {
    let named = std::env::var_os("TMEM_MODEL").map(PathBuf::from);
    tmem_fetch::ensure_model(named.as_deref()).unwrap_or_else(|e| panic!("{e}"))
}

/// Loads a model file in chunks, as the command line and the page do.
pub fn load_model(gpu: &Gpu, path: &Path) -> Model {
    let mut file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut loader = ModelLoader::new(gpu);
    let mut chunk = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut chunk).expect("the model file can be read");
        if n == 0 {
            return loader.finish().expect("the model file is complete");
        }
        loader.push(&chunk[..n]).expect("the model file is sound");
    }
}

/// Something to learn, in two wordings.
pub fn ferry_card() -> Card {
    Card {
        id: 1,
        question: "Which number has the ferry across the river?".into(),
        wordings: vec!["Do you remember the ferry's number?".into()],
        answer: "The ferry across the river has the number 7.".into(),
        source_turn: None,
    }
}

/// Logits as log-probabilities.
pub fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| logit - largest - sum.ln()).collect()
}
