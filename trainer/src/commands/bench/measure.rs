//! What is measured.

use std::time::Instant;

use anyhow::{Result, ensure};
use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::engine::Engine;
use tmem_core::message::Message;
use tmem_core::model::{Model, Specials};
use tmem_core::rollout::policy::{GenerateRequest, Policy, Weights};
use tmem_core::settings::Settings;

use super::Figure;
use super::adapters;
use super::work::{self, Batch};
use crate::cli::Measurement;
use crate::interrupt::Stopped;
use crate::session::Session;

/// Tokens of the prompt that is prefilled.
const PREFILL: usize = 512;
/// Tokens generated for each sequence.
const DECODE: usize = 64;
/// Pairs of a training batch and tokens of each.
pub(super) const PAIRS: usize = 16;
pub(super) const PAIR_TOKENS: usize = 51;
/// Cards of a whole write.
const WRITE_CARDS: usize = 15;

/// Everything, or only one thing, in the order of the table. Leaves Δ = 0 and the settings as they were.
pub(super) async fn all(session: &mut Session, repetitions: usize, only: Option<Measurement>) -> Result<Vec<Figure>> {
    let wanted = |measurement| only.is_none_or(|only| only == measurement);
    let took = session.took;
    let settings = session.agent.settings().clone();
    let abort = session.abort.clone();
    let engine = session.agent.policy_mut();
    let plain = |name: &str, seconds: f64| Figure {
        name: name.to_owned(),
        seconds,
        rate: None,
        unit: None,
        gflop: None,
        fraction: None,
    };
    let mut figures = vec![plain("load the model", took.model.as_secs_f64())];
    let sites = engine.sites().len();
    figures.push(plain(&format!("prepare the engine, SVD of {sites} sites"), took.engine.as_secs_f64()));
    if wanted(Measurement::Prefill) {
        eprintln!("measuring prefill");
        figures.push(prefill(engine, repetitions).await?);
    }
    for batch in [1, 8].into_iter().filter(|_| wanted(Measurement::Decode)) {
        eprintln!("measuring decode, batch {batch}");
        figures.push(decode(engine, batch, repetitions, &abort).await?);
    }
    if wanted(Measurement::Adapters) {
        eprintln!("measuring decode, batch 64, under many adapters");
        figures.extend(adapters::all(engine, repetitions, &abort).await?);
    }
    for layers in [4, 8].into_iter().filter(|_| wanted(Measurement::Step)) {
        eprintln!("measuring a training step, last {layers} layers");
        figures.extend(training_step(engine, &settings, layers, repetitions, &abort).await?);
    }
    engine.set_settings(&settings).await?;
    if wanted(Measurement::Write) {
        eprintln!("measuring a whole write");
        figures.push(whole_write(engine, &abort).await?);
        engine.reset().await?;
    }
    Ok(figures)
}

fn tokens_of(model: &Model, text: &str) -> Result<Vec<u32>> {
    Ok(model.tokenizer.encode(text, Specials::Literal)?)
}

async fn prefill(engine: &mut Engine, repetitions: usize) -> Result<Figure> {
    let text = "The old lighthouse keeper wrote down the weather every evening. ".repeat(64);
    let mut tokens = tokens_of(engine.model(), &text)?;
    ensure!(tokens.len() >= PREFILL, "the tokenizer makes too few tokens of the text for this measurement");
    tokens.truncate(PREFILL);
    let mut seconds = f64::INFINITY;
    for repetition in 0..=repetitions {
        // Another first token each time, so that nothing can be remembered from the time before.
        tokens.rotate_left(1);
        let began = Instant::now();
        engine.next_logits(std::slice::from_ref(&tokens), Weights::Frozen).await?;
        if repetition > 0 {
            seconds = seconds.min(began.elapsed().as_secs_f64());
        }
    }
    Ok(Figure {
        name: format!("prefill, {PREFILL} tokens"),
        seconds,
        rate: Some(PREFILL as f64 / seconds),
        unit: Some("tokens/s"),
        gflop: Some(work::prefill(&engine.model().config, PREFILL) / 1e9),
        fraction: None,
    })
}

/// The difference between a long and a short generation of the same prompts, so that prefill does not count.
async fn decode(engine: &mut Engine, batch: usize, repetitions: usize, abort: &Abort) -> Result<Figure> {
    let requests = |tokens: usize| -> Vec<GenerateRequest> {
        let ask = |i| format!("Tell me a long story about a lighthouse keeper who wrote {i} letters.");
        let request = |i| GenerateRequest {
            messages: vec![Message::user(ask(i))],
            max_tokens: tokens,
            weights: Weights::Frozen,
            ..GenerateRequest::default()
        };
        (1..=batch).map(request).collect()
    };
    let mut best: Option<(f64, usize, usize)> = None;
    for repetition in 0..=repetitions {
        let mut timed = async |tokens: usize| -> Result<(f64, usize, usize)> {
            let began = Instant::now();
            let made = engine.generate(&requests(tokens), &mut |_, _| {}, abort).await?;
            if abort.is_aborted() {
                return Err(Stopped.into());
            }
            let generated = made.iter().map(|g| g.tokens.len()).sum();
            let prompt = made.iter().map(|g| g.prompt_tokens).max().unwrap_or(0);
            Ok((began.elapsed().as_secs_f64(), generated, prompt))
        };
        let (short_seconds, short, _) = timed(1).await?;
        let (long_seconds, long, prompt) = timed(1 + DECODE).await?;
        if repetition == 0 {
            // Its first generation also made the plan.
            continue;
        }
        let (seconds, tokens) = (long_seconds - short_seconds, long - short);
        ensure!(tokens > 0 && seconds > 0.0, "the model ended its answer too early to measure decoding");
        let rate = |&(seconds, tokens, _): &(f64, usize, usize)| tokens as f64 / seconds;
        let this = (seconds, tokens, prompt);
        if best.as_ref().is_none_or(|best| rate(&this) > rate(best)) {
            best = Some(this);
        }
    }
    let (seconds, tokens, prompt) = best.unwrap_or((f64::INFINITY, 0, 0));
    let operations = tokens as f64 * work::decode(&engine.model().config, 1, prompt + DECODE / 2);
    Ok(Figure {
        name: format!("decode, batch {batch}"),
        seconds,
        rate: Some(tokens as f64 / seconds),
        unit: Some("tokens/s"),
        gflop: Some(operations / 1e9),
        fraction: None,
    })
}

/// Cards whose rendered question and answer have [`PAIR_TOKENS`] tokens, and the batch they make.
fn cards(model: &Model, salt: usize) -> Result<(Vec<Card>, Batch)> {
    let encode = |question: &str| model.chat_template.encode(&model.tokenizer, &[Message::user(question)], true);
    let answer = "It is called the quiet harbour.";
    let losses = tokens_of(model, answer)?.len() + 1;
    let mut cards = Vec::new();
    let mut tokens = 0;
    for i in 0..PAIRS {
        let mut question = format!("What is place {} called", 100 * salt + i);
        while encode(&question)?.len() + losses < PAIR_TOKENS {
            question.push_str(" now");
        }
        tokens = tokens.max(encode(&question)?.len() + losses);
        let answer = answer.to_owned();
        cards.push(Card { id: (salt * PAIRS + i) as u64, question, wordings: Vec::new(), answer, source_turn: None });
    }
    let (a, b) = (encode("A")?, encode("7 zebras?")?);
    let prefix = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    Ok((cards, Batch { pairs: PAIRS, tokens, prefix, losses }))
}

/// A step on new cards, hidden states and all, and a step on cards whose hidden states are kept.
async fn training_step(
    engine: &mut Engine,
    settings: &Settings,
    layers: usize,
    repetitions: usize,
    abort: &Abort,
) -> Result<[Figure; 2]> {
    let mut settings = settings.clone();
    settings.fast.layers = layers;
    settings.fast.batch = PAIRS;
    settings.fast.steps = 1 + 2 * repetitions;
    (settings.fast.kl_weight, settings.fast.kl_prompts, settings.fast.replay) = (0.0, 0, 0.0);
    settings.fast.gate = false;
    engine.set_settings(&settings).await?;
    let (mut fresh, mut kept) = (f64::INFINITY, f64::INFINITY);
    let mut batch = None;
    // The first write also makes buffers and kernels: it does not count.
    for salt in 0..=repetitions {
        let (cards, shape) = cards(engine.model(), salt)?;
        batch = Some(shape);
        let mut times = Vec::new();
        let mut since = Instant::now();
        let mut observe = |_: &_| {
            times.push(since.elapsed().as_secs_f64());
            since = Instant::now();
        };
        engine.learn(&cards, &[], &mut observe, abort).await?;
        if abort.is_aborted() {
            return Err(Stopped.into());
        }
        if let (true, Some((first, rest))) = (salt > 0, times.split_first()) {
            fresh = fresh.min(*first);
            kept = rest.iter().copied().fold(kept, f64::min);
        }
        engine.reset().await?;
    }
    let config = &engine.model().config;
    let shape = batch.unwrap_or(Batch { pairs: 0, tokens: 0, prefix: 0, losses: 0 });
    let (step, below) = (shape.step(config, layers), shape.below(config, layers));
    let figure = |how: &str, seconds: f64, operations: f64| Figure {
        name: format!("training step, {PAIRS} x {} tokens, last {layers}, {how}", shape.tokens),
        seconds,
        rate: None,
        unit: None,
        gflop: Some(operations / 1e9),
        fraction: None,
    };
    Ok([figure("kept states", kept, step), figure("new cards", fresh, step + below)])
}

/// Fifteen cards in four wordings each, with the settings of the command line.
async fn whole_write(engine: &mut Engine, abort: &Abort) -> Result<Figure> {
    let card = |i: usize| Card {
        id: i as u64,
        question: format!("What is the colour of door {i}?"),
        wordings: ["Which colour has door", "Tell me the colour of door", "How is this door painted: door"]
            .map(|wording| format!("{wording} {i}?"))
            .to_vec(),
        answer: format!("Door {i} is {}.", ["red", "green", "blue", "white", "black"][i % 5]),
        source_turn: None,
    };
    let cards: Vec<Card> = (0..WRITE_CARDS).map(card).collect();
    let began = Instant::now();
    let report = engine.learn(&cards, &[], &mut |_| {}, abort).await?;
    if abort.is_aborted() {
        return Err(Stopped.into());
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(Figure {
        name: format!("whole write, {WRITE_CARDS} cards, {} steps", report.steps.len()),
        seconds,
        rate: Some(report.steps.len() as f64 / seconds),
        unit: Some("steps/s"),
        gflop: None,
        fraction: None,
    })
}
