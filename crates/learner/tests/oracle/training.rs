//! Training steps: what they learn, that they are repeatable, and what they are made of.

use tmem_learner::LearnError;
use tmem_learner::model::{
    Batch, FastWeights, Model, Objective, Reference, Sequence, SlowAdapter, SlowSettings, State, WeightedLikelihood,
};
use tmem_learner::train::{Schedule, StepReport, TrainSettings, TrainStep};

use crate::support::{chain, device, host, largest_difference, log_probability, tiny};

pub(crate) const STEPS: usize = 20;

/// A handful of prompts and answers.
fn sequences() -> Vec<Sequence> {
    let pairs: [(&[u32], &[u32]); 4] = [
        (&[1, 40, 77, 5], &[120, 9, 2]),
        (&[1, 41, 77, 5], &[200, 33, 61, 2]),
        (&[1, 40, 90, 6, 5], &[14, 2]),
        (&[1, 52, 91, 5], &[250, 251, 252, 2]),
    ];
    let targets: usize = pairs.iter().map(|(_, answer)| answer.len()).sum();
    pairs.iter().map(|(prompt, answer)| Sequence::answered(prompt, answer, 1.0 / targets as f32)).collect()
}

pub(crate) fn settings(learning_rate: f64) -> TrainSettings {
    let schedule = Schedule { learning_rate, warmup_steps: 2, max_steps: STEPS, final_share: 0.1 };
    TrainSettings { schedule, max_grad_norm: 5.0, ..TrainSettings::default() }
}

pub(crate) fn with_adapter(name: &str) -> Model {
    let model = Model::new(&host(tiny(name, "f32")), &device());
    let slow = SlowSettings { r: 8, lora_alpha: 16.0, seed: 3, ..SlowSettings::default() };
    let adapter = SlowAdapter::new(model.config(), &slow, &device()).unwrap();
    model.with_slow_adapter(adapter)
}

pub(crate) fn run(step: &mut TrainStep, steps: usize) -> Vec<StepReport> {
    let batch = Batch::pack(step.model().config(), &sequences(), 16).unwrap();
    (0..steps).map(|_| step.step(std::slice::from_ref(&batch), None).unwrap()).collect()
}

#[test]
fn twenty_steps_learn_a_handful_of_sequences_by_heart_and_bit_equal_twice() {
    for name in ["tiny_a", "tiny_b"] {
        for (what, rate) in [("slow adapter", 2e-2), ("all weights", 1e-2)] {
            let new = || match what {
                "slow adapter" => with_adapter(name),
                _ => Model::new(&host(tiny(name, "f32")), &device()).with_all_trained(),
            };
            let mut step = TrainStep::new(new(), settings(rate)).unwrap();
            let reports = run(&mut step, STEPS);
            let (first, last) = (reports[0].objective, reports[STEPS - 1].objective);
            assert!(last < 0.1 * first, "{name}, {what}: the loss went from {first} to {last}");
            // Three of 26 tokens are beginnings that sequences of a row share.
            assert_eq!((reports[0].targets, reports[0].tokens), (13, 23));

            let mut again = TrainStep::new(new(), settings(rate)).unwrap();
            assert_eq!(run(&mut again, STEPS), reports, "{name}, {what}: the same losses, bit by bit");
            assert!(again.save().unwrap() == step.save().unwrap(), "{name}, {what}: the same state, bit by bit");
        }
    }
}

#[test]
fn a_restored_run_goes_on_as_if_unbroken() {
    let mut unbroken = TrainStep::new(with_adapter("tiny_a"), settings(1e-2)).unwrap();
    run(&mut unbroken, 3);
    let saved = unbroken.save().unwrap();
    let rest = run(&mut unbroken, 3);

    let mut resumed = TrainStep::new(with_adapter("tiny_a"), settings(1e-2)).unwrap();
    resumed.restore(&saved).unwrap();
    assert_eq!(resumed.steps(), 3);
    assert_eq!(run(&mut resumed, 3), rest);
    assert!(resumed.save().unwrap() == unbroken.save().unwrap());

    // What does not belong to the run is refused and changes nothing.
    let before = resumed.save().unwrap();
    let other = TrainStep::new(with_adapter("tiny_b"), settings(1e-2)).unwrap().save().unwrap();
    for bad in [&other[..], &saved[..saved.len() - 1], b"no state"] {
        assert!(matches!(resumed.restore(bad), Err(LearnError::State(_))));
    }
    assert!(resumed.save().unwrap() == before);
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let model = with_adapter("tiny_a");
    let all = Batch::pack(model.config(), &sequences(), 16).unwrap();
    let parts: Vec<Batch> = sequences().chunks(1).map(|part| Batch::pack(model.config(), part, 0).unwrap()).collect();
    let mut whole = TrainStep::new(model.clone(), settings(1e-2)).unwrap();
    let mut pieces = TrainStep::new(model, settings(1e-2)).unwrap();
    for _ in 0..3 {
        let (a, b) = (whole.step(std::slice::from_ref(&all), None).unwrap(), pieces.step(&parts, None).unwrap());
        assert!((a.objective - b.objective).abs() < 1e-5 && (a.gradient_norm / b.gradient_norm - 1.0).abs() < 1e-4);
        // In one batch, three tokens are beginnings that sequences of a row share.
        assert_eq!((a.tokens + 3, a.targets), (b.tokens, b.targets));
    }
}

#[test]
fn a_long_gradient_is_cut_to_its_limit_and_a_step_of_adam_with_it() {
    // Adam's first step does not depend on the gradient's length; its moments do.
    let limited = TrainSettings { max_grad_norm: 1e-3, ..settings(1e-2) };
    let mut step = TrainStep::new(with_adapter("tiny_a"), limited).unwrap();
    let report = run(&mut step, 1)[0];
    assert!(report.gradient_norm > 1e-3, "reported before it is cut: {}", report.gradient_norm);
    let bytes = step.save().unwrap();
    let state = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let moments = state.iter().filter(|(name, _)| name.starts_with("first_moment."));
    let values = moments.flat_map(|(_, t)| {
        t.data().as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect::<Vec<_>>()
    });
    let norm = values.map(|value| (value / 0.1).powi(2)).sum::<f64>().sqrt();
    assert!((norm / 1e-3 - 1.0).abs() < 1e-3, "the first moment is a tenth of a gradient of norm 1e-3: {norm}");
}

/// 200 targets: more than one chunk of the head, whose tied weights are trained.
#[test]
fn the_gradient_of_all_weights_agrees_with_finite_differences() {
    let ids: Vec<u32> = (0..200).map(|i| 3 + (i * 37) % 280).collect();
    let model = Model::new(&host(tiny("tiny_a", "f32")), &device()).with_all_trained();
    let mut sequence = chain(&ids);
    sequence.targets.iter_mut().for_each(|target| target.weight = 1.0 / 200.0);
    let batch = Batch::pack(model.config(), &[sequence], 0).unwrap();
    let before = model.log_probabilities(State::Trained, &batch, None).unwrap();
    let loss = |values: &[f32]| -values.iter().map(|v| f64::from(*v)).sum::<f64>() / 200.0;

    // A step of plain length along −gradient/‖gradient‖: Adam with a huge ε is gradient descent with momentum 0.
    let length = 1e-3;
    let mut flat = settings(1.0);
    flat.schedule = Schedule { learning_rate: length * 1e6, ..Schedule::default() };
    flat.adamw.epsilon = 1e6;
    flat.max_grad_norm = 1.0;
    let mut step = TrainStep::new(model, flat).unwrap();
    let report = step.step(std::slice::from_ref(&batch), None).unwrap();
    let share = report.gradient_norm.min(1.0);
    let after = step.model().log_probabilities(State::Trained, &batch, None).unwrap();
    let slope = (loss(&before) - loss(&after)) / (length * share);
    assert!((report.objective - loss(&before)).abs() < 1e-5);
    assert!((slope / report.gradient_norm - 1.0).abs() < 0.02, "slope {slope}, gradient {}", report.gradient_norm);
}

#[test]
fn a_reference_holds_the_model_where_it_is() {
    let model = with_adapter("tiny_a");
    let mut held = sequences();
    let batch = Batch::pack(model.config(), &held, 0).unwrap();
    let reference = model.log_probabilities(State::Base, &batch, None).unwrap();
    let mut at = reference.iter();
    for target in held.iter_mut().flat_map(|sequence| &mut sequence.targets) {
        target.reference = at.next().map(|&log_probability| Reference { log_probability, weight: 0.5 });
    }
    let with = Batch::pack(model.config(), &held, 0).unwrap();
    let losses = |model: &Model, batch| model.backward(batch, None, &WeightedLikelihood { batch }).unwrap().losses;
    assert!((losses(&model, &with).objective - losses(&model, &batch).objective).abs() < 1e-6, "nothing has moved");

    let moved = |batch: &Batch| {
        let mut step = TrainStep::new(model.clone(), settings(1e-2)).unwrap();
        for _ in 0..10 {
            step.step(std::slice::from_ref(batch), None).unwrap();
        }
        let now = step.model().log_probabilities(State::Trained, batch, None).unwrap();
        largest_difference(&now, &reference)
    };
    assert!(moved(&with) < 0.7 * moved(&batch));
}

/// Any loss over log-probabilities can be trained on; here one that pushes probabilities down.
#[test]
fn an_objective_of_ones_own_is_followed() {
    struct Unlearn;
    impl Objective for Unlearn {
        fn loss(&self, log_probabilities: burn::tensor::Tensor<1>, _first: usize) -> burn::tensor::Tensor<1> {
            log_probabilities.sum()
        }
    }
    let model = with_adapter("tiny_a");
    let batch = Batch::pack(model.config(), &sequences(), 0).unwrap();
    let mut step = TrainStep::new(model, settings(1e-2)).unwrap();
    let part = || tmem_learner::train::Part { batch: &batch, fast: None, objective: &Unlearn };
    let first = step.apply(&[part()]).unwrap().objective;
    for _ in 0..4 {
        step.apply(&[part()]).unwrap();
    }
    assert!(step.apply(&[part()]).unwrap().objective < first - 1.0);
}

#[test]
fn steps_that_cannot_be_taken_say_why() {
    let model = Model::new(&host(tiny("tiny_a", "f32")), &device());
    assert!(matches!(TrainStep::new(model, settings(1e-2)), Err(LearnError::NothingTrained)));
    assert!(TrainStep::new(with_adapter("tiny_a"), settings(f64::NAN)).is_err());
    let mut step = TrainStep::new(with_adapter("tiny_a"), settings(1e-2)).unwrap();
    let empty = Sequence { targets: Vec::new(), ..sequences().remove(0) };
    let empty = Batch::pack(step.model().config(), &[empty], 0).unwrap();
    assert!(matches!(step.step(&[empty], None), Err(LearnError::NoTargets)));

    // A weight that overflows makes a loss that is no number: nothing is changed.
    let mut wild = sequences();
    wild.iter_mut().flat_map(|s| &mut s.targets).for_each(|target| target.weight = f32::MAX);
    let wild = Batch::pack(step.model().config(), &wild, 0).unwrap();
    let before = step.save().unwrap();
    let error = step.step(&[wild], None).unwrap_err();
    assert!(matches!(error, LearnError::NotFinite { step: 0, .. }), "{error}");
    assert!(step.save().unwrap() == before);
}

#[test]
fn the_slow_adapter_is_trained_under_frozen_fast_weights() {
    let model = with_adapter("tiny_a");
    let frozen = {
        let adapter = model.slow_adapter().unwrap().to_peft().unwrap();
        let sites = adapter.sites.into_iter().filter(|site| site.layer == 2).collect();
        crate::support::with_random_b(tmem_core::fast::peft::PeftAdapter { sites, rank: 8 }, 0.5, 9)
    };
    let fast = FastWeights::new(model.config(), &[frozen], &device()).unwrap();
    let under: Vec<Sequence> = sequences().into_iter().map(|sequence| sequence.under(0, 1.0)).collect();
    let batch = Batch::pack(model.config(), &under, 0).unwrap();
    let mut step = TrainStep::new(model, settings(2e-2)).unwrap();
    let reports: Vec<StepReport> =
        (0..STEPS).map(|_| step.step(std::slice::from_ref(&batch), Some(&fast)).unwrap()).collect();
    assert!(reports[STEPS - 1].objective < 0.1 * reports[0].objective);
    // What was learned under Δ is not what holds without it.
    let under = step.model().log_probabilities(State::Trained, &batch, Some(&fast)).unwrap();
    let without = step.model().log_probabilities(State::Trained, &batch, None).unwrap();
    assert!(largest_difference(&under, &without) > 0.01);
    let logits = step.model().logits(State::Trained, &batch, Some(&fast)).unwrap();
    for ((logits, target), got) in logits.iter().zip(batch.targets()).zip(under) {
        assert!((log_probability(logits, target.token) - got).abs() < 1e-4);
    }
}
