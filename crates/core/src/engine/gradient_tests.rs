//! The whole loss and its gradient against PyTorch (f64) and against finite differences, on two tiny models; ten
//! training steps. Fixtures: `tests/fixtures/gradients_tiny.*`, made by `tests/fixtures/scripts/make_gradients.py`.
//!
//! Not proven here: that the settings are good ones, or that a large model learns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::Deserialize;
use tmem_gpu::{AdapterKind, Gpu, GpuOptions};

use super::Engine;
use super::examples::Example;
use super::learn::Trainer;
use crate::fast::{Loss, LossRows, Run, pack, push_losses};
use crate::model::ModelLoader;
use crate::settings::{FastSettings, OptimizerKind, Settings};

#[derive(Deserialize)]
struct Fixture {
    models: BTreeMap<String, TinyModel>,
}

/// What a training batch is made of.
#[derive(Deserialize)]
struct Batch {
    prefix: Vec<u32>,
    cards: Vec<TinyCard>,
    anchors: Vec<TinyAnchor>,
    rank: usize,
    kl_weight: f32,
}

#[derive(Deserialize)]
struct TinyModel {
    #[serde(flatten)]
    batch: Batch,
    loss: TinyLoss,
    singular_values: BTreeMap<String, Vec<f32>>,
    losses_ten_steps: BTreeMap<String, TinyRun>,
}

#[derive(Deserialize)]
struct TinyCard {
    question: Vec<u32>,
    answer: Vec<u32>,
}

#[derive(Deserialize)]
struct TinyAnchor {
    tokens: Vec<u32>,
    positions: Vec<usize>,
}

#[derive(Deserialize)]
struct TinyLoss {
    cross_entropy: f32,
    kl: f32,
}

#[derive(Deserialize)]
struct TinyRun {
    learning_rate: f32,
    cross_entropy: Vec<f32>,
    kl: Vec<f32>,
}

/// A tiny model on the GPU with the fixture's batch packed and its base log-probabilities computed.
struct Bench {
    engine: Engine,
    trainer: Trainer,
    rows: usize,
    cross_entropy: LossRows,
    kl: LossRows,
    base: tmem_gpu::Buffer,
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn read_fixture() -> (Fixture, Vec<u8>) {
    let json = std::fs::read_to_string(fixtures().join("gradients_tiny.json")).unwrap();
    let tensors = std::fs::read(fixtures().join("gradients_tiny.safetensors")).unwrap();
    (serde_json::from_str(&json).unwrap(), tensors)
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = tensors.tensor(name).unwrap();
    data.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

impl Bench {
    fn tiny(name: &str, tiny: &TinyModel, kind: AdapterKind) -> Self {
        Self::new(&fixtures().join(format!("tiny_{name}.f32.gguf")), 2, &tiny.batch, Some(kind))
    }

    fn new(model: &Path, layers: usize, tiny: &Batch, kernels: Option<AdapterKind>) -> Self {
        let options = GpuOptions { adapter: std::env::var("TMEM_ADAPTER").ok(), kernels, ..GpuOptions::default() };
        let gpu = pollster::block_on(Gpu::request(&options)).unwrap();
        let mut loader = ModelLoader::new(&gpu);
        loader.push(&std::fs::read(model).unwrap()).unwrap();
        let fast = FastSettings { layers, rank: tiny.rank, gate: false, ..FastSettings::default() };
        let settings = Settings { fast, ..Settings::small() };
        let mut engine = pollster::block_on(Engine::new(&gpu, loader.finish().unwrap(), &settings)).unwrap();
        let adapter = engine.adapter.clone().unwrap();
        let trainer = Trainer::new(&engine, &adapter).unwrap();

        let mut examples: Vec<Example> = Vec::new();
        for card in &tiny.cards {
            let mut inputs = card.question.clone();
            inputs.extend(&card.answer[..card.answer.len() - 1]);
            let first_loss = card.question.len() - 1;
            examples.push(Example { inputs, first_loss, targets: card.answer.clone(), stored: 0 });
        }
        for anchor in &tiny.anchors {
            let (first_loss, targets) = (anchor.positions[0], vec![0; anchor.positions.len()]);
            examples.push(Example { inputs: anchor.tokens.clone(), first_loss, targets, stored: 0 });
        }
        engine.store_hidden(&tiny.prefix, &mut examples).unwrap();
        let runs: Vec<_> = examples.iter().map(|e| Run { inputs: &e.inputs, stored: e.stored }).collect();
        let pack = |scale| pack(&tiny.prefix, &runs, 1, scale, trainer.plan.size.rows);
        let packed = pack(1.0);
        let rows = packed.batch.rows.len();
        let (mut cross_entropy, mut kl, mut base_rows) = (LossRows::default(), LossRows::default(), Vec::new());
        for (i, (example, &start)) in examples.iter().zip(&packed.first_rows).enumerate() {
            if i < tiny.cards.len() {
                push_losses(&mut cross_entropy, start, example.first_loss, &example.targets, 1.0);
            } else {
                let first = base_rows.len() as u32;
                let targets: Vec<u32> = (first..first + example.targets.len() as u32).collect();
                push_losses(&mut kl, start, example.first_loss, &targets, 1.0);
                base_rows.extend((0..example.targets.len()).map(|k| (start + example.first_loss + k) as u32));
            }
        }
        cross_entropy.weigh(1.0);
        kl.weigh(tiny.kl_weight);
        let base = gpu.storage("base", base_rows.len() * engine.model.config.vocab).unwrap();
        trainer.plan.set_batch(&pack(0.0).batch);
        let mut commands = gpu.commands("hidden");
        for &(from, to, n) in &packed.copies {
            trainer.plan.copy_input(&mut commands, &engine.store.buffer, from, to, n);
        }
        trainer.plan.forward(&mut commands, rows);
        commands.submit();
        trainer.plan.loss.log_probabilities(&base_rows, &base, 0);
        trainer.plan.set_batch(&packed.batch);
        Self { engine, trainer, rows, cross_entropy, kl, base }
    }

    /// Cross entropy and KL at the B in force; the gradient is left in the plan.
    fn loss(&self) -> (f32, f32) {
        let (plan, results) = (&self.trainer.plan, &self.trainer.results);
        let mut commands = self.engine.gpu.commands("loss and gradient");
        plan.forward(&mut commands, self.rows);
        plan.clear(&mut commands);
        plan.loss.run(&mut commands, Loss::CrossEntropy, &self.cross_entropy, results, 0);
        plan.loss.run(&mut commands, Loss::Kl(&self.base), &self.kl, results, self.cross_entropy.len());
        plan.backward(&mut commands, self.rows);
        commands.submit();
        let n = self.cross_entropy.len();
        let losses: Vec<f32> = pollster::block_on(self.engine.gpu.read(results, 0, n + self.kl.len())).unwrap();
        let kl_weight: f32 = self.kl.weights.iter().sum();
        (losses[..n].iter().sum(), losses[n..].iter().sum::<f32>() / kl_weight)
    }

    fn step(&self, settings: &FastSettings, step: usize) {
        let mut commands = self.engine.gpu.commands("optimizer");
        self.trainer.optimizer.step(&self.engine.gpu, &mut commands, settings, step);
        commands.submit();
    }

    fn total(&self) -> f64 {
        let (cross_entropy, kl) = self.loss();
        f64::from(cross_entropy) + f64::from(self.kl.weights.iter().sum::<f32>()) * f64::from(kl)
    }

    fn gradient(&self) -> Vec<f32> {
        let gradient = &self.trainer.plan.gradient;
        pollster::block_on(self.engine.gpu.read(gradient, 0, gradient.words())).unwrap()
    }

    fn set_b(&self, b: &[f32]) {
        self.engine.gpu.write(&self.engine.adapter.as_ref().unwrap().b, 0, b);
    }

    /// A flat vector over all sites from the fixture's tensors.
    fn flat(&self, tensors: &SafeTensors<'_>, name: &str, what: &str) -> Vec<f32> {
        self.engine
            .sites
            .iter()
            .flat_map(|site| floats(tensors, &format!("{name}.{}.{}.{what}", site.layer, site.projection.name())))
            .collect()
    }
}

/// ‖got − want‖ / ‖want‖.
fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>();
    let difference = square(&mut got.iter().zip(want).map(|(g, w)| f64::from(*g) - f64::from(*w)));
    (difference / square(&mut want.iter().map(|w| f64::from(*w)))).sqrt()
}

/// f32 sums against f64 ones: a gradient this close is the same gradient.
const GRADIENT_TOLERANCE: f64 = 1e-4;

#[test]
fn the_gradient_of_every_site_agrees_with_pytorch_and_a_wrong_one_does_not() {
    let (fixture, tensors) = read_fixture();
    let tensors = SafeTensors::deserialize(&tensors).unwrap();
    for (name, tiny) in &fixture.models {
        for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
            let bench = Bench::tiny(name, tiny, kind);
            bench.set_b(&bench.flat(&tensors, name, "b"));
            let (cross_entropy, kl) = bench.loss();
            assert!((cross_entropy / tiny.loss.cross_entropy - 1.0).abs() < 1e-5, "{name}: {cross_entropy}");
            assert!((kl / tiny.loss.kl - 1.0).abs() < 1e-3, "{name}: KL {kl}, want {}", tiny.loss.kl);
            let (got, want) = (bench.gradient(), bench.flat(&tensors, name, "gradient"));
            let sites = &bench.engine.adapter.as_ref().unwrap().sites.sites;
            for site in sites {
                let range = site.b_offset..site.b_offset + site.outputs * tiny.batch.rank;
                let error = relative_error(&got[range.clone()], &want[range.clone()]);
                assert!(error < GRADIENT_TOLERANCE, "{name} {site:?}: off by {error:e}");
                // Negative control: the comparison must notice a gradient that is a tenth of a per cent too long,
                // and one with two of its entries exchanged.
                let longer: Vec<f32> = got[range.clone()].iter().map(|g| g * 1.001).collect();
                assert!(relative_error(&longer, &want[range.clone()]) > GRADIENT_TOLERANCE);
                let mut exchanged = got[range.clone()].to_vec();
                exchanged.swap(0, tiny.batch.rank + 1);
                assert!(relative_error(&exchanged, &want[range]) > GRADIENT_TOLERANCE);
            }
            bench.loss();
            assert_eq!(got, bench.gradient(), "the same batch must give the same bits");
        }
    }
}

#[test]
fn the_gradient_of_every_site_agrees_with_finite_differences() {
    let (fixture, tensors) = read_fixture();
    let tensors = SafeTensors::deserialize(&tensors).unwrap();
    let (name, tiny) = fixture.models.first_key_value().unwrap();
    let bench = Bench::tiny(name, tiny, AdapterKind::Cpu);
    let b = bench.flat(&tensors, name, "b");
    bench.set_b(&b);
    bench.loss();
    let gradient = bench.gradient();
    for site in &bench.engine.adapter.as_ref().unwrap().sites.sites {
        let range = site.b_offset..site.b_offset + site.outputs * tiny.batch.rank;
        let own = &gradient[range.clone()];
        let length = own.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        // Along the gradient the slope is its length.
        let step = 2e-3;
        let at = |sign: f64| {
            let mut moved = b.clone();
            for (v, g) in moved[range.clone()].iter_mut().zip(own) {
                *v += (sign * step * f64::from(*g) / length) as f32;
            }
            bench.set_b(&moved);
            bench.total()
        };
        let slope = (at(1.0) - at(-1.0)) / (2.0 * step);
        assert!((slope / length - 1.0).abs() < 1e-2, "{site:?}: slope {slope}, gradient's length {length}");
    }
}

#[test]
fn ten_training_steps_have_pytorchs_losses() {
    let (fixture, _) = read_fixture();
    for (name, tiny) in &fixture.models {
        for (optimizer, run) in &tiny.losses_ten_steps {
            let bench = Bench::tiny(name, tiny, AdapterKind::Cpu);
            let settings = FastSettings {
                optimizer: if optimizer == "adamw" { OptimizerKind::Adamw } else { OptimizerKind::Sgd },
                learning_rate: run.learning_rate,
                ..FastSettings::default()
            };
            bench.trainer.optimizer.begin(&bench.engine.gpu, &[], &[]);
            for (step, (&want, &want_kl)) in run.cross_entropy.iter().zip(&run.kl).enumerate() {
                let (cross_entropy, kl) = bench.loss();
                let error = (cross_entropy / want - 1.0).abs();
                assert!(error < 1e-3, "{name} {optimizer} step {step}: {cross_entropy}, PyTorch {want}");
                assert!(
                    (kl - want_kl).abs() < 1e-3 * want_kl.max(1e-2),
                    "{name} {optimizer} {step}: KL {kl}, {want_kl}"
                );
                bench.step(&settings, step);
            }
        }
    }
}

#[test]
fn the_spectra_agree_with_a_dense_decomposition() {
    let (fixture, tensors) = read_fixture();
    let tensors = SafeTensors::deserialize(&tensors).unwrap();
    for (name, tiny) in &fixture.models {
        let bench = Bench::tiny(name, tiny, AdapterKind::Cpu);
        let adapter = bench.engine.adapter.as_ref().unwrap();
        let a: Vec<f32> = pollster::block_on(bench.engine.gpu.read(&adapter.a, 0, adapter.sites.a_len)).unwrap();
        for (site, info) in adapter.sites.sites.iter().zip(&bench.engine.sites) {
            let key = format!("{}.{}", site.layer, site.projection.name());
            for (got, want) in info.singular_values.iter().zip(&tiny.singular_values[&key]) {
                assert!((got / want - 1.0).abs() < 1e-4, "{name} {key}: σ {got}, want {want}");
            }
            assert!(info.orthonormality_error < 1e-5 && info.residual < 1e-4, "{name} {key}: {info:?}");
            let got = &a[site.a_offset..][..tiny.batch.rank * site.inputs];
            let error = relative_error(got, &floats(&tensors, &format!("{name}.{key}.a")));
            assert!(error < 1e-3, "{name} {key}: A is off by {error:e}");
        }
    }
}

#[derive(Deserialize)]
struct RealRun {
    #[serde(flatten)]
    batch: Batch,
    learning_rate: f32,
    losses_ten_steps: RealLosses,
    sites: Vec<RealSite>,
}

#[derive(Deserialize)]
struct RealLosses {
    cross_entropy: Vec<f32>,
}

#[derive(Deserialize)]
struct RealSite {
    layer: usize,
    projection: String,
    singular_values: Vec<f32>,
    weight_norm: f32,
    relative_norm: f32,
}

/// Adam's first step is the sign of the gradient: entries whose gradient is within rounding of zero may go the other
/// way. The losses agree closely at first and drift a little as such entries add up.
#[test]
fn ten_training_steps_of_smollm2_have_pytorchs_losses() {
    let run: RealRun =
        serde_json::from_str(&std::fs::read_to_string(fixtures().join("smollm2_training.json")).unwrap()).unwrap();
    let model = std::env::var_os("TMEM_MODEL")
        .map_or_else(|| fixtures().join("../../models/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from);
    assert!(model.exists(), "{} is missing: run `cargo xtask model`", model.display());
    let bench = Bench::new(&model, 4, &run.batch, None);
    for (want, got) in run.sites.iter().zip(&bench.engine.sites) {
        assert_eq!((want.layer, want.projection.as_str()), (got.layer, got.projection.name()));
        assert!((got.weight_norm / want.weight_norm - 1.0).abs() < 1e-4, "{got:?}");
        for (got, want) in got.singular_values.iter().zip(&want.singular_values) {
            assert!((got / want - 1.0).abs() < 1e-3, "σ {got}, want {want}");
        }
    }
    let settings =
        FastSettings { optimizer: OptimizerKind::Adamw, learning_rate: run.learning_rate, ..FastSettings::default() };
    bench.trainer.optimizer.begin(&bench.engine.gpu, &[], &[]);
    for (step, &want) in run.losses_ten_steps.cross_entropy.iter().enumerate() {
        let (got, _) = bench.loss();
        let tolerance = if step < 4 { 0.01 } else { 0.10 };
        assert!((got / want - 1.0).abs() < tolerance, "step {step}: {got}, PyTorch {want}");
        if step < 10 {
            bench.step(&settings, step);
        }
    }
    // The eleventh loss is measured after the last step; so are these norms.
    for (norm, want) in pollster::block_on(bench.engine.site_norms()).unwrap().iter().zip(&run.sites) {
        assert!((norm.relative / want.relative_norm - 1.0).abs() < 0.02, "{norm:?}, want {}", want.relative_norm);
    }
}
