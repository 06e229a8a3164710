//! Decoding under many adapters in one batch, beside the same under one and under none.

use std::time::Instant;

use anyhow::{Result, ensure};
use tmem_core::abort::Abort;
use tmem_core::engine::{BatchRoom, Engine, UnderDelta};
use tmem_core::fast::DeltaId;
use tmem_core::message::Message;
use tmem_core::rollout::policy::{GenerateRequest, Policy, Snapshot, Weights};

use super::Figure;
use super::work;
use crate::interrupt::Stopped;

/// Sequences of a batch, and adapters at most.
const SEQUENCES: usize = 64;
/// Tokens generated for each sequence.
const TOKENS: usize = 16;
/// Size of B's entries: small enough for the model to go on as it would.
const SIZE: f32 = 1e-3;

/// What stands beside each other.
struct Case {
    name: &'static str,
    sequences: usize,
    adapters: usize,
}

const CASES: [Case; 4] = [
    Case { name: "no adapter", sequences: SEQUENCES, adapters: 0 },
    Case { name: "1 adapter", sequences: SEQUENCES, adapters: 1 },
    Case { name: "64 adapters", sequences: SEQUENCES, adapters: SEQUENCES },
    Case { name: "1 adapter", sequences: 1, adapters: 1 },
];

/// Round after round of all cases, so that what slows one of them down slows its neighbours too; the best of each. Leaves
/// Δ = 0.
pub(super) async fn all(engine: &mut Engine, repetitions: usize, abort: &Abort) -> Result<Vec<Figure>> {
    engine.reserve(BatchRoom { others: SEQUENCES, tokens: 128 * SEQUENCES })?;
    let adapters = adapters(engine).await?;
    let mut best = CASES.map(|_| f64::INFINITY);
    let mut prompt = 0;
    for _ in 0..repetitions {
        for (case, best) in CASES.iter().zip(&mut best) {
            let (seconds, tokens) = decode(engine, case, &adapters, abort).await?;
            (*best, prompt) = (best.min(seconds), tokens);
        }
    }
    engine.reserve(BatchRoom::default())?;
    let one = best[1];
    let figures = CASES.iter().zip(best).map(|(case, seconds)| {
        let beside = match case.sequences {
            SEQUENCES if case.adapters != 1 => format!(" ({:.2} of 1's time)", seconds / one),
            _ => String::new(),
        };
        let tokens = case.sequences * TOKENS;
        let operations = tokens as f64 * work::decode(&engine.model().config, 1, prompt + TOKENS / 2);
        Figure {
            name: format!("decode, batch {}, {}{beside}", case.sequences, case.name),
            seconds,
            rate: Some(tokens as f64 / seconds),
            unit: Some("tokens/s"),
            gflop: Some(operations / 1e9),
            fraction: None,
        }
    });
    Ok(figures.collect())
}

/// Seconds of [`TOKENS`] decoding steps, from the first token on, so that neither prefill nor what is made once counts.
/// Also the tokens of a prompt.
async fn decode(engine: &mut Engine, case: &Case, adapters: &[Snapshot], abort: &Abort) -> Result<(f64, usize)> {
    let weights = if case.adapters == 0 { Weights::Frozen } else { Weights::FastUngated };
    let request = |n: usize| GenerateRequest {
        messages: vec![Message::user(format!("Tell me a long story about {n} letters."))],
        max_tokens: 1 + TOKENS,
        weights,
        ..GenerateRequest::default()
    };
    let requests: Vec<_> = (1..=case.sequences).map(request).collect();
    let adapter = |at: usize| &adapters[at % case.adapters.max(1)];
    let asked: Vec<_> =
        requests.iter().enumerate().map(|(at, request)| UnderDelta { delta: adapter(at), request }).collect();
    let mut told: Option<(Instant, Instant)> = None;
    let mut observe = |_: usize, _: &str| {
        let now = Instant::now();
        told = Some((told.map_or(now, |(first, _)| first), now));
    };
    let made = engine.generate_under(&asked, &mut observe, abort).await?;
    if abort.is_aborted() {
        return Err(Stopped.into());
    }
    let whole = made.iter().all(|generation| generation.tokens.len() == 1 + TOKENS);
    ensure!(whole, "a story ended too early to measure decoding");
    let seconds = told.map_or(f64::INFINITY, |(first, last)| (last - first).as_secs_f64());
    Ok((seconds, made.first().map_or(0, |generation| generation.prompt_tokens)))
}

/// Different adapters, without cards.
async fn adapters(engine: &mut Engine) -> Result<Vec<Snapshot>> {
    let zero = engine.snapshot().await?;
    let mut all = Vec::with_capacity(SEQUENCES);
    for n in 0..SEQUENCES {
        let value = |at: usize| (((at * 37 + n * 101) % 61) as f32 / 61.0 - 0.5) * SIZE;
        let b = (0..zero.b.len()).map(value).collect();
        let delta = DeltaId { version: n as u64 + 1, hash: String::new() };
        engine.restore(&Snapshot { delta, b, ..zero.clone() }).await?;
        // Saved again it has its hash.
        all.push(engine.snapshot().await?);
    }
    engine.reset().await?;
    Ok(all)
}
