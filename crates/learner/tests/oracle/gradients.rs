//! The gradient of every B of the fast weights: PyTorch's in f64, and that of the engine's hand-written backward pass.

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use serde::Deserialize;
use tmem_core::engine::AnsweredPrompt;
use tmem_core::fast::Projection;
use tmem_core::fast::peft::{PeftAdapter, PeftSite};
use tmem_core::model::ModelConfig;
use tmem_learner::model::{Anchor, Batch, FastGradient, FastWeights, LossSums, Model, Sequence, WeightedLikelihood};
use tmem_learner::train::{WriteSettings, simulate_write};

use crate::support::{device, engine, fixture, host, relative_error, tiny};

/// f32 sums against f64 ones, and f32 sums in another order: a gradient this close is the same gradient.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Fixture {
    models: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    prefix: Vec<u32>,
    cards: Vec<Card>,
    anchors: Vec<Prompt>,
    sites: Vec<Site>,
    rank: usize,
    kl_weight: f32,
    loss: Loss,
    losses_ten_steps: Steps,
}

#[derive(Deserialize)]
struct Card {
    question: Vec<u32>,
    answer: Vec<u32>,
}

#[derive(Deserialize)]
struct Prompt {
    tokens: Vec<u32>,
    positions: Vec<usize>,
}

#[derive(Deserialize)]
struct Site {
    layer: usize,
    projection: Projection,
}

#[derive(Deserialize)]
struct Loss {
    cross_entropy: f64,
    kl: f64,
}

/// Ten full-batch steps from B = 0.
#[derive(Deserialize)]
struct Steps {
    adamw: Run,
}

#[derive(Deserialize)]
struct Run {
    learning_rate: f64,
    total: Vec<f64>,
}

/// A case with its tensors.
pub(crate) struct Bench {
    pub(crate) case: Case,
    pub(crate) model: Model,
    pub(crate) delta: PeftAdapter,
    /// PyTorch's gradient of the whole loss, per site.
    gradients: Vec<Vec<f32>>,
    /// PyTorch's B after ten steps of AdamW, per site.
    written: Vec<Vec<f32>>,
}

pub(crate) fn benches() -> Vec<(String, Bench)> {
    let text = std::fs::read_to_string(fixture("gradients_tiny.json")).unwrap();
    let fixtures: Fixture = serde_json::from_str(&text).unwrap();
    let bytes = std::fs::read(fixture("gradients_tiny.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let bench = |(name, case): (String, Case)| {
        let model = Model::new(&host(tiny(&format!("tiny_{name}"), "f32")), &device());
        let floats = |site: &Site, what: &str| -> Vec<f32> {
            let key = format!("{name}.{}.{}.{what}", site.layer, site.projection.name());
            let data = tensors.tensor(&key).unwrap();
            data.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
        };
        let site = |site: &Site| {
            let (inputs, outputs) = site.projection.shape(model.config());
            let (a, b) = (floats(site, "a"), floats(site, "b"));
            PeftSite { layer: site.layer, projection: site.projection, a, b, inputs, outputs }
        };
        let delta = PeftAdapter { rank: case.rank, sites: case.sites.iter().map(site).collect() };
        let all = |what| case.sites.iter().map(|site| floats(site, what)).collect();
        let (gradients, written) = (all("gradient"), all("b_adamw"));
        (name.clone(), Bench { case, model, delta, gradients, written })
    };
    fixtures.models.into_iter().map(bench).collect()
}

impl Case {
    fn prompt(&self, tokens: &[u32]) -> Vec<u32> {
        [self.prefix.as_slice(), tokens].concat()
    }

    /// The cards with a mean cross entropy as their loss.
    pub(crate) fn cards(&self) -> Vec<Sequence> {
        let targets: usize = self.cards.iter().map(|card| card.answer.len()).sum();
        let weight = 1.0 / targets as f32;
        let sequence = |c: &Card| Sequence::answered(&self.prompt(&c.question), &c.answer, weight).under(0, 1.0);
        self.cards.iter().map(sequence).collect()
    }

    /// The anchor prompts with the weighted mean KL as their loss.
    fn anchors(&self) -> Vec<Sequence> {
        let positions: usize = self.anchors.iter().map(|anchor| anchor.positions.len()).sum();
        let weight = self.kl_weight / positions as f32;
        let sequence = |prompt: &Prompt| {
            let anchors = prompt.positions.iter().map(|p| Anchor { position: self.prefix.len() + p, weight });
            let tokens = self.prompt(&prompt.tokens);
            Sequence { tokens, anchors: anchors.collect(), ..Sequence::default() }.under(0, 1.0)
        };
        self.anchors.iter().map(sequence).collect()
    }
}

/// Loss and gradient by B of the sequences, two or three to a row.
pub(crate) fn learner_gradients(
    model: &Model,
    delta: &PeftAdapter,
    sequences: &[Sequence],
) -> (LossSums, Vec<FastGradient>) {
    let fast = FastWeights::new(model.config(), std::slice::from_ref(delta), &device()).unwrap();
    let longest = sequences.iter().map(|sequence| sequence.tokens.len()).max().unwrap();
    let batch = Batch::pack(model.config(), sequences, 2 * longest).unwrap();
    let objective = WeightedLikelihood { batch: &batch };
    model.fast_gradients(&batch, &fast.with_gradients(&device()), &objective).unwrap()
}

/// Holds gradients against others, site by site (which may be in another order); the largest error.
pub(crate) fn compare(config: &ModelConfig, got: &[FastGradient], want: &[(usize, Projection, &[f32])]) -> f64 {
    assert_eq!(got.len(), want.len());
    let error = |&(layer, projection, want): &(usize, Projection, &[f32])| {
        let got = got.iter().find(|g| (g.layer, g.projection) == (layer, projection)).unwrap();
        assert!(layer < config.layers && want.iter().any(|v| *v != 0.0));
        relative_error(&got.gradient, want)
    };
    want.iter().map(error).fold(0.0, f64::max)
}

#[test]
fn every_gradient_agrees_with_pytorch_and_a_wrong_one_does_not() {
    for (name, Bench { case, model, delta, gradients, .. }) in benches() {
        let mut sequences = case.cards();
        sequences.extend(case.anchors());
        let (losses, got) = learner_gradients(&model, &delta, &sequences);
        assert!((losses.objective / case.loss.cross_entropy - 1.0).abs() < 1e-5, "{name}: {losses:?}");
        let kl = losses.anchors / f64::from(case.kl_weight);
        assert!((kl / case.loss.kl - 1.0).abs() < 1e-3, "{name}: KL {kl}, want {}", case.loss.kl);
        let want: Vec<_> =
            case.sites.iter().zip(&gradients).map(|(s, g)| (s.layer, s.projection, g.as_slice())).collect();
        let error = compare(model.config(), &got, &want);
        assert!(error < TOLERANCE, "{name}: off by {error:e}");

        // Negative controls: a wrong sign, a gradient a tenth of a per cent too long, targets shifted by one.
        for factor in [-1.0, 1.001] {
            let mut wrong = got.clone();
            wrong.iter_mut().flat_map(|site| &mut site.gradient).for_each(|value| *value *= factor);
            assert!(compare(model.config(), &wrong, &want) > TOLERANCE, "{name}: times {factor} was not noticed");
        }
        for sequence in &mut sequences {
            let tokens: Vec<u32> = sequence.targets.iter().map(|target| target.token).collect();
            let next = tokens.iter().cycle().skip(1);
            sequence.targets.iter_mut().zip(next).for_each(|(target, &token)| target.token = token);
        }
        let (_, shifted) = learner_gradients(&model, &delta, &sequences);
        assert!(compare(model.config(), &shifted, &want) > 0.1, "{name}: shifted targets were not noticed");
    }
}

#[test]
fn every_gradient_agrees_with_the_engines_backward_pass() {
    for (name, Bench { case, model, delta, .. }) in benches() {
        let mut engine = engine(tiny(&format!("tiny_{name}"), "f32"), 2);
        pollster::block_on(engine.import_peft(&delta, &[])).unwrap();
        let answered = |c: &Card| AnsweredPrompt { prompt: case.prompt(&c.question), answer: c.answer.clone() };
        let pairs: Vec<_> = case.cards.iter().map(answered).collect();
        let want = pollster::block_on(engine.answer_gradient(&pairs)).unwrap();
        assert_eq!(pollster::block_on(engine.answer_gradient(&pairs)).unwrap(), want, "it changes nothing");

        let (losses, got) = learner_gradients(&model, &delta, &case.cards());
        assert!((losses.objective / f64::from(want.loss) - 1.0).abs() < 1e-5, "{name}: {losses:?}, {}", want.loss);
        let sites: Vec<_> =
            engine.sites().iter().zip(&want.sites).map(|(s, g)| (s.layer, s.projection, g.as_slice())).collect();
        let error = compare(model.config(), &got, &sites);
        assert!(error < TOLERANCE, "{name}: off by {error:e}");
    }
}

/// Adam's first step is the sign of the gradient: an entry whose gradient is within rounding of zero may go the other
/// way, so B agrees less closely than the gradients that made it.
#[test]
fn a_simulated_write_is_pytorchs() {
    for (name, Bench { case, model, mut delta, written, .. }) in benches() {
        delta.sites.iter_mut().for_each(|site| site.b.fill(0.0));
        let mut sequences = case.cards();
        sequences.extend(case.anchors());
        let batch = Batch::pack(model.config(), &sequences, 0).unwrap();
        let Run { learning_rate, total } = &case.losses_ten_steps.adamw;
        let settings = WriteSettings { learning_rate: *learning_rate, steps: 10, ..WriteSettings::default() };
        let (got, losses) = simulate_write(&model, &delta, &[batch], &settings).unwrap();
        for (step, (got, want)) in losses.iter().zip(total).enumerate() {
            assert!((got.total() / want - 1.0).abs() < 1e-3, "{name} step {step}: {got:?}, PyTorch {want}");
        }
        for (site, want) in case.sites.iter().zip(&written) {
            let place = (site.layer, site.projection);
            let got = got.sites.iter().find(|got| (got.layer, got.projection) == place).unwrap();
            let error = relative_error(&got.b, want);
            assert!(error < 1e-2, "{name} {place:?}: B is off by {error:e}");
        }
    }
}

#[test]
fn the_engine_refuses_what_it_cannot_batch() {
    let mut engine = engine(tiny("tiny_a", "f32"), 2);
    let pair = |prompt: &[u32], answer: &[u32]| AnsweredPrompt { prompt: prompt.to_vec(), answer: answer.to_vec() };
    let cases = [
        (vec![], "must begin with the same token"),
        (vec![pair(&[1, 2], &[3]), pair(&[4, 2], &[3])], "must begin with the same token"),
        (vec![pair(&[1, 2], &[])], "must not be empty"),
        (vec![pair(&[1; 200], &[2; 600])], "a training batch takes"),
    ];
    for (pairs, part) in cases {
        let message = pollster::block_on(engine.answer_gradient(&pairs)).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}
