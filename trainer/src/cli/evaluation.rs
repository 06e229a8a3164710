//! What the commands that evaluate take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tmem_core::settings::MemoryKind;
use tmem_eval::bench::ocrr::{Division, RunOptions};
use tmem_eval::bench::{BenchmarkKind, Dates};
use tmem_eval::probe::CardSource;
use tmem_eval::run::{Mode, OracleWrites, PromptKind};
use tmem_eval::sweep::Ablation;

use super::parse_count;

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

impl From<ModeName> for Mode {
    fn from(mode: ModeName) -> Self {
        match mode {
            ModeName::Blind => Self::Blind,
            ModeName::Aware => Self::Aware,
        }
    }
}

/// How a question about a history is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PromptName {
    /// With the benchmark's own instructions around it
    Official,
    /// The question alone, as a person asks it
    Plain,
}

impl From<PromptName> for PromptKind {
    fn from(prompt: PromptName) -> Self {
        match prompt {
            PromptName::Official => Self::Official,
            PromptName::Plain => Self::Plain,
        }
    }
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

impl From<DatesName> for Dates {
    fn from(dates: DatesName) -> Self {
        match dates {
            DatesName::First => Self::First,
            DatesName::Every => Self::Every,
            DatesName::Never => Self::Never,
        }
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

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
}
