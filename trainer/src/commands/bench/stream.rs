//! `--stream TOKENS`: an ever longer conversation, and what a turn of it costs. Counts of work and bytes say more than
//! seconds here, and are the same on every machine.

use std::time::Instant;

use anyhow::{Result, bail};
use serde::Serialize;
use tmem_core::engine::{Engine, Statistics};
use tmem_core::model::Specials;
use tmem_core::rollout::event::Event;
use tmem_core::rollout::{Agent, AgentError, AskOptions};
use tmem_eval::synthetic::{Length, Lexicon, Parameters, Plan};

use crate::interrupt::Stopped;
use crate::session::Session;

/// Seed of the conversations.
const SEED: u64 = 9_000_000;
/// Sessions and exchanges of each; one is told after the other.
const SESSIONS: usize = 20;
const EXCHANGES: usize = 10;
/// What is asked at every mark.
const QUESTION: &str = "What is my name?";

/// What a stretch of the stream cost.
#[derive(Debug, Clone, Serialize)]
struct Stretch {
    /// Tokens said so far, the templates' own left out.
    tokens_said: u64,
    turns: u64,
    /// Cards that the fast weights hold.
    cards: usize,
    /// Writes since the mark before.
    writes: u64,
    /// Optimizer steps of a write on average.
    steps_per_write: f64,
    /// Tokens through the layers below the fast weights (and through all of them where the model wrote or answered) for a
    /// write.
    tokens_per_write: f64,
    seconds_per_turn: f64,
    /// Tokens computed to answer one question at this mark.
    tokens_per_answer: u64,
    gpu_bytes: u64,
    peak_gpu_bytes: u64,
}

/// What has been done up to somewhere in the stream.
#[derive(Debug, Clone, Copy)]
struct Mark {
    turns: u64,
    writes: u64,
    statistics: Statistics,
    at: Instant,
}

/// Streams invented conversations to the agent until `tokens` have been said; a line at every power of ten and at the end.
pub(super) async fn run(session: &mut Session, tokens: u64, json: bool) -> Result<()> {
    let lexicon = Lexicon::built_in()?;
    let parameters = Parameters::fitting(SEED, SESSIONS, Length::Exchanges(EXCHANGES));
    let (agent, abort) = (&mut session.agent, &session.abort);
    let (mut said, mut turns, mut writes) = (0u64, 0u64, 0u64);
    let mark = |agent: &Agent<Engine>, turns, writes| Mark {
        turns,
        writes,
        statistics: agent.policy().statistics(),
        at: Instant::now(),
    };
    let mut last = mark(agent, 0, 0);
    let mut next = tokens.min(1000);
    let mut stretches = Vec::new();
    if !json {
        print_head(agent);
    }
    for conversation in 0.. {
        let plan = Plan::new(&lexicon, &parameters, conversation)?;
        for sitting in plan.sessions() {
            for pair in sitting?.turns.chunks(2) {
                let [user, assistant] = pair else { continue };
                let mut observe = |event| writes += u64::from(matches!(event, Event::WriteFinished(_)));
                match agent.feed(&user.content, &assistant.content, &mut observe, abort).await {
                    // What a model with a small context cannot read is not said.
                    Err(AgentError::TurnTooLong { .. }) => continue,
                    fed => fed?,
                }
                if abort.is_aborted() {
                    return Err(Stopped.into());
                }
                let tokenizer = &agent.policy().model().tokenizer;
                for text in [&user.content, &assistant.content] {
                    said += tokenizer.encode(text, Specials::Literal)?.len() as u64;
                }
                turns += 1;
                if said < next {
                    continue;
                }
                let now = mark(agent, turns, writes);
                let before = agent.policy().statistics();
                let options = AskOptions { context: false, twin: false };
                agent.ask_all(&[QUESTION.to_owned()], options, &mut |_| {}, abort).await?;
                let after = agent.policy().statistics();
                let answer = after.tokens_computed - before.tokens_computed;
                let stretch = Stretch::new(agent, said, &last, &now, answer);
                if !json {
                    stretch.print();
                }
                stretches.push(stretch);
                if said >= tokens {
                    if json {
                        println!("{}", serde_json::to_string_pretty(&stretches)?);
                    }
                    return Ok(());
                }
                next = tokens.min(next * 10);
                last = mark(agent, turns, writes);
            }
        }
    }
    bail!("there are no more conversations")
}

impl Stretch {
    fn new(agent: &Agent<Engine>, tokens_said: u64, last: &Mark, now: &Mark, tokens_per_answer: u64) -> Self {
        let (writes, turns) = (now.writes - last.writes, now.turns - last.turns);
        let per_write = |count: u64| count as f64 / writes.max(1) as f64;
        let memory = agent.policy().gpu().memory();
        Self {
            tokens_said,
            turns: now.turns,
            cards: agent.cards().len(),
            writes,
            steps_per_write: per_write(now.statistics.steps - last.statistics.steps),
            tokens_per_write: per_write(now.statistics.tokens_computed - last.statistics.tokens_computed),
            seconds_per_turn: (now.at - last.at).as_secs_f64() / turns.max(1) as f64,
            tokens_per_answer,
            gpu_bytes: memory.live(),
            peak_gpu_bytes: memory.peak(),
        }
    }

    fn print(&self) {
        println!(
            "{:>9} {:>7} {:>6} {:>7} {:>10.1} {:>12.0} {:>11} {:>13.4} {:>9.1} {:>9.1}",
            self.tokens_said,
            self.turns,
            self.cards,
            self.writes,
            self.steps_per_write,
            self.tokens_per_write,
            self.tokens_per_answer,
            self.seconds_per_turn,
            self.gpu_bytes as f64 / f64::from(1 << 20),
            self.peak_gpu_bytes as f64 / f64::from(1 << 20),
        );
    }
}

fn print_head(agent: &Agent<Engine>) {
    println!("{} on {}", agent.policy().model().name, agent.policy().gpu().info().name);
    println!(
        "{:>9} {:>7} {:>6} {:>7} {:>10} {:>12} {:>11} {:>13} {:>9} {:>9}",
        "tokens", "turns", "cards", "writes", "steps", "tokens", "tokens", "seconds", "MiB now", "MiB at"
    );
    println!(
        "{:>9} {:>7} {:>6} {:>7} {:>10} {:>12} {:>11} {:>13} {:>9} {:>9}",
        "said", "", "", "", "per write", "per write", "per answer", "per turn", "", "most"
    );
}
