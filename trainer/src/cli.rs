//! What the command line takes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tmem_core::settings::{MemoryKind, Settings};
use tmem_eval::bench::ocrr::{Division, RunOptions};
use tmem_eval::bench::{BenchmarkKind, Dates};
use tmem_eval::probe::CardSource;
use tmem_eval::run::{Mode, OracleWrites, PromptKind};
use tmem_eval::sweep::Ablation;

use crate::slow_adapter::SlowChoice;

/// A small language model that learns while you talk to it.
#[derive(Debug, Parser)]
#[command(name = "trainer", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command honours.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Part of the name of the GPU adapter to use; the most powerful one otherwise
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) adapter: Option<String>,
    /// A GGUF file; the default model is downloaded where this is not given
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// A PEFT adapter that is merged into the model: the folder with its two files, or `none`
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) slow_adapter: Option<SlowChoice>,
    /// The settings to start from: small (this model's own), quick (a tenth of the work) or paper
    #[arg(long, global = true, value_name = "PRESET", default_value = "small")]
    pub(crate) preset: String,
    /// A setting, such as --set fast.rank=4 or --set replay=off; an unknown name lists all of them
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Seeds everything that is random
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
}

impl Common {
    /// The preset with the settings and the seed that were given.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::preset(&self.preset)?;
        if let Some(seed) = self.seed {
            (settings.seed, settings.sampling.seed) = (seed, seed);
        }
        for assignment in &self.set {
            settings.set(assignment)?;
        }
        Ok(settings)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Talk to the model; /help lists what it takes besides talk
    Chat(ChatArguments),
    /// Replay a share link or a file with one, and compare the fast weights that come out
    Replay(ReplayArguments),
    /// Write conversations into the fast weights and measure recall and damage
    Probe(ProbeArguments),
    /// The adapter, its limits, the memory needed, and the spectrum of every adapted weight
    Inspect(InspectArguments),
    /// Turn a saved chat into a PEFT adapter that Python can load
    Export(ExportArguments),
    /// Turn a PEFT adapter of this model into a saved chat
    Import(ImportArguments),
    /// Measure speed against the adapter's own matrix product
    Bench(BenchArguments),
    /// Run memory strategies on a benchmark and keep every answer; stopped or killed, the same command goes on
    Eval(EvalArguments),
    /// Write invented conversations or rule books, with everything a perfect memory would keep of them
    Synth(SynthArguments),
    /// Tables and plots of evaluation runs; runs of the same settings are merged, others compared
    Report(ReportArguments),
    /// Warm-start a base model on invented conversations: trains a slow adapter; killed, the same command goes on
    Sft(SftArguments),
    /// Train a base model by reinforcement to write memories worth having: trains a slow adapter; killed, the same
    /// command goes on
    Rl(TrainingArguments),
    /// Evaluate every value of some settings on the same samples and seeds, and report all of them together
    Sweep(SweepArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ChatArguments {
    /// A file that /save wrote, to go on from
    #[arg(long, value_name = "FILE")]
    pub(crate) load: Option<PathBuf>,
    /// Let the frozen twin answer beside the model from the start
    #[arg(long)]
    pub(crate) twin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// A share link, the part of one after `#`, or a file that holds either
    #[arg(value_name = "LINK_OR_FILE")]
    pub(crate) source: String,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who writes the cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cards {
    /// One perfect card per fact of the file
    Oracle,
    /// The model itself, from the transcript
    Own,
}

impl From<Cards> for CardSource {
    fn from(cards: Cards) -> Self {
        match cards {
            Cards::Oracle => Self::Oracle,
            Cards::Own => Self::Own,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArguments {
    /// A conversation with its facts; several are written one after the other
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) conversation: Vec<PathBuf>,
    /// Who writes the cards
    #[arg(long, value_enum)]
    pub(crate) cards: Cards,
    /// Questions that show what the writing damaged
    #[arg(long, value_name = "FILE")]
    pub(crate) controls: Option<PathBuf>,
    /// Where the whole report goes; - is the standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Questions asked at once
    #[arg(long, value_name = "NUMBER", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) batch: u16,
}

/// Whether the writer knows what will be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// Each history is read once, and all its questions are asked from the state it leaves
    Blind,
    /// One episode for each question, which the writer is told (the paper's)
    Aware,
}

/// How a question about a history is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PromptName {
    /// With the benchmark's own instructions around it
    Official,
    /// The question alone, as a person asks it
    Plain,
}

/// Where the date of a session stands in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatesName {
    /// Before the first turn of each session
    First,
    /// Before every turn: a write within a session does not lose it
    Every,
    /// Nowhere
    Never,
}

/// How an oracle's cards are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OracleWritesName {
    /// In one write
    Once,
    /// In a write for each session, in order
    Sessions,
}

impl From<OracleWritesName> for OracleWrites {
    fn from(writes: OracleWritesName) -> Self {
        match writes {
            OracleWritesName::Once => Self::Once,
            OracleWritesName::Sessions => Self::Sessions,
        }
    }
}

impl From<DatesName> for Dates {
    fn from(dates: DatesName) -> Self {
        match dates {
            DatesName::First => Self::First,
            DatesName::Every => Self::Every,
            DatesName::Never => Self::Never,
        }
    }
}

impl From<PromptName> for PromptKind {
    fn from(prompt: PromptName) -> Self {
        match prompt {
            PromptName::Official => Self::Official,
            PromptName::Plain => Self::Plain,
        }
    }
}

impl From<ModeName> for Mode {
    fn from(mode: ModeName) -> Self {
        match mode {
            ModeName::Blind => Self::Blind,
            ModeName::Aware => Self::Aware,
        }
    }
}

/// Who says whether an answer is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum JudgeName {
    /// The benchmark's own score, or the closest thing that needs no judging model
    Official,
    /// The answer is a right answer, but for case and punctuation
    Exact,
    /// Words shared with the right answer
    F1,
    /// A right answer stands in the answer
    Contains,
    /// A model behind an OpenAI-compatible interface; its key is taken from OPENAI_API_KEY
    Endpoint,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EvalArguments {
    /// locomo, longmemeval, search, clbench, rulebook, memoryagentbench, convomem or ocrr
    #[arg(long, value_name = "NAME")]
    pub(crate) bench: BenchmarkKind,
    /// The benchmark's files as their owners publish them
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub(crate) data: Vec<PathBuf>,
    /// A second file: LoCoMo's audit, or the side file of generated conversations and rule books
    #[arg(long, value_name = "PATH")]
    pub(crate) gold: Option<PathBuf>,
    /// Search: files of passages to search besides those that come with the questions
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) corpus: Vec<PathBuf>,
    /// Strategies, separated by commas: none, summary, retrieval, tmem, tmem+text, cards, or all
    #[arg(long, value_name = "LIST", value_parser = parse_memories)]
    pub(crate) memory: MemoryList,
    /// How many seeds, counted up from --seed
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) seeds: u32,
    /// Most samples; all where this is not given
    #[arg(long, value_name = "NUMBER", value_parser = parse_count)]
    pub(crate) limit: Option<usize>,
    /// Most questions of a sample, spread evenly over all of them
    #[arg(long, value_name = "NUMBER", value_parser = parse_count)]
    pub(crate) probes: Option<usize>,
    /// The folder for the answers; one that a run has begun is gone on with
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Whether the writer knows what will be asked
    #[arg(long, value_enum, default_value_t = ModeName::Blind)]
    pub(crate) mode: ModeName,
    /// How questions about a history are put
    #[arg(long, value_enum, default_value_t = PromptName::Official)]
    pub(crate) prompt: PromptName,
    /// Where the date of a session stands in a history
    #[arg(long, value_enum, default_value_t = DatesName::First)]
    pub(crate) dates: DatesName,
    /// Who writes the cards of tmem and cards
    #[arg(long, value_enum, default_value_t = Cards::Own)]
    pub(crate) cards: Cards,
    /// How an oracle's cards are learned
    #[arg(long, value_enum, default_value_t = OracleWritesName::Once)]
    pub(crate) oracle_writes: OracleWritesName,
    /// Who says whether an answer is right
    #[arg(long, value_enum, default_value_t = JudgeName::Official)]
    pub(crate) judge: JudgeName,
    /// Address of the judging model, as in `https://api.example.org/v1`
    #[arg(long, value_name = "URL")]
    pub(crate) judge_url: Option<String>,
    /// Name of the judging model
    #[arg(long, value_name = "NAME")]
    pub(crate) judge_model: Option<String>,
    /// Questions of general knowledge (the controls of `probe`), a few of which are asked after every write
    #[arg(long, value_name = "FILE")]
    pub(crate) controls: Option<PathBuf>,
    /// Search: questions a task
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) objectives: u16,
    /// MemoryAgentBench: keeps the rows whose source begins with this
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Questions asked at once
    #[arg(long, value_name = "NUMBER", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) batch: u16,
    #[command(flatten)]
    pub(crate) corrections: CorrectionArguments,
}

/// How rows become a stream of corrections.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Streams of corrections (ocrr)")]
pub(crate) struct CorrectionArguments {
    /// Share of the classes that are new to the agent
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = parse_share)]
    pub(crate) novel_classes: f64,
    /// Examples of each other class that are told at the start
    #[arg(long, value_name = "NUMBER", default_value = "4", value_parser = parse_count)]
    pub(crate) known_per_class: usize,
    /// Examples of each class in the stream
    #[arg(long, value_name = "NUMBER", default_value = "8", value_parser = parse_count)]
    pub(crate) stream_per_class: usize,
    /// Examples of each class that are asked at every checkpoint
    #[arg(long, value_name = "NUMBER", default_value = "4", value_parser = parse_count)]
    pub(crate) asked_per_class: usize,
    /// Examples of the stream from one checkpoint to the next
    #[arg(long, value_name = "NUMBER", default_value = "50", value_parser = parse_count)]
    pub(crate) checkpoint_every: usize,
    /// Share of wrong answers that are corrected
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = parse_share)]
    pub(crate) corrected: f64,
}

impl CorrectionArguments {
    /// How rows are divided; the seed is the run's.
    pub(crate) fn division(&self) -> Division {
        Division {
            novel_classes: self.novel_classes,
            known_per_class: self.known_per_class,
            stream_per_class: self.stream_per_class,
            asked_per_class: self.asked_per_class,
            ..Division::default()
        }
    }

    /// How the stream goes; the seed is the run's.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions { corrected: self.corrected, checkpoint_every: self.checkpoint_every, ..RunOptions::default() }
    }
}

/// A number from 0 to 1.
fn parse_share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{share} is not between 0 and 1")) }
}

/// A list of strategies as one argument.
pub(crate) type MemoryList = Vec<MemoryKind>;

/// Strategies by their names in the settings; `tmem+text` is another name of `tmem_text`.
fn parse_memories(text: &str) -> Result<MemoryList, String> {
    if text == "all" {
        return Ok(MemoryKind::ALL.to_vec());
    }
    let one = |name: &str| {
        let name = name.trim().replace('+', "_");
        serde_json::from_value(serde_json::Value::from(name.as_str())).map_err(|_| {
            format!("there is no memory `{name}`: none, summary, retrieval, tmem, tmem+text, cards, or all")
        })
    };
    text.split(',').map(one).collect()
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also run every kernel against its twin on the processor
    #[arg(long)]
    pub(crate) self_test: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// A file that /save wrote
    #[arg(value_name = "FILE")]
    pub(crate) saved: PathBuf,
    /// The folder for adapter_config.json and adapter_model.safetensors; made where it is missing
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// A folder with adapter_config.json and adapter_model.safetensors, and cards.json where there is one
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// The file to write, for `trainer chat --load`
    #[arg(value_name = "FILE")]
    pub(crate) saved: PathBuf,
}

/// What `sft` takes.
#[derive(Debug, Args)]
pub(crate) struct SftArguments {
    /// Conversations to train on: `synthetic`, invented ones, or a file of one's own with its facts, as `probe` reads it; may be
    /// given more than once
    #[arg(long, value_name = "synthetic|FILE", default_value = "synthetic")]
    pub(crate) data: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) training: TrainingArguments,
}

/// What `sft` and `rl` take.
#[derive(Debug, Args)]
pub(crate) struct TrainingArguments {
    /// The run as a TOML file, as in `configs/`; --set NAME=VALUE takes the place of what it says (rl.beta=0.04)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The folder for checkpoints, metrics and the adapter; one that the same run has begun is gone on with [default:
    /// runs/sft or runs/rl]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Check everything and print the run, then stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl TrainingArguments {
    /// The folder of a run of this command.
    pub(crate) fn folder(&self, command: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(command))
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Fewer repetitions: figures within some ten per cent
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measure only this
    #[arg(long, value_enum)]
    pub(crate) only: Option<Measurement>,
    /// Instead, measure every kernel alone: bytes and operations from its shapes, against the adapter's own best
    #[arg(long, conflicts_with = "only")]
    pub(crate) roofline: bool,
    /// Instead, tell the model invented conversations of so many tokens, and say what a turn costs after 1000, 10,000, …
    #[arg(long, value_name = "TOKENS", conflicts_with_all = ["only", "roofline"])]
    pub(crate) stream: Option<u64>,
}

/// What `bench` can measure alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measurement {
    /// Reading a prompt
    Prefill,
    /// Generating, for one sequence and for eight
    Decode,
    /// Generating for 64 sequences under 64 adapters, beside one and none
    Adapters,
    /// A training step
    Step,
    /// A whole write
    Write,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// Folders that `trainer eval` wrote, all of one benchmark, or that `trainer rl` wrote
    #[arg(required = true, value_name = "FOLDER")]
    pub(crate) folders: Vec<PathBuf>,
    /// The folder for summary.json, summary.md and the plots; that of the run where there is only one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// The score to tabulate and compare, such as f1, in place of the benchmark's headline
    #[arg(long, value_name = "NAME")]
    pub(crate) score: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArguments {
    /// What to vary: format, init, budget, layers, rank, loss, kl, replay, wordings or gate; several, parted by commas,
    /// one after the other
    #[arg(long, required = true, value_delimiter = ',', value_name = "NAME")]
    pub(crate) ablation: Vec<Ablation>,
    /// Every run; in its --out each ablation has a folder, with one for each value and the report over them
    #[command(flatten)]
    pub(crate) eval: EvalArguments,
}

/// What `trainer synth` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SynthKind {
    /// longmemeval.json for any LongMemEval reader, and gold.jsonl with the facts, cards and questions
    Longmemeval,
    /// conversation_N.json and controls_N.json for `trainer probe`, and gold.jsonl
    Probe,
    /// rulebook.jsonl in CL-bench's schema with four tasks a rule book, and rulebook_gold.jsonl with answers and checks
    Rulebook,
}

/// Which wording of its questions a LongMemEval file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SynthWording {
    /// As a card would ask
    Canonical,
    /// In words that no training wording has
    HeldOut,
    /// Every question twice, told apart in the report
    Both,
}

/// The same --seed and options give the same files, byte for byte. Nothing is downloaded and no model is needed.
#[derive(Debug, Args)]
pub(crate) struct SynthArguments {
    /// What to write
    #[arg(long, value_enum)]
    pub(crate) kind: SynthKind,
    /// The folder for the files; made where it is missing
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// How many conversations, or rule books
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) samples: u64,
    /// Sessions of a conversation, spread over months
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = parse_count)]
    pub(crate) sessions: usize,
    /// Facts told in a conversation, later changes included; as many as suit the length where this is not given
    #[arg(long, value_name = "NUMBER", value_parser = parse_count)]
    pub(crate) facts: Option<usize>,
    /// Words of a conversation, met within a tenth: a few hundred to a million and more
    #[arg(long, value_name = "NUMBER", conflicts_with = "turns", value_parser = parse_count)]
    pub(crate) words: Option<usize>,
    /// Turns of the user in each session, where --words is not given
    #[arg(long, value_name = "NUMBER", default_value_t = 6, value_parser = parse_count)]
    pub(crate) turns: usize,
    /// Questions asked of a conversation in longmemeval.json, each with the whole conversation beside it; types take turns
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = parse_count)]
    pub(crate) questions: usize,
    /// The wording of the questions in longmemeval.json; gold.jsonl has all of them
    #[arg(long, value_enum, default_value_t = SynthWording::HeldOut)]
    pub(crate) wording: SynthWording,
}

/// A number that is not zero and fits into memory.
fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) if count <= 100_000_000 => Ok(count),
        Ok(_) => Err("must be at most 100000000".to_owned()),
        Err(_) => Err("is not a whole number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn an_evaluation_is_told_by_names() {
        let parse = |line: &str| match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
            Ok(Command::Eval(arguments)) => Ok(arguments),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        let base = "trainer eval --bench ocrr --data a b --out x --memory";
        let arguments = parse(&format!("{base} none,tmem+text --seeds 3")).unwrap();
        assert_eq!((arguments.bench, arguments.data.len(), arguments.seeds), (BenchmarkKind::Ocrr, 2, 3));
        assert_eq!(arguments.memory, [MemoryKind::None, MemoryKind::TmemText]);
        assert_eq!(parse(&format!("{base} all")).unwrap().memory.len(), 6);
        assert!(parse(&format!("{base} brain")).unwrap_err().contains("no memory `brain`: none, summary"));
        assert!(parse("trainer eval --bench x --data a --out x --memory all").unwrap_err().contains("choose one of"));
    }

    #[test]
    fn settings_come_from_preset_seed_and_assignments() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().common.settings();
        let settings = parse("trainer chat --preset paper --seed 9 --set rank=4 --set sampling.seed=3").unwrap();
        let paper = Settings::paper();
        assert_eq!((settings.fast.rank, settings.seed, settings.sampling.seed), (4, 9, 3));
        assert_eq!(settings.fast.learning_rate, paper.fast.learning_rate);
        assert!(parse("trainer chat --set nonsense=1").unwrap_err().to_string().contains("fast.rank"));
        assert!(parse("trainer chat --preset huge").unwrap_err().to_string().contains("`small`, `quick` or `paper`"));
    }
}
