//! A model whose embedding and head are larger than what a device binds at once: they lie in several buffers, and nobody can
//! tell.

use std::fs;

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::engine::Engine;
use tmem_core::message::Message;
use tmem_core::model::ModelLoader;
use tmem_core::rollout::policy::{GenerateRequest, Policy, ScoreRequest, Weights};
use tmem_core::settings::Settings;
use tmem_tests::{fixture, open_gpu};

/// Tiny models of two formats, one with a head of its own, and bytes that cut what they have of the vocabulary into a few.
const MODELS: [(&str, u64); 2] = [("tiny_a.q4_1.gguf", 4 << 10), ("tiny_b.f32.gguf", 32 << 10)];

fn engine(model: &str, largest: Option<u64>) -> Engine {
    let gpu = open_gpu();
    let mut loader = ModelLoader::new(&gpu);
    if let Some(largest) = largest {
        loader = loader.with_largest_weight(largest);
    }
    // In two pieces that end within a shard.
    let file = fs::read(fixture(model)).unwrap();
    let (first, rest) = file.split_at(file.len() / 2 + 1);
    loader.push(first).unwrap();
    loader.push(rest).unwrap();
    let mut settings = Settings::small();
    settings.fast.layers = 1;
    settings.fast.steps = 4;
    settings.fast.gate = false;
    pollster::block_on(Engine::new(&gpu, loader.finish().unwrap(), &settings)).unwrap()
}

fn answers(engine: &mut Engine) -> (Vec<Vec<u32>>, f32) {
    let request = |text: &str| GenerateRequest {
        messages: vec![Message::user(text)],
        max_tokens: 12,
        weights: Weights::Fast,
        ..GenerateRequest::default()
    };
    let requests = ["Where does the ferry go?", "Count to ten.", "Hello!"].map(request);
    let done = pollster::block_on(engine.generate(&requests, &mut |_, _| {}, &Abort::default())).unwrap();
    let score = ScoreRequest {
        messages: vec![Message::user("Where does the ferry go?")],
        assistant_prefix: String::new(),
        continuation: "It goes to the other bank.".to_owned(),
        weights: Weights::Frozen,
    };
    let scores = pollster::block_on(engine.score(&[score])).unwrap();
    (done.into_iter().map(|generation| generation.tokens).collect(), scores[0].log_probability)
}

#[test]
fn a_model_in_shards_answers_to_the_bit_as_in_one_piece_and_learns_alike() {
    let card = Card {
        id: 1,
        question: "Which number has the ferry?".to_owned(),
        wordings: Vec::new(),
        answer: "The ferry has the number seven.".to_owned(),
        source_turn: None,
    };
    for (model, largest) in MODELS {
        let mut whole = engine(model, None);
        let expected = answers(&mut whole);
        let learn = |engine: &mut Engine| {
            let cards = std::slice::from_ref(&card);
            let report = pollster::block_on(engine.learn(cards, &[], &mut |_| {}, &Abort::default())).unwrap();
            report.steps.iter().map(|step| step.loss).collect::<Vec<_>>()
        };
        let mut shards = engine(model, Some(largest));
        let vocabulary = shards.model().config.vocab;
        assert!(shards.model().weights.head_part().outputs < vocabulary / 2, "{model}: three shards at least");
        assert_eq!(answers(&mut shards), expected, "{model} in pieces of {largest} bytes");
        // A gradient through several shards is summed in another order.
        let (one, several) = (learn(&mut whole), learn(&mut shards));
        assert!(one.iter().zip(&several).all(|(a, b)| (a - b).abs() < 1e-4 * a.abs()), "{model}: {one:?}, {several:?}");
    }
}
