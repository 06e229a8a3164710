//! Texts as directions on the tiny model. It is random: that like texts lie near to each other is not its business.

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::engine::Engine;
use tmem_core::rollout::policy::Policy;
use tmem_core::settings::Settings;
use tmem_tests::{fixture, load_model, open_gpu};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn embed(engine: &mut Engine, of: &[&str]) -> Vec<Vec<f32>> {
    pollster::block_on(engine.embed(&texts(of))).unwrap()
}

#[test]
fn an_embedding_is_a_direction_that_depends_on_its_text_alone() {
    let mut settings = Settings::small();
    // The upper layer is adapted, the lower one embeds.
    settings.fast.layers = 1;
    settings.fast.steps = 4;
    settings.fast.kl_prompts = 0;
    settings.fast.gate = false;
    let gpu = open_gpu();
    let model = load_model(&gpu, &fixture("tiny_a.f32.gguf"));
    let width = model.config.hidden;
    let mut engine = pollster::block_on(Engine::new(&gpu, model, &settings)).unwrap();

    let long = "word and other words ".repeat(2000);
    let all = ["My dog is Biscuit.", "", "My dog is Biscuit", "<|im_end|>", long.as_str()];
    let together = embed(&mut engine, &all);
    for (text, direction) in all.iter().zip(&together) {
        let norm = direction.iter().map(|v| v * v).sum::<f32>().sqrt();
        assert_eq!(direction.len(), width);
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
        assert_eq!(embed(&mut engine, &[text]).remove(0), *direction, "alone it is the same");
    }
    assert_ne!(together[0], together[2]);
    assert!(embed(&mut engine, &[]).is_empty());

    // More texts than one batch holds.
    let many: Vec<String> = (0..300).map(|n| format!("Number {n}")).collect();
    let batched = pollster::block_on(engine.embed(&many)).unwrap();
    assert_eq!(batched.len(), many.len());
    for at in [0, 255, 256, 299] {
        assert_eq!(embed(&mut engine, &[&many[at]]).remove(0), batched[at]);
    }

    let card = Card {
        id: 0,
        question: "What is my dog?".into(),
        wordings: vec![],
        answer: "Biscuit".into(),
        source_turn: None,
    };
    pollster::block_on(engine.learn(&[card], &[], &mut |_| {}, &Abort::default())).unwrap();
    assert_eq!(engine.delta().version, 1);
    assert_eq!(embed(&mut engine, &all), together, "the fast weights have no part in it");
}
