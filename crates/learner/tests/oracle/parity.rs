//! Logits and log-probabilities of the tiny models, in every weight format: those of the engine and of the reference.

use std::collections::BTreeMap;

use serde::Deserialize;
use tmem_core::rollout::policy::Weights;
use tmem_learner::model::{Batch, FastWeights, Model, Sequence, State, WeightedLikelihood};

use crate::support::{
    TINY, chain, device, engine, fixture, host, largest_difference, log_probability, tiny, with_random_b,
};

/// Logits are of the order of 4; sums of f32 in another order differ by less than this.
const TOLERANCE: f32 = 5e-4;
/// The reference's own tolerance in the engine's tests.
const REFERENCE_TOLERANCE: f32 = 2e-3;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    ids: Vec<u32>,
    #[serde(default)]
    logits: Option<Vec<Vec<f32>>>,
}

fn cases(name: &str, format: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(fixture(&format!("{name}.reference.json"))).unwrap();
    let mut all: BTreeMap<String, Reference> = serde_json::from_str(&text).unwrap();
    all.remove(format).unwrap().cases
}

/// The prompts whose last tokens are the tokens of `ids`, one after the other.
fn beginnings(ids: &[u32]) -> Vec<Vec<u32>> {
    (1..=ids.len()).map(|n| ids[..n].to_vec()).collect()
}

#[test]
fn logits_and_log_probabilities_are_the_engines_in_every_format() {
    for (name, formats) in TINY {
        for format in formats {
            let model = Model::new(&host(tiny(name, format)), &device());
            let mut engine = engine(tiny(name, format), 2);
            let cases = cases(name, format);
            let sequences: Vec<Sequence> = cases.iter().map(|case| chain(&case.ids)).collect();
            let batch = Batch::pack(model.config(), &sequences, 0).unwrap();
            let logits = model.logits(State::Base, &batch, None).unwrap();
            let got = model.log_probabilities(State::Base, &batch, None).unwrap();
            let (mut first, targets) = (0, batch.targets().copied().collect::<Vec<_>>());
            for case in &cases {
                let range = first..first + case.ids.len();
                let want = pollster::block_on(engine.next_logits(&beginnings(&case.ids), Weights::Frozen)).unwrap();
                for (position, (got, want)) in logits[range.clone()].iter().zip(&want).enumerate() {
                    let worst = largest_difference(got, want);
                    assert!(worst < TOLERANCE, "{name} {format}: logits at {position} are off by {worst}");
                }
                // Negative control: the comparison must notice logits of the position before.
                assert!(largest_difference(&logits[range.start], &want[1]) > 10.0 * TOLERANCE);
                for (i, want) in range.clone().zip(&want) {
                    let worst = (got[i] - log_probability(want, targets[i].token)).abs();
                    assert!(worst < TOLERANCE, "{name} {format}: log-probability {i} is off by {worst}");
                }
                for (got, want) in logits[range.clone()].iter().zip(case.logits.iter().flatten()) {
                    let worst = largest_difference(got, want);
                    assert!(worst < REFERENCE_TOLERANCE, "{name} {format}: off the reference by {worst}");
                }
                first = range.end;
            }
        }
    }
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    for name in ["tiny_a", "tiny_b"] {
        let model = Model::new(&host(tiny(name, "f32")), &device());
        let sequences: Vec<Sequence> = cases(name, "f32").iter().map(|case| chain(&case.ids)).collect();
        let apart = Batch::pack(model.config(), &sequences, 0).unwrap();
        let packed = Batch::pack(model.config(), &sequences, 256).unwrap();
        assert_ne!(apart, packed);
        let apart = model.log_probabilities(State::Base, &apart, None).unwrap();
        let worst = largest_difference(&model.log_probabilities(State::Base, &packed, None).unwrap(), &apart);
        assert!(worst < 1e-5, "{name}: off by {worst}");
    }
}

#[test]
fn a_beginning_that_sequences_share_in_a_row_changes_neither_losses_nor_gradients() {
    for name in ["tiny_a", "tiny_b"] {
        let model = Model::new(&host(tiny(name, "f32")), &device());
        let exported = pollster::block_on(engine(tiny(name, "f32"), 2).export_peft()).unwrap();
        let fast = FastWeights::new(model.config(), &[with_random_b(exported, 0.02, 1)], &device()).unwrap();
        let fast = fast.with_gradients(&device());
        let asked = |prompt: &[u32], answer: &[u32]| Sequence::answered(prompt, answer, 1.0).under(0, 1.0);
        let sequences = [
            asked(&[5, 17, 3, 9, 40], &[7, 8]),
            asked(&[5, 17, 3, 9, 22, 61], &[8, 1]),
            asked(&[5, 17, 3, 11], &[40]),
            asked(&[30, 17, 3], &[2]),
        ];
        let [apart, packed] = [0, 64].map(|row| Batch::pack(model.config(), &sequences, row).unwrap());
        assert_eq!((apart.tokens(), packed.tokens()), (20, 20 - 4 - 3));
        let [(loss, gradients), (packed_loss, packed_gradients)] =
            [&apart, &packed].map(|batch| model.fast_gradients(batch, &fast, &WeightedLikelihood { batch }).unwrap());
        assert!((packed_loss.total() / loss.total() - 1.0).abs() < 1e-6, "{name}: {loss:?} {packed_loss:?}");
        for (apart, packed) in gradients.iter().zip(&packed_gradients) {
            let worst = largest_difference(&apart.gradient, &packed.gradient);
            let largest = apart.gradient.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            assert!(worst < 1e-5 * largest, "{name}: {:?} of layer {}: {worst}", apart.projection, apart.layer);
        }
    }
}

#[test]
fn every_sequence_is_computed_under_its_own_fast_weights() {
    for name in ["tiny_a", "tiny_b"] {
        let mut engine = engine(tiny(name, "q4_1"), 2);
        let model = Model::new(&host(tiny(name, "q4_1")), &device());
        let exported = pollster::block_on(engine.export_peft()).unwrap();
        let deltas = [with_random_b(exported.clone(), 0.02, 1), with_random_b(exported, 0.02, 20)];
        let fast = FastWeights::new(model.config(), &deltas, &device()).unwrap();
        let ids = &cases(name, "q4_1")[0].ids;
        let sequences = [chain(ids).under(1, 1.0), chain(ids), chain(ids).under(0, 1.0), chain(ids).under(0, 0.0)];
        let batch = Batch::pack(model.config(), &sequences, 2 * ids.len()).unwrap();
        let logits = model.logits(State::Base, &batch, Some(&fast)).unwrap();
        let of = |sequence: usize| &logits[sequence * ids.len()..][..ids.len()];

        for (sequence, delta) in [(2, &deltas[0]), (0, &deltas[1])] {
            pollster::block_on(engine.import_peft(delta, &[])).unwrap();
            let want = pollster::block_on(engine.next_logits(&beginnings(ids), Weights::FastUngated)).unwrap();
            for (got, want) in of(sequence).iter().zip(&want) {
                let worst = largest_difference(got, want);
                assert!(worst < TOLERANCE, "{name}: under its Δ sequence {sequence} is off by {worst}");
            }
            assert!(largest_difference(&of(1)[0], &want[0]) > 10.0 * TOLERANCE, "Δ is large enough to be seen");
        }
        for (open, shut) in of(1).iter().zip(of(3)) {
            assert!(largest_difference(open, shut) < 1e-5, "{name}: a gate of 0 is Δ = 0");
        }
    }
}

#[test]
fn fast_weights_that_do_not_fit_are_refused() {
    let model = Model::new(&host(tiny("tiny_a", "f32")), &device());
    let adapter = pollster::block_on(engine(tiny("tiny_a", "f32"), 2).export_peft()).unwrap();
    let refused = |deltas: &[_]| FastWeights::new(model.config(), deltas, &device()).unwrap_err().to_string();
    assert_eq!(refused(&[]), "the fast weights are an empty list");
    let mut other = adapter.clone();
    other.sites[1].b.pop();
    assert!(refused(&[adapter.clone(), other]).contains("number 1 do not fit the model and the first at up_proj"));
    let mut fewer = adapter.clone();
    fewer.sites.pop();
    assert!(refused(&[fewer, adapter.clone()]).contains("number 1"));

    let fast = FastWeights::new(model.config(), &[adapter], &device()).unwrap();
    let batch = Batch::pack(model.config(), &[chain(&[1, 2]).under(1, 1.0)], 0).unwrap();
    let message = model.logits(State::Base, &batch, Some(&fast)).unwrap_err().to_string();
    assert_eq!(message, "the fast weights are 1, a sequence asks for number 1");
}
