//! Models, engines and random numbers for the tests.

use std::fs::File;
use std::path::PathBuf;

use burn::tensor::Device;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tmem_core::engine::Engine;
use tmem_core::fast::peft::{PeftAdapter, PeftFiles};
use tmem_core::model::{HostModel, ModelLoader};
use tmem_core::settings::{FastSettings, Settings};
use tmem_gpu::{Gpu, GpuOptions};
use tmem_learner::Backend;
use tmem_learner::model::{Sequence, Target};

/// A file of the repository's fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// The SmolLM2-135M file: `TMEM_MODEL`, or where `cargo xtask model` puts it.
pub(crate) fn smollm2() -> PathBuf {
    let default = || fixture("../../models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var_os("TMEM_MODEL").map_or_else(default, PathBuf::from);
    assert!(path.exists(), "{} is missing: run `cargo xtask model`", path.display());
    path
}

/// Every format of the two tiny models.
pub(crate) const TINY: [(&str, &[&str]); 2] =
    [("tiny_a", &["f32", "f16", "q8_0", "q4_0", "q4_1"]), ("tiny_b", &["f32", "q8_0", "q4_0", "q4_1"])];

pub(crate) fn tiny(name: &str, format: &str) -> PathBuf {
    fixture(&format!("{name}.{format}.gguf"))
}

/// A model file for the learner.
pub(crate) fn host(path: PathBuf) -> HostModel {
    HostModel::read(File::open(path).unwrap()).unwrap()
}

/// The CPU, with gradients.
pub(crate) fn device() -> Device {
    Backend::Flex.device(false).unwrap()
}

/// The same file in the engine, with the last `layers` layers adapted.
pub(crate) fn engine(path: PathBuf, layers: usize) -> Engine {
    engine_of(path, layers, None)
}

/// The same with a slow adapter merged into it.
pub(crate) fn engine_of(path: PathBuf, layers: usize, slow_adapter: Option<PeftFiles>) -> Engine {
    let options = GpuOptions { adapter: std::env::var("TMEM_ADAPTER").ok(), ..GpuOptions::default() };
    let gpu = pollster::block_on(Gpu::request(&options)).expect("these tests need an adapter");
    let mut loader = ModelLoader::new(&gpu);
    if let Some(files) = slow_adapter {
        loader = loader.with_slow_adapter(files);
    }
    loader.push(&std::fs::read(path).unwrap()).unwrap();
    let fast = FastSettings { layers, rank: 6, gate: false, loss_threshold: 1.0, ..FastSettings::default() };
    let settings = Settings { fast, ..Settings::small() };
    pollster::block_on(Engine::new(&gpu, loader.finish().unwrap(), &settings)).unwrap()
}

/// Tokens of which each predicts the next; after the last, token 0.
pub(crate) fn chain(tokens: &[u32]) -> Sequence {
    let next = tokens.iter().skip(1).copied().chain([0]);
    let target = |(position, token)| Target { position, token, weight: 1.0, reference: None };
    Sequence { tokens: tokens.to_vec(), targets: next.enumerate().map(target).collect(), ..Sequence::default() }
}

/// Numbers in ±`bound`.
pub(crate) fn numbers(count: usize, bound: f32, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(-bound..bound)).collect()
}

/// The adapter with its B drawn anew.
pub(crate) fn with_random_b(mut adapter: PeftAdapter, bound: f32, seed: u64) -> PeftAdapter {
    for (site, seed) in adapter.sites.iter_mut().zip(seed..) {
        site.b = numbers(site.b.len(), bound, seed);
    }
    adapter
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// ‖got − want‖ / ‖want‖.
pub(crate) fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let apart = square(&mut got.iter().zip(want).map(|(g, w)| f64::from(*g) - f64::from(*w)));
    (apart / square(&mut want.iter().map(|w| f64::from(*w)))).sqrt()
}

/// Log-probability of `token`, in f64.
pub(crate) fn log_probability(logits: &[f32], token: u32) -> f32 {
    let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
    (f64::from(logits[token as usize]) - sum.ln()) as f32
}
