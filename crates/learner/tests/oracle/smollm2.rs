//! The learner on SmolLM2-135M: logits and gradients are the engine's and the reference's.

use serde::Deserialize;
use tmem_core::engine::AnsweredPrompt;
use tmem_core::rollout::policy::Weights;
use tmem_learner::model::{Batch, FastWeights, Model, Sequence, SlowAdapter, SlowSettings, State, Target};

use crate::gradients::{compare, learner_gradients};
use crate::support::{
    chain, device, engine, engine_of, fixture, host, largest_difference, log_probability, smollm2, with_random_b,
};

/// Logits are of the order of 20; both sides sum in f32, in another order.
const TOLERANCE: f32 = 5e-3;
/// The reference's own tolerance in the engine's tests.
const REFERENCE_TOLERANCE: f32 = 2e-2;

#[derive(Deserialize)]
struct Reference {
    model_sha256: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    ids: Vec<u32>,
    logits: Vec<Logits>,
}

#[derive(Deserialize)]
struct Logits {
    position: usize,
    argmax: u32,
    vocabulary: Vec<usize>,
    logits: Vec<f32>,
}

#[derive(Deserialize)]
struct Training {
    prefix: Vec<u32>,
    cards: Vec<Card>,
}

#[derive(Deserialize)]
struct Card {
    question: Vec<u32>,
    answer: Vec<u32>,
}

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

#[test]
fn smollm2_has_the_logits_of_the_engine_and_of_the_reference() {
    let reference: Reference = read("smollm2_reference.json");
    let file = host(smollm2());
    assert_eq!(file.sha256, reference.model_sha256, "the fixtures belong to another file");
    let model = Model::new(&file, &device());
    let mut engine = engine(smollm2(), 4);
    // The shortest cases: a CPU reads some dozens of tokens a second.
    let mut cases = reference.cases;
    cases.sort_by_key(|case| case.ids.len());
    for case in &cases[..2] {
        let target = |l: &Logits| Target { position: l.position, token: l.argmax, weight: 1.0, reference: None };
        let targets = case.logits.iter().map(target).collect();
        let sequence = Sequence { tokens: case.ids.clone(), targets, ..Sequence::default() };
        let batch = Batch::pack(model.config(), &[sequence], 0).unwrap();
        let logits = model.logits(State::Base, &batch, None).unwrap();
        let log_probabilities = model.log_probabilities(State::Base, &batch, None).unwrap();
        let prompts: Vec<Vec<u32>> = case.logits.iter().map(|l| case.ids[..=l.position].to_vec()).collect();
        let engines = pollster::block_on(engine.next_logits(&prompts, Weights::Frozen)).unwrap();
        for (((got, log_probability_got), want), reference) in
            logits.iter().zip(log_probabilities).zip(&engines).zip(&case.logits)
        {
            let worst = largest_difference(got, want);
            assert!(worst < TOLERANCE, "{} at {}: off the engine by {worst}", case.name, reference.position);
            let apart = (log_probability_got - log_probability(want, reference.argmax)).abs();
            assert!(apart < TOLERANCE, "{} at {}: log-probability off by {apart}", case.name, reference.position);
            for (&token, &logit) in reference.vocabulary.iter().zip(&reference.logits) {
                let error = (got[token] - logit).abs();
                assert!(error < REFERENCE_TOLERANCE, "{}: token {token} off the reference by {error}", case.name);
            }
        }
    }
}

/// What merging costs on the model that it is made for: the gap between the log-probabilities of the engine that rolls
/// out, which holds W + B A in 16 bits, and of the learner that trains.
#[test]
fn smollm2_with_a_slow_adapter_has_nearly_the_engines_log_probabilities() {
    let reference: Reference = read("smollm2_reference.json");
    let file = host(smollm2());
    let fresh = SlowAdapter::new(&file.config, &SlowSettings::default(), &device()).unwrap();
    let adapter = SlowAdapter::from_peft(&with_random_b(fresh.to_peft().unwrap(), 5e-2, 9), &device());
    let (files, _) = adapter.export(&file.config, &file.name).unwrap();
    let mut engine = engine_of(smollm2(), 4, Some(files));
    let case = reference.cases.iter().min_by_key(|case| case.ids.len()).unwrap();
    let batch = Batch::pack(&file.config, &[chain(&case.ids)], 0).unwrap();
    let base = Model::new(&file, &device());
    let before = base.log_probabilities(State::Base, &batch, None).unwrap();
    let trained = base.with_slow_adapter(adapter).log_probabilities(State::Trained, &batch, None).unwrap();
    let prompts: Vec<Vec<u32>> = (1..case.ids.len()).map(|n| case.ids[..n].to_vec()).collect();
    let engines = pollster::block_on(engine.next_logits(&prompts, Weights::Frozen)).unwrap();
    let engines: Vec<f32> = engines.iter().zip(&case.ids[1..]).map(|(l, &token)| log_probability(l, token)).collect();
    let mean = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / engines.len() as f32;
    let (gap, change) = (mean(&engines, &trained), mean(&before[..engines.len()], &trained));
    assert!(gap < 0.005, "log-probabilities are {gap} apart on average");
    assert!(change > 20.0 * gap, "the adapter changes them by {change}, rounding by {gap}");
}

#[test]
fn smollm2_has_the_engines_gradient_and_log_probabilities_under_fast_weights() {
    let Training { prefix, cards } = read("smollm2_training.json");
    let model = Model::new(&host(smollm2()), &device());
    let mut engine = engine(smollm2(), 4);
    let delta = with_random_b(pollster::block_on(engine.export_peft()).unwrap(), 2e-3, 5);
    pollster::block_on(engine.import_peft(&delta, &[])).unwrap();
    let pairs: Vec<AnsweredPrompt> = cards
        .iter()
        .map(|card| AnsweredPrompt {
            prompt: [prefix.clone(), card.question.clone()].concat(),
            answer: card.answer.clone(),
        })
        .collect();
    let want = pollster::block_on(engine.answer_gradient(&pairs)).unwrap();

    let targets: usize = pairs.iter().map(|pair| pair.answer.len()).sum();
    let sequence = |pair: &AnsweredPrompt| Sequence::answered(&pair.prompt, &pair.answer, 1.0 / targets as f32);
    let sequences: Vec<Sequence> = pairs.iter().map(|pair| sequence(pair).under(0, 1.0)).collect();
    let (losses, got) = learner_gradients(&model, &delta, &sequences);
    assert!((losses.objective / f64::from(want.loss) - 1.0).abs() < 1e-4, "{losses:?}, {}", want.loss);
    let sites: Vec<_> =
        engine.sites().iter().zip(&want.sites).map(|(s, g)| (s.layer, s.projection, g.as_slice())).collect();
    let error = compare(model.config(), &got, &sites);
    assert!(error < 1e-3, "off by {error:e}");

    let fast = FastWeights::new(model.config(), &[delta], &device()).unwrap();
    let batch = Batch::pack(model.config(), &sequences, 0).unwrap();
    let sum: f32 = model.log_probabilities(State::Base, &batch, Some(&fast)).unwrap().iter().sum();
    assert!((-sum / targets as f32 / want.loss - 1.0).abs() < 1e-4, "{sum}, {}", want.loss);
}
