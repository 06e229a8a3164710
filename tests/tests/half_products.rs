//! Products in half precision, with the kernels for GPUs: how far they move what a model says, and what it learns.

use std::path::Path;

use tmem_core::abort::Abort;
use tmem_core::engine::Engine;
use tmem_core::fast::{WriteOutcome, WriteReport};
use tmem_core::rollout::policy::{Policy as _, Weights};
use tmem_core::settings::Settings;
use tmem_gpu::{AdapterKind, Gpu};
use tmem_tests::{
    ferry_card, fixture, load_model, log_softmax, open_gpu_as, open_gpu_with_half_products, smollm2_path,
};

/// A device in full and one in half precision.
fn both() -> [Gpu; 2] {
    [open_gpu_as(AdapterKind::Gpu), open_gpu_with_half_products()]
}

fn engine(gpu: &Gpu, model: &Path) -> Engine {
    let mut settings = Settings::small();
    (settings.fast.layers, settings.fast.steps, settings.fast.kl_prompts) = (1, 6, 0);
    pollster::block_on(Engine::new(gpu, load_model(gpu, model), &settings)).unwrap()
}

/// Log-probabilities of what follows each prefix of a text but the empty one.
fn log_probabilities(gpu: &Gpu, model: &Path, text: &str) -> Vec<f32> {
    let mut engine = engine(gpu, model);
    let ids = engine.model().tokenizer.encode_guarded(text).unwrap();
    let prefixes: Vec<_> = (1..=ids.len()).map(|n| ids[..n].to_vec()).collect();
    let rows = pollster::block_on(engine.next_logits(&prefixes, Weights::Frozen)).unwrap();
    rows.iter().flat_map(|logits| log_softmax(logits)).collect()
}

/// The mean and the largest difference.
fn differences(a: &[f32], b: &[f32]) -> (f32, f32) {
    assert_eq!(a.len(), b.len());
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    (off.clone().sum::<f32>() / a.len() as f32, off.fold(0.0, f32::max))
}

#[test]
fn smollm2_says_nearly_the_same() {
    let text = "The harbour lay quiet under a grey sky, and the boats came home one after the other.";
    let [full, half] = both().map(|gpu| log_probabilities(&gpu, &smollm2_path(), text));
    let (mean, most) = differences(&full, &half);
    println!("log-probabilities are off by {mean} in the mean, {most} at most");
    assert!(mean > 0.0, "half precision was not in force");
    assert!(mean < 0.01 && most < 0.1, "off by {mean} in the mean, {most} at most");
}

#[test]
fn a_write_learns_nearly_the_same() {
    let write = |gpu: Gpu| -> WriteReport {
        let mut engine = engine(&gpu, &fixture("tiny_a.q4_1.gguf"));
        pollster::block_on(engine.learn(&[ferry_card()], &[], &mut |_| {}, &Abort::default())).unwrap()
    };
    let [full, half] = both().map(write);
    assert_eq!((full.outcome, half.outcome), (WriteOutcome::Completed, WriteOutcome::Completed));
    assert_ne!(full.delta, half.delta, "half precision was not in force");
    for (full, half) in full.steps.iter().zip(&half.steps) {
        assert!((full.loss / half.loss - 1.0).abs() < 0.01, "losses {} and {}", full.loss, half.loss);
    }
    let (first, last) = (half.steps.first().unwrap().loss, half.steps.last().unwrap().loss);
    assert!(last < first, "the loss went from {first} to {last}");
}
