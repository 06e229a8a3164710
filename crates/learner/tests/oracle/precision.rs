//! Half precision of what is frozen, against f32.

use tmem_learner::model::{Batch, Model, Precision, State};
use tmem_learner::train::TrainStep;

use crate::gradients::{benches, compare, learner_gradients};
use crate::support::{chain, device, host, relative_error, tiny};
use crate::training;

/// What rounding every matrix and every input to 10 and to 7 bits of fraction may do to logits and gradients: some ten
/// roundings, each of half a unit of the last bit.
const CASES: [(Precision, f64); 2] = [(Precision::F16, 5e-3), (Precision::Bf16, 4e-2)];

#[test]
fn half_precision_computes_nearly_the_same() {
    for (precision, tolerance) in CASES {
        for name in ["tiny_a", "tiny_b"] {
            let exact = Model::new(&host(tiny(name, "f32")), &device());
            let half = exact.clone().with_precision(precision);
            let batch = Batch::pack(exact.config(), &[chain(&[1, 40, 77, 5, 120, 9, 200, 33])], 0).unwrap();
            let logits = |model: &Model| model.logits(State::Base, &batch, None).unwrap().concat();
            let apart = relative_error(&logits(&half), &logits(&exact));
            assert!(apart > 0.0 && apart < tolerance, "{name} {precision:?}: logits are {apart} apart");
        }
        for (name, bench) in benches() {
            let half = bench.model.clone().with_precision(precision);
            let sequences = bench.case.cards();
            let (_, exact) = learner_gradients(&bench.model, &bench.delta, &sequences);
            let (_, got) = learner_gradients(&half, &bench.delta, &sequences);
            let exact: Vec<_> = exact.iter().map(|g| (g.layer, g.projection, g.gradient.as_slice())).collect();
            let apart = compare(half.config(), &got, &exact);
            assert!(apart > 0.0 && apart < tolerance, "{name} {precision:?}: gradients are {apart} apart");
        }
    }
}

#[test]
fn an_adapter_learns_beside_half_precision() {
    for (precision, _) in CASES {
        let model = training::with_adapter("tiny_a").with_precision(precision);
        let mut step = TrainStep::new(model, training::settings(2e-2)).unwrap();
        let reports = training::run(&mut step, training::STEPS);
        let (first, last) = (reports[0].objective, reports[training::STEPS - 1].objective);
        assert!(last < 0.1 * first, "{precision:?}: the loss went from {first} to {last}");
    }
}
