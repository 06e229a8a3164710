//! The key-value cache on the tiny model: what is kept from one prompt to the next has the same bits as anew and saves
//! work, and its size is a setting.

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
    settings.fast.steps = 4;
    settings.fast.kl_prompts = 0;
    settings.fast.gate = false;
    let gpu = open_gpu();
    let model = load_model(&gpu, &fixture("tiny_a.q4_1.gguf"));
    pollster::block_on(Engine::new(&gpu, model, &settings)).unwrap()
}

/// Some twelve tokens a turn: the tiny model reads 128.
fn said(turns: usize, question: &str) -> Vec<Message> {
    let turn = |n: usize| [Message::user(format!("a{n}")), Message::assistant(format!("b{n}"))];
    (0..turns).flat_map(turn).chain([Message::user(question)]).collect()
}

fn request(messages: Vec<Message>, weights: Weights) -> GenerateRequest {
    GenerateRequest { messages, max_tokens: 4, weights, ..GenerateRequest::default() }
}

/// The tokens of an answer, and the bits of their log-probabilities.
type Sampled = (Vec<u32>, Vec<u32>);

/// The answers, and how many tokens were computed for the prompts.
fn answers(engine: &mut Engine, requests: &[GenerateRequest]) -> (Vec<Sampled>, u64) {
    let before = engine.statistics().tokens_computed;
    let given = pollster::block_on(engine.generate(requests, &mut |_, _| {}, &Abort::default())).unwrap();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    let answers = given.into_iter().map(|g| (g.tokens, bits(&g.log_probabilities))).collect();
    (answers, engine.statistics().tokens_computed - before)
}

fn learn(engine: &mut Engine, answer: &str) {
    let question = "Which ferry?".to_owned();
    let card = Card { id: 0, question, wordings: vec![], answer: answer.to_owned(), source_turn: None };
    pollster::block_on(engine.learn(&[card], &[], &mut |_| {}, &Abort::default())).unwrap();
}

#[test]
fn the_next_turn_of_a_conversation_costs_only_what_is_new() {
    let mut engine = engine();
    let turns: Vec<_> = (3..7).map(|n| [request(said(n, "now"), Weights::Fast)]).collect();
    let (_, whole) = answers(&mut engine, &turns[0]);
    for turn in &turns[1..] {
        let (kept, computed) = answers(&mut engine, turn);
        assert!(computed * 2 < whole, "{computed} of {whole} tokens");
        let (anew, all) = answers(&mut self::engine(), turn);
        assert!(all > whole);
        assert_eq!(kept, anew);
    }
    // Another conversation in between is kept beside it.
    answers(&mut engine, &[request(said(0, "Something"), Weights::Fast)]);
    let (_, computed) = answers(&mut engine, &turns[3]);
    assert!(computed < 8, "{computed} tokens for a prompt that was there before");
}

#[test]
fn further_questions_about_one_context_share_it_across_batches() {
    let mut engine = engine();
    let questions = |names: [&str; 3]| names.map(|name| request(said(5, name), Weights::Frozen));
    let (_, whole) = answers(&mut engine, &questions(["Who?", "Whe?", "Whe?"]));
    let more = questions(["Why", "How", "Them"]);
    let (kept, computed) = answers(&mut engine, &more);
    assert!(computed * 3 < whole, "{computed} of {whole} tokens");
    assert_eq!(kept, answers(&mut self::engine(), &more).0);
}

#[test]
fn what_was_read_under_other_fast_weights_is_not_taken() {
    let mut engine = engine();
    learn(&mut engine, "The blue one.");
    let asked = [request(said(4, "now"), Weights::Fast)];
    let (before, _) = answers(&mut engine, &asked);
    learn(&mut engine, "The ferry of the old captain.");
    let (after, computed) = answers(&mut engine, &asked);
    assert_ne!(before, after);
    let (again, from_kept) = answers(&mut engine, &asked);
    assert_eq!(after, again);
    assert!(from_kept < computed);

    // Both weights in one batch, and the frozen twin alone.
    let both = [Weights::Fast, Weights::Frozen].map(|weights| request(said(4, "now"), weights));
    let (together, _) = answers(&mut engine, &both);
    let (twin, _) = answers(&mut engine, &both[1..]);
    assert_eq!(together[1], twin[0]);
    assert_eq!(twin, answers(&mut self::engine(), &both[1..]).0);
}

#[test]
fn batches_that_fill_the_cache_find_room_beside_what_was_kept() {
    let mut engine = engine();
    for turns in 1..5 {
        answers(&mut engine, &[request(said(turns, "kept"), Weights::Frozen)]);
        // Prompts without a common beginning, of every size, as many as the cache takes and more.
        for length in [1, 5, 9, 14, 20, 25] {
            let prompts: Vec<Vec<u32>> =
                (0..24).map(|n| (n..n + length * 3).map(|token| token + 40).collect()).collect();
            let together = pollster::block_on(engine.next_logits(&prompts, Weights::Frozen)).unwrap();
            assert_eq!(together.len(), prompts.len());
        }
    }
}

#[test]
fn a_full_cache_gives_up_what_was_kept() {
    let mut engine = engine();
    let long: Vec<_> = (0..12).map(|n| [request(said(4, &format!("c{n}")), Weights::Frozen)]).collect();
    for turn in &long {
        let other: Vec<Message> = turn[0].messages.iter().rev().cloned().collect();
        answers(&mut engine, &[request(other, Weights::Frozen)]);
        answers(&mut engine, turn);
    }
    let (kept, _) = answers(&mut engine, &long[0]);
    assert_eq!(kept, answers(&mut self::engine(), &long[0]).0);
}

#[test]
fn the_longest_prompt_is_a_setting_and_a_change_of_it_keeps_what_was_learned() {
    let mut engine = engine();
    learn(&mut engine, "The blue one.");
    let (delta, asked) = (engine.delta(), [request(said(2, "now"), Weights::Fast)]);
    let (before, _) = answers(&mut engine, &asked);
    assert_eq!(engine.context_length(), 256, "what the model was made for");

    let mut settings = engine.settings().clone();
    settings.rollout.context_tokens = 128;
    pollster::block_on(engine.set_settings(&settings)).unwrap();
    assert_eq!((engine.context_length(), engine.delta()), (128, delta));
    assert_eq!(answers(&mut engine, &asked).0, before);
    let long = [request(said(9, "now"), Weights::Fast)];
    let refused = pollster::block_on(engine.generate(&long, &mut |_, _| {}, &Abort::default())).unwrap_err();
    assert!(refused.to_string().contains("the model takes 128"), "{refused}");
}
