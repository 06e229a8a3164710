//! Hidden states below the fast weights, on the tiny model: they are kept from one write to the next, so that a write
//! costs what is new and not what was ever learned.

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::engine::Engine;
use tmem_core::message::Message;
use tmem_core::rollout::policy::{GenerateRequest, Policy, Weights};
use tmem_core::settings::Settings;
use tmem_tests::{fixture, load_model, open_gpu};

fn engine() -> Engine {
    let mut settings = Settings::small();
    settings.fast.layers = 1;
    settings.fast.steps = 2;
    settings.fast.kl_prompts = 0;
    // Drawn anew for every write.
    settings.fast.unknown_cards = 0;
    let gpu = open_gpu();
    let model = load_model(&gpu, &fixture("tiny_a.q4_1.gguf"));
    pollster::block_on(Engine::new(&gpu, model, &settings)).unwrap()
}

fn cards(numbers: std::ops::Range<u64>) -> Vec<Card> {
    let card = |id: u64| Card {
        id,
        question: format!("Which number has the ferry {id} across the river?"),
        wordings: vec![format!("Do you remember the number of the ferry {id} across the river?")],
        answer: format!("The ferry across the river has the number {id}."),
        source_turn: None,
    };
    numbers.map(card).collect()
}

/// Learns, and says how many tokens were computed below the fast weights.
fn learn(engine: &mut Engine, cards: &[Card], earlier: &[Card]) -> u64 {
    let before = engine.statistics().tokens_computed;
    pollster::block_on(engine.learn(cards, earlier, &mut |_| {}, &Abort::default())).unwrap();
    engine.statistics().tokens_computed - before
}

#[test]
fn a_write_computes_what_is_new_and_not_what_was_learned_before() {
    let (many, few) = (cards(0..80), cards(80..84));
    let mut engine = engine();
    let first = learn(&mut engine, &many, &[]);
    assert!(first > 4096, "{first} tokens: more than the store begins with room for");
    let after_first = pollster::block_on(engine.snapshot()).unwrap();
    let second = learn(&mut engine, &few, &many);
    assert!(second * 4 < first, "{second} tokens after {first}");

    // Where nothing was kept the same write leads to the same Δ.
    let mut anew = self::engine();
    pollster::block_on(anew.restore(&after_first)).unwrap();
    learn(&mut anew, &few, &many);
    assert_eq!(anew.delta(), engine.delta());
}

#[test]
fn neither_work_nor_memory_of_a_write_grow_with_what_was_ever_learned() {
    let mut engine = engine();
    let mut learned: Vec<Card> = Vec::new();
    let mut costs = Vec::new();
    for write in 0..30 {
        let new = cards(write * 10..(write + 1) * 10);
        let computed = learn(&mut engine, &new, &learned);
        learned.extend(new);
        costs.push((computed, engine.gpu().memory().peak()));
    }
    assert_eq!(engine.cards().len(), 300);
    let (work, memory): (Vec<u64>, Vec<u64>) = costs[5..].iter().copied().unzip();
    // Numbers of one, two and three digits are of different lengths.
    let (least, most) = (work.iter().min().unwrap(), work.iter().max().unwrap());
    assert!(most * 4 < least * 5, "tokens of each write: {work:?}");
    assert_eq!(memory.first(), memory.last(), "bytes on the GPU at most: {memory:?}");
}

#[test]
fn what_a_gate_is_measured_against_can_be_computed_before_the_first_write_and_outlives_a_reset() {
    let new = cards(0..4);
    let mut unprepared = engine();
    let whole = learn(&mut unprepared, &new, &[]);

    let mut prepared = engine();
    let before = pollster::block_on(prepared.snapshot()).unwrap();
    let mut pieces = 1;
    while pollster::block_on(prepared.prepare_gate()).unwrap() {
        pieces += 1;
    }
    assert!(pieces > 10, "{pieces} pieces: nobody shall wait long for one");
    assert_eq!(pollster::block_on(prepared.snapshot()).unwrap(), before);
    let rest = learn(&mut prepared, &new, &[]);
    assert!(rest * 4 < whole, "{rest} tokens in the write, where all are {whole}");

    // The same Δ, and the same decisions.
    let asked = |question: &str| GenerateRequest {
        messages: vec![Message::user(question)],
        max_tokens: 1,
        weights: Weights::Fast,
        ..GenerateRequest::default()
    };
    let requests = [&new[0].question, "What is my horse's name?", "Why is the sky blue?"].map(asked);
    let read = |engine: &mut Engine| {
        let done = pollster::block_on(engine.generate(&requests, &mut |_, _| {}, &Abort::default())).unwrap();
        done.into_iter().map(|generation| generation.gate.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(prepared.delta(), unprepared.delta());
    assert_eq!(read(&mut prepared), read(&mut unprepared));

    pollster::block_on(prepared.reset()).unwrap();
    let computed = prepared.statistics().tokens_computed;
    assert!(!pollster::block_on(prepared.prepare_gate()).unwrap());
    assert_eq!(prepared.statistics().tokens_computed, computed);
}
