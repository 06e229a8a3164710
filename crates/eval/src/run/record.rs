//! What a run leaves in its folder, line by line. A report is made from these files alone.
//!
//! | file | holds | after a kill and a resume |
//! |---|---|---|
//! | `run.json` | [`RunRecord`]: what the run is | the same |
//! | `probes.jsonl` | a [`ProbeLine`] for each answer | the same bytes as of an unbroken run |
//! | `units.jsonl` | a [`UnitLine`] for each finished unit | the same bytes as of an unbroken run |
//! | `timings.jsonl` | a [`TimingLine`] for each finished unit | other clock times, perhaps another peak of GPU memory |
//!
//! A unit is one strategy on one sample with one seed. Lines stand in the order (seed, memory, sample, probe) of
//! [`RunRecord`] and of the benchmark's files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tmem_core::fast::DeltaId;
use tmem_core::hash::hexadecimal;
use tmem_core::settings::{MemoryKind, Settings};

use super::error::RunError;
use crate::bench::ocrr::{Division, RunOptions};
use crate::bench::search::EpisodeOptions;
use crate::bench::{BenchmarkKind, FeedOptions};
use crate::probe::CardSource;

/// The version of these files.
pub const FORMAT: u32 = 1;

/// The score of a checkpoint's answer that counts the corrections told before it.
pub const CORRECTIONS: &str = "corrections";
/// The score that counts the examples of the stream before it.
pub const STEP: &str = "step";

/// Names of the files in a run's folder.
pub mod file {
    /// A [`RunRecord`](super::RunRecord).
    pub const RUN: &str = "run.json";
    /// [`ProbeLine`](super::ProbeLine)s.
    pub const PROBES: &str = "probes.jsonl";
    /// [`UnitLine`](super::UnitLine)s.
    pub const UNITS: &str = "units.jsonl";
    /// [`TimingLine`](super::TimingLine)s.
    pub const TIMINGS: &str = "timings.jsonl";
    /// The folder of the unit in progress.
    pub const STATE: &str = "state";
}

/// Whether the writer knows what will be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Each history is read once, and all its questions are asked from the state it leaves.
    #[default]
    Blind,
    /// One episode for each question, which the writer is told (the paper's).
    Aware,
}

/// Into how many writes an oracle's cards are divided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OracleWrites {
    /// One for the whole history.
    #[default]
    Once,
    /// One for each session, in order: what earlier ones taught must outlast the later ones.
    Sessions,
}

/// How a question about a history is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptKind {
    /// With the benchmark's own instructions around it.
    #[default]
    Official,
    /// The question alone, as a person asks it: instructions for large models confuse a small one.
    Plain,
}

/// A file that a run has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name without the folder.
    pub file: String,
    /// Sha-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// The model of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Its name.
    pub name: String,
    /// Sha-256 of its file, in hexadecimal.
    pub sha256: String,
}

/// What a run is: everything its figures depend on. A folder is resumed only by a run of the same record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of the files: [`FORMAT`].
    pub version: u32,
    /// The benchmark.
    pub bench: BenchmarkKind,
    /// Its files, in the order they are read.
    pub data: Vec<FileRecord>,
    /// Its second file, where it has one.
    pub gold: Option<FileRecord>,
    /// What is searched besides what comes with the questions.
    pub corpus: Vec<FileRecord>,
    /// Questions of general knowledge that are asked after every write.
    pub controls: Option<FileRecord>,
    /// The model.
    pub model: ModelRecord,
    /// The GPU.
    pub adapter: String,
    /// Whether the writer knows what will be asked.
    pub mode: Mode,
    /// How questions about a history are put.
    #[serde(default)]
    pub prompt: PromptKind,
    /// Who writes the cards. With an oracle's the history is not read.
    #[serde(default)]
    pub cards: CardSource,
    /// How an oracle's cards are learned.
    #[serde(default)]
    pub oracle_writes: OracleWrites,
    /// The strategies, in the order they are run.
    pub memories: Vec<MemoryKind>,
    /// The seeds, in the order they are run.
    pub seeds: Vec<u64>,
    /// Most samples; `None` takes all.
    pub limit: Option<usize>,
    /// Most probes of a sample; `None` asks all.
    pub probes: Option<usize>,
    /// Probes asked at once.
    pub batch: usize,
    /// All settings; each unit has its own seed and memory in their place.
    pub settings: Settings,
    /// How histories are fed.
    pub feed: FeedOptions,
    /// How search episodes go.
    pub search: SearchRecord,
    /// How rows are divided into a stream of corrections, where their file does not say.
    #[serde(default)]
    pub division: Division,
    /// How streams of corrections go.
    pub corrections: RunOptions,
    /// MemoryAgentBench: the rows that were kept.
    pub source: Option<String>,
    /// Who says whether an answer is right.
    pub judge: String,
    /// Name and version of the program.
    pub program: String,
}

/// How search episodes of a run go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRecord {
    /// Questions of a task.
    pub objectives: usize,
    /// Most tokens of what the model writes in one turn.
    pub action_tokens: usize,
    /// Turns and passages. What a prompt shows of earlier turns is the strategy's business.
    pub episode: EpisodeOptions,
}

impl FileRecord {
    /// A file's name and hash.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn of(path: &Path) -> Result<Self, RunError> {
        let failed = |source| RunError::File { file: path.to_owned(), source };
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
        let mut hash = Sha256::new();
        loop {
            let bytes = file.fill_buf().map_err(failed)?;
            if bytes.is_empty() {
                break;
            }
            hash.update(bytes);
            let read = bytes.len();
            file.consume(read);
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { file: name, sha256: hexadecimal(&hash.finalize()) })
    }
}

/// One answered probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeLine {
    /// The unit's seed.
    pub seed: u64,
    /// The unit's strategy.
    pub memory: MemoryKind,
    /// The unit's sample.
    pub sample: String,
    /// The probe; unique within the sample.
    pub probe: String,
    /// The benchmark's category. Search: the questions' source. OCRR: `novel` or `original`.
    pub category: String,
    /// Sessions since the fact was told, 0 = in the last one; `None` where the evidence is unknown.
    pub age: Option<usize>,
    /// Sha-256 of what was asked, the benchmark's instructions included, in hexadecimal.
    pub prompt_sha256: String,
    /// The question alone.
    pub question: String,
    /// The answer. Search: everything that was written and found.
    pub answer: String,
    /// Right answers, each alone is right. Search: one entry a question, its right answers parted by ` | `.
    pub gold: Vec<String>,
    /// Every score by name, mostly between 0 and 1. Search: sums over the questions. A judge's verdict is `judge`.
    pub scores: BTreeMap<String, f64>,
    /// Which of the scores a table shows.
    pub headline: String,
    /// The cards that the answer is from, or that the gate found nearest; empty where there are none.
    pub cards: Vec<u64>,
    /// Scale of Δ for this prompt; `None` where no gate was asked.
    pub gate: Option<f32>,
    /// Tokens of the prompt.
    pub tokens_read: u64,
    /// Tokens of the answer.
    pub tokens_generated: u64,
}

impl ProbeLine {
    /// The score that a table shows; `None` where this answer has none of that name.
    pub fn score(&self) -> Option<f64> {
        self.scores.get(&self.headline).copied()
    }
}

/// What a finished unit was and what it cost, its probes included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitLine {
    /// The seed.
    pub seed: u64,
    /// The strategy.
    pub memory: MemoryKind,
    /// The sample.
    pub sample: String,
    /// Turns that were fed. With questions known beforehand ([`Mode::Aware`]) all figures are sums over the episodes.
    pub exchanges: usize,
    /// Memory-writing actions that came to an end.
    pub writes: usize,
    /// Cards that were learned or kept.
    pub cards: usize,
    /// Cards that were written and dropped: not grounded, repeated, malformed.
    pub dropped_cards: usize,
    /// Turns that fell out of the context unwritten.
    pub dropped_turns: usize,
    /// Prompt tokens of everything that was generated, by the writer and for the probes, and tokens embedded.
    pub tokens_read: u64,
    /// Tokens generated.
    pub tokens_generated: u64,
    /// The Δ at the end.
    pub delta: DeltaId,
    /// How the unit went; with questions known beforehand, its first episode.
    pub timeline: Vec<TimelinePoint>,
}

/// A unit at one moment: after a write, and at its end. (f32, because a saved f64 need not come back as it was.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// Turns fed so far.
    pub exchanges: usize,
    /// ℓ(h) + ℓ(m), in tokens.
    pub context_tokens: usize,
    /// Mean of ‖ΔW‖_F / ‖W‖_F over the adapted sites; 0 where nothing was trained.
    pub delta_norm: f32,
    /// Share of the questions of general knowledge that the frozen model answers rightly which are still answered
    /// rightly; `None` where none were given or it answers none.
    pub knowledge_kept: Option<f32>,
}

/// What a finished unit took of the machine: seconds, and GPU memory. Both depend on what the process did before, so
/// they stand apart from what a resumed run repeats bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingLine {
    /// The seed.
    pub seed: u64,
    /// The strategy.
    pub memory: MemoryKind,
    /// The sample.
    pub sample: String,
    /// Feeding turns; of search and OCRR, acting too.
    pub reading: f64,
    /// Writing memory, training apart.
    pub writing: f64,
    /// Training the fast weights.
    pub training: f64,
    /// Answering probes and judging them.
    pub answering: f64,
    /// The most bytes held on the GPU at once, from the start of the process to the end of this unit.
    pub peak_gpu_bytes: u64,
}
