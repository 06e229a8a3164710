//! Runs every strategy on the same samples of a benchmark, and leaves a folder from which a report is made ([`record`]).
//!
//! A unit is one strategy on one sample with one seed. Units come one after the other; what a unit answers depends on
//! nothing before it. Answers are written a batch at a time, and the unit in progress is saved, so that a run may be killed
//! at any moment and the same call goes on from there to the same bytes.
//!
//! - Histories are read turn by turn and asked about afterwards ([`Mode`]). At the end, strategies that trigger write what
//!   is left and clear their context; `none` is asked with the context that it has kept.
//! - Search tasks are acted out with each memory, and streams of corrections are told and asked as they come.

mod corrections;
mod error;
mod folder;
mod history;
mod knowledge;
mod meter;
pub mod record;
mod referee;
mod search;
mod storage;
mod tally;
mod unit;

use std::path::PathBuf;

use tmem_core::abort::Abort;
use tmem_core::rollout::{Agent, Event};
use tmem_core::settings::{MemoryKind, Settings};

pub use error::RunError;
use record::RunRecord;
pub use record::{Mode, OracleWrites, PromptKind};
pub use referee::Referee;
pub use storage::{Disk, Storage};

use crate::bench::{Benchmark, BenchmarkKind, OpenOptions};
use crate::data::KeyedQuestion;
use crate::probe::{CardSource, Subject};
use folder::Folder;
use knowledge::Knowledge;
use meter::Metered;
use unit::{Desk, Unit};

/// Bytes of English text that make a token, about.
const BYTES_PER_TOKEN: usize = 4;

/// A run as it is wanted.
#[derive(Debug)]
pub struct Run {
    /// What it is; the folder keeps it.
    pub record: RunRecord,
    /// The benchmark's files.
    pub data: Vec<PathBuf>,
    /// How they are opened; each seed takes the place of the options' seed.
    pub open: OpenOptions,
    /// Who says whether an answer is right.
    pub referee: Referee,
    /// Questions of general knowledge, asked after every write; may be empty.
    pub knowledge: Vec<KeyedQuestion>,
}

/// What a run is doing.
#[derive(Debug, Clone)]
pub enum Progress<'a> {
    /// A folder with answers is gone on with.
    Resumed {
        /// Units that are finished.
        units: usize,
        /// Answers that are kept.
        answers: usize,
    },
    /// A unit begins, or is gone on with.
    Unit {
        /// Its seed.
        seed: u64,
        /// Its strategy.
        memory: MemoryKind,
        /// Its sample.
        sample: &'a str,
    },
    /// A history is being read.
    Reading {
        /// Turns fed.
        done: usize,
        /// Turns there are.
        all: usize,
    },
    /// Probes are being asked.
    Asking {
        /// Answers given.
        done: usize,
        /// Answers wanted.
        all: usize,
    },
    /// The rollout has news.
    Rollout(&'a Event),
}

impl Run {
    /// Bytes of a turn's sides so that a turn fits both the budget and the model, whatever the strategy.
    pub fn turn_bytes(settings: &Settings, context_length: usize) -> usize {
        let room = context_length.saturating_sub(settings.rollout.answer_tokens);
        (settings.rollout.budget.min(room) * BYTES_PER_TOKEN / 2).max(BYTES_PER_TOKEN)
    }

    /// Refuses what cannot be run, before anything is loaded.
    ///
    /// # Errors
    /// A strategy that the benchmark does not permit, or options that do not fit together.
    pub fn check(&self) -> Result<(), RunError> {
        let record = &self.record;
        let options = |reason: &str| Err(RunError::Options(reason.to_owned()));
        for memory in &record.memories {
            record.bench.permits(*memory)?;
        }
        if record.memories.is_empty() {
            return options("there is no memory to run: name one or more of them");
        }
        if record.seeds.is_empty() {
            return options("there is no seed to run: ask for one at least");
        }
        let twice = |at: usize| record.memories[..at].contains(&record.memories[at]);
        if (0..record.memories.len()).any(twice) {
            return options("a memory is named twice");
        }
        if record.bench == BenchmarkKind::Ocrr && record.mode == Mode::Aware {
            return options("a stream of corrections has no questions known beforehand: use the mode blind");
        }
        if record.cards == CardSource::Own && record.oracle_writes != OracleWrites::Once {
            return options(
                "writes by session are of an oracle's cards: the model writes its own when its context is full",
            );
        }
        if record.cards == CardSource::Oracle {
            let holds_cards = |memory: &MemoryKind| matches!(memory, MemoryKind::Tmem | MemoryKind::Cards);
            if !record.memories.iter().all(holds_cards) {
                return options("an oracle's cards suit the memories tmem and cards only: the others read the history");
            }
            if matches!(record.bench, BenchmarkKind::Search | BenchmarkKind::Ocrr) || record.mode == Mode::Aware {
                return options("an oracle's cards are of a whole history: use a benchmark of histories, mode blind");
            }
        }
        if record.bench == BenchmarkKind::Search && matches!(self.referee, Referee::Model(_)) {
            return options("search is scored by its own rules: use the judge official or f1");
        }
        Ok(())
    }

    /// Runs what is not yet in the folder, and gives the subject back.
    ///
    /// # Errors
    /// [`RunError`]. What was answered is kept.
    pub async fn execute<S: Subject>(
        &self,
        subject: S,
        storage: &mut dyn Storage,
        progress: &mut dyn FnMut(Progress<'_>),
        abort: &Abort,
    ) -> Result<S, RunError> {
        self.check()?;
        let folder = Folder::open(storage, &self.record)?;
        if !folder.finished().is_empty() || folder.lines() > 0 {
            progress(Progress::Resumed { units: folder.finished().len(), answers: folder.lines() });
        }
        let agent = Agent::new(Metered::new(subject), self.record.settings.clone());
        let knowledge = Knowledge::new(&self.knowledge);
        let mut desk = Desk { run: self, agent, folder, knowledge, progress, abort };
        let mut units = Units { next: 0, configured: None };
        for &seed in &self.record.seeds {
            let open = OpenOptions { seed, ..self.open.clone() };
            let opened = self.record.bench.open(&self.data, &open)?;
            for &memory in &self.record.memories {
                let limit = self.record.limit.unwrap_or(usize::MAX);
                match &opened {
                    // A stream of samples is read once for each strategy; it may be larger than memory.
                    Benchmark::Histories(_) => {
                        let Benchmark::Histories(samples) = self.record.bench.open(&self.data, &open)? else {
                            continue;
                        };
                        for sample in samples.take(limit) {
                            let sample = sample?;
                            if let Some(mut unit) = units.begin(&mut desk, seed, memory, &sample.id).await? {
                                history::run(&mut desk, &mut unit, &sample).await?;
                            }
                        }
                    }
                    Benchmark::Search { tasks, corpus } => {
                        for task in tasks.iter().take(limit) {
                            if let Some(mut unit) = units.begin(&mut desk, seed, memory, &task.id).await? {
                                search::run(&mut desk, &mut unit, task, corpus).await?;
                            }
                        }
                    }
                    Benchmark::Corrections(streams) => {
                        for stream in streams.iter().take(limit) {
                            if let Some(mut unit) = units.begin(&mut desk, seed, memory, &stream.name).await? {
                                corrections::run(&mut desk, &mut unit, stream).await?;
                            }
                        }
                    }
                }
            }
        }
        Ok(desk.agent.into_policy().subject)
    }

    /// The settings of a unit.
    fn settings(&self, seed: u64, memory: MemoryKind) -> Settings {
        let mut settings = self.record.settings.clone();
        (settings.seed, settings.sampling.seed) = (seed, seed);
        settings.rollout.memory = memory;
        settings.rollout.question_aware = self.record.mode == Mode::Aware;
        settings
    }
}

/// At most `most` of the items, evenly spread over all of them: benchmarks often list their categories one by one.
fn spread<T>(items: &[T], most: Option<usize>) -> impl Iterator<Item = &T> {
    let count = most.map_or(items.len(), |most| most.min(items.len()));
    (0..count).filter_map(move |at| items.get(at * items.len() / count))
}

/// The place in the order of units.
struct Units {
    next: usize,
    /// The seed and strategy that the agent is set to.
    configured: Option<(u64, MemoryKind)>,
}

impl Units {
    /// The next unit with an agent of its seed and strategy; `None` where the folder has it already.
    async fn begin<S: Subject>(
        &mut self,
        desk: &mut Desk<'_, S>,
        seed: u64,
        memory: MemoryKind,
        sample: &str,
    ) -> Result<Option<Unit>, RunError> {
        let index = self.next;
        self.next += 1;
        if let Some(line) = desk.folder.finished().get(index) {
            if (line.seed, line.memory, line.sample.as_str()) == (seed, memory, sample) {
                return Ok(None);
            }
            let reason = format!("the unit {} stands where {sample} belongs", line.sample);
            return Err(RunError::Damaged { file: record::file::UNITS, line: index + 1, reason });
        }
        (desk.progress)(Progress::Unit { seed, memory, sample });
        if self.configured != Some((seed, memory)) {
            let settings = desk.run.settings(seed, memory);
            desk.agent.policy_mut().subject.configure(&settings).await?;
            desk.agent.set_settings(settings);
            self.configured = Some((seed, memory));
        }
        desk.agent.reset(&mut |_| {}).await?;
        let first_line = desk.folder.lines();
        Ok(Some(Unit { index, seed, memory, sample: sample.to_owned(), first_line }))
    }
}
