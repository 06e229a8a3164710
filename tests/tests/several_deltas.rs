//! Several Δ in one batch on the tiny model: every sequence has the bits that it has alone under its Δ, whatever else is in
//! the batch; Δ beyond the slots take several batches; what is kept is kept for each Δ; the memory is foretold.

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::engine::{BatchRoom, Engine, MemoryEstimate, UnderDelta};
use tmem_core::fast::DeltaId;
use tmem_core::message::Message;
use tmem_core::rollout::policy::{GenerateRequest, Generation, Policy, Sampling, ScoreRequest, Snapshot, Weights};
use tmem_core::settings::Settings;
use tmem_gpu::{AdapterKind, Gpu};
use tmem_tests::{fixture, load_model, open_gpu, open_gpu_as};

const MODEL: &str = "tiny_a.q4_1.gguf";
/// With the kernels for emulated adapters and with those for real GPUs.
const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

/// Room for 64 sequences at once.
const ROOM: BatchRoom = BatchRoom { others: 0, tokens: 64 * 64 };

fn settings() -> Settings {
    let mut settings = Settings::small();
    settings.fast.layers = 1;
    settings.fast.steps = 4;
    settings.fast.kl_prompts = 0;
    settings.fast.gate = false;
    settings
}

fn engine(settings: &Settings) -> Engine {
    engine_on(&open_gpu(), settings)
}

fn engine_on(gpu: &Gpu, settings: &Settings) -> Engine {
    let model = load_model(gpu, &fixture(MODEL));
    let mut engine = pollster::block_on(Engine::new(gpu, model, settings)).unwrap();
    engine.reserve(ROOM).unwrap();
    engine
}

/// Different Δ without cards, large enough that other tokens come of them.
fn deltas(engine: &mut Engine, count: usize) -> Vec<Snapshot> {
    let zero = pollster::block_on(engine.snapshot()).unwrap();
    let made = (0..count).map(|n| {
        let value = |at: usize| ((at * 37 + n * 101) % 61) as f32 / 61.0 - 0.5;
        let b = (0..zero.b.len()).map(value).collect();
        let delta = DeltaId { version: n as u64 + 1, hash: String::new() };
        // What is put back is saved again with its hash.
        pollster::block_on(engine.restore(&Snapshot { delta, b, ..zero.clone() })).unwrap();
        pollster::block_on(engine.snapshot()).unwrap()
    });
    let made = made.collect();
    pollster::block_on(engine.reset()).unwrap();
    made
}

fn request(text: &str, weights: Weights) -> GenerateRequest {
    let messages = vec![Message::user("Tell me about it."), Message::assistant("Yes."), Message::user(text)];
    let sampling = Sampling { temperature: 1.0, seed: text.len() as u64, ..Sampling::default() };
    GenerateRequest { messages, max_tokens: 5, weights, sampling, ..GenerateRequest::default() }
}

fn under<'a, R>(deltas: &[&'a Snapshot], requests: &'a [R]) -> Vec<UnderDelta<'a, R>> {
    deltas.iter().zip(requests).map(|(&delta, request)| UnderDelta { delta, request }).collect()
}

fn together(engine: &mut Engine, asked: &[UnderDelta<'_, GenerateRequest>]) -> Vec<Generation> {
    pollster::block_on(engine.generate_under(asked, &mut |_, _| {}, &Abort::default())).unwrap()
}

/// As it was done before there were slots: the Δ is put in force, and the request runs by itself.
fn alone(engine: &mut Engine, asked: &UnderDelta<'_, GenerateRequest>) -> Generation {
    pollster::block_on(engine.restore(asked.delta)).unwrap();
    let request = std::slice::from_ref(asked.request);
    pollster::block_on(engine.generate(request, &mut |_, _| {}, &Abort::default())).unwrap().remove(0)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_sequence_has_the_bits_that_it_has_alone_under_its_delta() {
    for kind in KINDS {
        let gpu = open_gpu_as(kind);
        let (mut many, mut one) = (engine_on(&gpu, &settings()), engine_on(&gpu, &settings()));
        let all = deltas(&mut one, 64);
        for different in [1, 8, 64] {
            for sequences in [1, 8, 64] {
                let requests: Vec<_> = (0..sequences)
                    .map(|n| request(&format!("What of {n}?"), [Weights::Fast, Weights::FastUngated][n % 2]))
                    .collect();
                let chosen: Vec<_> = (0..sequences).map(|n| &all[n % different]).collect();
                let asked = under(&chosen, &requests);
                let texts = together(&mut many, &asked);
                // A part of a large batch stands for the rest.
                for (text, asked) in texts.iter().zip(&asked).step_by(sequences.div_ceil(8)) {
                    let expected = alone(&mut one, asked);
                    assert_eq!(text, &expected, "{different} Δ, {sequences} sequences");
                    assert_eq!(bits(&text.log_probabilities), bits(&expected.log_probabilities));
                }
            }
        }
        assert_eq!(many.delta().version, 0, "the Δ in force stays what it was");
    }
}

#[test]
fn logits_scores_and_divergences_are_those_of_each_delta_alone() {
    for kind in KINDS {
        let gpu = open_gpu_as(kind);
        let (mut many, mut one) = (engine_on(&gpu, &settings()), engine_on(&gpu, &settings()));
        let all = deltas(&mut one, 8);
        let chosen: Vec<_> = all.iter().collect();
        let prompts: Vec<Vec<u32>> = (0..8).map(|n| (0..12 + n % 3).map(|token| token + 40 + n).collect()).collect();
        let logits = pollster::block_on(many.next_logits_under(&under(&chosen, &prompts), Weights::Fast)).unwrap();
        let score = |n: usize| ScoreRequest {
            messages: vec![Message::user(format!("Number {n}?"))],
            assistant_prefix: String::new(),
            continuation: "It is late.".to_owned(),
            weights: if n == 3 { Weights::Frozen } else { Weights::Fast },
        };
        let scores: Vec<_> = (0..8).map(score).collect();
        let scored = pollster::block_on(many.score_under(&under(&chosen, &scores))).unwrap();
        let said: Vec<Vec<Message>> = (0..8).map(|n| vec![Message::user(format!("Say {}", n % 2))]).collect();
        let divergences = pollster::block_on(many.kl_to_frozen_under(&under(&chosen, &said), Weights::Fast)).unwrap();
        for (n, delta) in all.iter().enumerate() {
            pollster::block_on(one.restore(delta)).unwrap();
            let expected = pollster::block_on(one.next_logits(&prompts[n..=n], Weights::Fast)).unwrap();
            assert_eq!(bits(&logits[n]), bits(&expected[0]), "logits under Δ {n}");
            assert_eq!(scored[n], pollster::block_on(one.score(&scores[n..=n])).unwrap()[0]);
            let expected = pollster::block_on(one.kl_to_frozen(&said[n..=n], Weights::Fast)).unwrap();
            assert_eq!(divergences[n].to_bits(), expected[0].to_bits());
            assert!(divergences[n] > 0.0, "a Δ that changes nothing tests nothing");
        }
    }
}

#[test]
fn each_delta_has_its_own_gate_and_zero_has_none() {
    let mut settings = settings();
    settings.fast.gate = true;
    let (mut many, mut one) = (engine(&settings), engine(&settings));
    let mut learned = vec![pollster::block_on(one.snapshot()).unwrap()];
    for (id, (question, answer)) in [("Which ferry?", "The blue one."), ("Who paints?", "Ann does.")].iter().enumerate()
    {
        pollster::block_on(one.reset()).unwrap();
        let (question, answer) = ((*question).to_owned(), (*answer).to_owned());
        let card = Card { id: id as u64, question, wordings: vec![], answer, source_turn: None };
        pollster::block_on(one.learn(&[card], &[], &mut |_| {}, &Abort::default())).unwrap();
        learned.push(pollster::block_on(one.snapshot()).unwrap());
    }
    let questions = ["Which ferry?", "Who paints?", "What is the capital of France?"];
    let requests: Vec<_> = questions
        .iter()
        .map(|question| GenerateRequest {
            messages: vec![Message::user(*question)],
            max_tokens: 4,
            ..GenerateRequest::default()
        })
        .collect();
    // Every question under every Δ, in one batch.
    let requests: Vec<_> = requests.iter().cycle().take(9).cloned().collect();
    let chosen: Vec<_> = (0..9).map(|n| &learned[n / 3]).collect();
    let asked = under(&chosen, &requests);
    let texts = together(&mut many, &asked);
    let expected: Vec<_> = asked.iter().map(|asked| alone(&mut one, asked)).collect();
    assert_eq!(texts, expected);
    let scale = |n: usize| texts[n].gate.as_ref().map(|gate| gate.scale);
    assert_eq!(scale(0), None, "Δ = 0 is not asked for a gate");
    assert_eq!((scale(3), scale(7)), (Some(1.0), Some(1.0)), "its own question opens a gate");
    let nearest = |n: usize| texts[n].gate.as_ref().and_then(|gate| gate.nearest_card);
    assert_eq!((nearest(4), nearest(6)), (Some(0), Some(1)), "a gate knows only its own Δ's questions");
}

#[test]
fn more_deltas_than_slots_take_several_batches() {
    for kind in KINDS {
        let gpu = open_gpu_as(kind);
        let (mut many, mut one) = (engine_on(&gpu, &settings()), engine_on(&gpu, &settings()));
        let all = deltas(&mut one, 70);
        let requests: Vec<_> = (0..70).map(|n| request(&format!("And {n}?"), Weights::Fast)).collect();
        let chosen: Vec<_> = all.iter().collect();
        let asked = under(&chosen, &requests);
        let texts = together(&mut many, &asked);
        assert_eq!(texts.len(), 70);
        for at in [0, 1, 63, 64, 65, 69] {
            assert_eq!(texts[at], alone(&mut one, &asked[at]), "Δ {at}");
        }
        // Those that had to make room come back.
        assert_eq!(together(&mut many, &asked[..3]), texts[..3]);
    }
}

#[test]
fn a_prefix_is_kept_for_each_delta_and_the_one_in_force_is_trained_beside_the_others() {
    let mut engine = engine(&settings());
    let all = deltas(&mut engine, 4);
    let chosen: Vec<_> = (0..8).map(|n| &all[n / 2]).collect();
    let ask = |engine: &mut Engine, round: usize| {
        let requests: Vec<_> = (0..8).map(|n| request(&format!("{n}, {round}"), Weights::Fast)).collect();
        let before = engine.statistics().tokens_computed;
        let texts = together(engine, &under(&chosen, &requests));
        (texts, engine.statistics().tokens_computed - before)
    };
    let (first, computed) = ask(&mut engine, 0);
    let (_, computed_again) = ask(&mut engine, 1);
    assert!(computed_again < computed, "{computed_again} of {computed} tokens");
    assert_eq!(ask(&mut engine, 0).0, first);
    let card = Card { id: 1, question: "Who?".into(), wordings: vec![], answer: "Ann.".into(), source_turn: None };
    pollster::block_on(engine.learn(&[card], &[], &mut |_| {}, &Abort::default())).unwrap();
    let trained = pollster::block_on(engine.snapshot()).unwrap();
    assert_eq!(ask(&mut engine, 0).0, first, "training is of the Δ in force alone");

    // The trained one is what it would be in an engine without slots, and may stand beside the others.
    let mut plain = self::engine(&settings());
    let card = Card { id: 1, question: "Who?".into(), wordings: vec![], answer: "Ann.".into(), source_turn: None };
    pollster::block_on(plain.learn(&[card], &[], &mut |_| {}, &Abort::default())).unwrap();
    assert_eq!(pollster::block_on(plain.snapshot()).unwrap(), trained);
    let requests: Vec<_> = (0..2).map(|n| request(&format!("{n}"), Weights::Fast)).collect();
    let asked = under(&[&trained, &all[0]], &requests);
    let texts = together(&mut engine, &asked);
    assert_eq!(texts, [alone(&mut plain, &asked[0]), alone(&mut plain, &asked[1])]);
    pollster::block_on(engine.reset()).unwrap();
    assert_eq!(ask(&mut engine, 0).0, first, "a reset is of the Δ in force alone");
}

#[test]
fn a_delta_that_is_not_of_this_engine_is_refused_with_the_way_out() {
    let mut engine = engine(&settings());
    let good = deltas(&mut engine, 1).remove(0);
    let requests = [request("Who?", Weights::Fast)];
    let mut refused = |delta: &Snapshot| {
        let asked = under(&[delta], &requests);
        let done = pollster::block_on(engine.generate_under(&asked, &mut |_, _| {}, &Abort::default()));
        done.unwrap_err().to_string()
    };
    let mut short = good.clone();
    short.b.pop();
    assert!(refused(&short).contains("use the settings they were made with"));
    let mut other = good.clone();
    other.b[0] += 1.0;
    assert!(refused(&other).contains("save them again"));
    let mut imported = good;
    imported.a = Some(vec![0.0]);
    assert!(refused(&imported).contains("restore it"));
}

#[test]
fn the_estimate_of_memory_counts_the_slots() {
    let gpu = open_gpu();
    let file = fixture(MODEL);
    let model = load_model(&gpu, &file);
    let bytes = model.weights.bytes();
    let (config, settings) = (model.config.clone(), settings());
    let room = BatchRoom { others: 64, ..ROOM };
    let estimate = |room| MemoryEstimate::new(&config, bytes, &settings, room).unwrap();
    let (needed, plain) = (estimate(room), estimate(BatchRoom::default()));
    let mut engine = pollster::block_on(Engine::new(&gpu, model, &settings)).unwrap();
    assert_eq!(plain.slots, 0, "a conversation pays nothing");
    let delta = pollster::block_on(engine.snapshot()).unwrap();
    assert_eq!(needed.slots, 65 * delta.b.len() as u64 * 4);
    engine.reserve(BatchRoom { others: 0, ..room }).unwrap();
    let before = gpu.memory().live();
    engine.reserve(room).unwrap();
    let slots = gpu.memory().live() - before;
    assert_eq!(slots, 64 * delta.b.len() as u64 * 4, "the slots and nothing else");

    let all = deltas(&mut engine, 64);
    let requests: Vec<_> = (0..64).map(|n| request(&format!("{n}"), Weights::Fast)).collect();
    together(&mut engine, &under(&all.iter().collect::<Vec<_>>(), &requests));
    let card = Card { id: 1, question: "Who?".into(), wordings: vec![], answer: "Ann.".into(), source_turn: None };
    pollster::block_on(engine.learn(&[card], &[], &mut |_| {}, &Abort::default())).unwrap();
    let peak = gpu.memory().peak();
    // Tables and read-back buffers, some kilobytes whatever the model, are left out of the estimate.
    const TABLES: u64 = 64 << 10;
    assert!(peak <= needed.total() + TABLES, "{peak} bytes at most, {} foretold", needed.total());
    assert!(peak > plain.total(), "without the slots it would be too low");
}
