//! The slow adapter against weights merged by hand; its files.

use half::f16;
use tmem_core::fast::Projection;
use tmem_core::fast::peft::PeftAdapter;
use tmem_core::model::{HostModel, ModelConfig};
use tmem_core::rollout::policy::Weights;
use tmem_gpu::{SourceType, dequantise, encode_q16};
use tmem_learner::model::{Batch, Model, SlowAdapter, SlowSettings, State};

use crate::support::{chain, device, engine_of, host, largest_difference, numbers, tiny};

const IDS: [u32; 12] = [1, 40, 77, 5, 120, 9, 200, 33, 61, 250, 14, 2];

fn settings() -> SlowSettings {
    SlowSettings { r: 4, lora_alpha: 8.0, seed: 7, ..SlowSettings::default() }
}

/// An adapter as training leaves it: B is no longer zero, α/r is 2.
fn adapter(config: &ModelConfig) -> SlowAdapter {
    let fresh = SlowAdapter::new(config, &settings(), &device()).unwrap();
    let mut values = fresh.to_peft().unwrap();
    for (site, seed) in values.sites.iter_mut().zip(100..) {
        assert!(site.b.iter().all(|value| *value == 0.0), "B is zero at first");
        site.b = numbers(site.b.len(), 0.05, seed);
    }
    SlowAdapter::from_peft(&values, &device())
}

/// W + B A, number by number in f64.
fn merge_by_hand(model: &mut HostModel, adapter: &PeftAdapter) {
    for site in &adapter.sites {
        let weight = &mut model.weights.layers[site.layer].projections[site.projection as usize];
        for (i, w) in weight.iter_mut().enumerate() {
            let (row, column) = (i / site.inputs, i % site.inputs);
            let b = &site.b[row * adapter.rank..][..adapter.rank];
            let delta = b.iter().enumerate().map(|(r, &b)| f64::from(b) * f64::from(site.a[r * site.inputs + column]));
            *w = (f64::from(*w) + delta.sum::<f64>()) as f32;
        }
    }
}

#[test]
fn an_adapter_changes_the_logits_as_merging_it_does() {
    for name in ["tiny_a", "tiny_b"] {
        let mut file = host(tiny(name, "q4_1"));
        let base = Model::new(&file, &device());
        let adapter = adapter(base.config());
        let batch = Batch::pack(base.config(), &[chain(&IDS)], 0).unwrap();
        let logits = |model: &Model, state| model.logits(state, &batch, None).unwrap().concat();

        let adapted = base.clone().with_slow_adapter(adapter.clone());
        let got = logits(&adapted, State::Trained);
        merge_by_hand(&mut file, &adapter.to_peft().unwrap());
        let by_hand = logits(&Model::new(&file, &device()), State::Base);
        assert!(largest_difference(&got, &by_hand) < 1e-4, "{name}: {}", largest_difference(&got, &by_hand));
        let merged = logits(&base.merged(&adapter), State::Base);
        assert!(largest_difference(&merged, &by_hand) < 1e-4);
        let before = logits(&base, State::Base);
        assert!(largest_difference(&got, &before) > 0.1, "the adapter is large enough to be seen");
        assert_eq!(logits(&adapted, State::Base), before, "the base model stays at hand");
    }
}

/// The adapted matrices as the engine holds them: in half precision where the file is, else in blocks of 16 bits.
fn round_as_held(model: &mut HostModel, format: &str) {
    for weights in model.weights.layers.iter_mut().flat_map(|layer| &mut layer.projections) {
        match format {
            "f32" => {}
            "f16" => weights.iter_mut().for_each(|w| *w = f16::from_f32(*w).to_f32()),
            _ => *weights = dequantise(SourceType::Q16, &encode_q16(weights)),
        }
    }
}

/// The rollout engine merges while it loads. What it holds is compared to rounding; what rounding takes away, with what
/// the adapter does.
#[test]
fn the_engine_with_the_adapter_computes_as_the_learner_does() {
    for (name, format) in
        [("tiny_a", "f32"), ("tiny_b", "f32"), ("tiny_a", "f16"), ("tiny_a", "q4_1"), ("tiny_b", "q8_0")]
    {
        let mut file = host(tiny(name, format));
        let adapter = adapter(&file.config);
        let (files, hash) = adapter.export(&file.config, "some/model").unwrap();
        let mut engine = engine_of(tiny(name, format), 2, Some(files));
        assert_eq!(engine.model().slow_adapter.as_ref(), Some(&hash));
        assert_eq!(engine.model().sha256, file.sha256);
        assert_ne!(engine.model().identity(), file.sha256, "links and saved chats are of one or the other");
        let prompts: Vec<Vec<u32>> = (1..=IDS.len()).map(|n| IDS[..n].to_vec()).collect();
        let got = pollster::block_on(engine.next_logits(&prompts, Weights::Frozen)).unwrap().concat();

        let batch = Batch::pack(&file.config, &[chain(&IDS)], 0).unwrap();
        let logits = |model: &Model, state| model.logits(state, &batch, None).unwrap().concat();
        let base = Model::new(&file, &device());
        let (before, exact) =
            (logits(&base, State::Base), logits(&base.with_slow_adapter(adapter.clone()), State::Trained));
        merge_by_hand(&mut file, &adapter.to_peft().unwrap());
        round_as_held(&mut file, format);
        let held = largest_difference(&got, &logits(&Model::new(&file, &device()), State::Base));
        // A sum in the middle of two values that can be held may be rounded either way.
        let tolerance = if format == "f32" { 5e-4 } else { 2e-3 };
        assert!(held < tolerance, "{name} {format}: logits are off by {held}");
        let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        let (rounded, changed) = (far(&got, &exact), far(&before, &exact));
        // Rows of 32 to 64 numbers average little: `smollm2.rs` has what a real model loses.
        assert!(
            rounded < 0.2 * changed,
            "{name} {format}: rounding moves logits by {rounded}, the adapter by {changed}"
        );
    }
}

#[test]
fn a_new_adapter_changes_nothing_and_is_drawn_as_peft_draws_it() {
    let model = Model::new(&host(tiny("tiny_a", "f32")), &device());
    let adapter = SlowAdapter::new(model.config(), &settings(), &device()).unwrap();
    let values = adapter.to_peft().unwrap();
    assert_eq!(values.sites.len(), 7 * model.config().layers);
    for site in &values.sites {
        let bound = 1.0 / (site.inputs as f32).sqrt();
        let largest = site.a.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        assert!(largest <= bound && largest > 0.9 * bound, "{} in ±{bound}", largest);
    }
    assert_eq!(values, SlowAdapter::new(model.config(), &settings(), &device()).unwrap().to_peft().unwrap());
    let other = SlowSettings { seed: 8, ..settings() };
    assert_ne!(values, SlowAdapter::new(model.config(), &other, &device()).unwrap().to_peft().unwrap());

    let batch = Batch::pack(model.config(), &[chain(&IDS)], 0).unwrap();
    let before = model.log_probabilities(State::Base, &batch, None).unwrap();
    let model = model.with_slow_adapter(adapter);
    assert_eq!(model.log_probabilities(State::Trained, &batch, None).unwrap(), before);
}

#[test]
fn files_and_hash_are_those_of_the_values() {
    let model = host(tiny("tiny_a", "f32"));
    let adapter = adapter(&model.config);
    let (files, hash) = adapter.export(&model.config, "some/model").unwrap();
    assert_eq!(hash.len(), 64);
    let read = PeftAdapter::import(&model.config, &files).unwrap();
    assert_eq!(read, adapter.to_peft().unwrap());
    let again = SlowAdapter::from_peft(&read, &device()).export(&model.config, "some/model").unwrap();
    assert_eq!(again, (files, hash.clone()), "the same bytes and hash again");
    let mut other = read;
    other.sites[3].b[0] += 1e-3;
    let (_, other) = SlowAdapter::from_peft(&other, &device()).export(&model.config, "some/model").unwrap();
    assert_ne!(other, hash);
}

#[test]
fn settings_out_of_range_are_named() {
    let config = host(tiny("tiny_a", "f32")).config;
    let refused = |settings| SlowAdapter::new(&config, &settings, &device()).unwrap_err().to_string();
    assert!(refused(SlowSettings { r: 0, ..settings() }).starts_with("r = 0 is not possible: from 1 to 32"));
    assert!(refused(SlowSettings { lora_alpha: f64::NAN, ..settings() }).starts_with("lora_alpha = NaN"));
    assert!(refused(SlowSettings { target_modules: vec![], ..settings() }).contains("at least one projection"));
    let gate = SlowSettings { r: 33, target_modules: vec![Projection::GateProj], ..settings() };
    assert!(SlowAdapter::new(&config, &gate, &device()).is_ok(), "only the adapted projections bound the rank");
}
