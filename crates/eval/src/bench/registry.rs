//! Benchmarks by name.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tmem_core::settings::MemoryKind;

use super::error::{BenchError, Refusal};
use super::ocrr::{self, CorrectionStream, Division};
use super::sample::Sample;
use super::search::{self, Corpus, SearchTask};
use super::{clbench, convomem, locomo, longmemeval, memoryagentbench};

/// The benchmarks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchmarkKind {
    /// [`locomo`].
    Locomo,
    /// [`longmemeval`]: S, M, oracle, and our own generator's files.
    LongMemEval,
    /// [`search`].
    Search,
    /// [`clbench`]: evaluation only.
    ClBench,
    /// Rule books of our own in CL-bench's schema.
    RuleBook,
    /// [`memoryagentbench`].
    MemoryAgentBench,
    /// [`convomem`].
    ConvoMem,
    /// [`ocrr`].
    Ocrr,
}

/// What a benchmark is opened with. Each takes what it knows and ignores the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenOptions {
    /// A second file: LoCoMo's audit, or the side file of our generator (LongMemEval, rule books).
    pub gold: Option<PathBuf>,
    /// Search: files whose passages are searched besides those that come with the questions.
    pub corpus: Vec<PathBuf>,
    /// Search: questions a task.
    pub objectives: usize,
    /// MemoryAgentBench: keeps the rows whose source begins with this.
    pub source: Option<String>,
    /// MemoryAgentBench: bytes of a chunk.
    pub chunk_bytes: usize,
    /// OCRR: how labelled rows are divided; its seed is `seed`.
    pub division: Division,
    /// Seeds what is drawn when a benchmark is opened.
    pub seed: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            gold: None,
            corpus: Vec::new(),
            objectives: 2,
            source: None,
            chunk_bytes: memoryagentbench::CHUNK_BYTES,
            division: Division::default(),
            seed: 0,
        }
    }
}

/// Samples as they are read.
pub type SampleStream = Box<dyn Iterator<Item = Result<Sample, BenchError>>>;

/// A benchmark that is open.
pub enum Benchmark {
    /// Histories with probes, read as they are asked for.
    Histories(SampleStream),
    /// Search tasks and what is searched.
    Search {
        /// The tasks.
        tasks: Vec<SearchTask>,
        /// The passages.
        corpus: Corpus,
    },
    /// Streams of corrections, one a file.
    Corrections(Vec<CorrectionStream>),
}

impl std::fmt::Debug for Benchmark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Histories(_) => f.write_str("Histories(..)"),
            Self::Search { tasks, corpus } => {
                write!(f, "Search({} tasks, {} passages)", tasks.len(), corpus.passages().len())
            }
            Self::Corrections(streams) => write!(f, "Corrections({} streams)", streams.len()),
        }
    }
}

impl BenchmarkKind {
    /// Every benchmark, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Locomo,
        Self::LongMemEval,
        Self::Search,
        Self::ClBench,
        Self::RuleBook,
        Self::MemoryAgentBench,
        Self::ConvoMem,
        Self::Ocrr,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Locomo => "locomo",
            Self::LongMemEval => "longmemeval",
            Self::Search => "search",
            Self::ClBench => "clbench",
            Self::RuleBook => "rulebook",
            Self::MemoryAgentBench => "memoryagentbench",
            Self::ConvoMem => "convomem",
            Self::Ocrr => "ocrr",
        }
    }

    /// What it is, in a line.
    pub fn description(self) -> &'static str {
        match self {
            Self::Locomo => "LoCoMo: conversations of two people over months (CC BY-NC 4.0)",
            Self::LongMemEval => "LongMemEval S, M and oracle, and generated conversations in its schema",
            Self::Search => "multi-objective search over NQ-open, HotpotQA or SQuAD-style files (MEM1)",
            Self::ClBench => "CL-bench: rules learned from context, graded by rubrics (evaluation only)",
            Self::RuleBook => "generated rule books in CL-bench's schema, for memories that train",
            Self::MemoryAgentBench => "MemoryAgentBench: one long text, many questions",
            Self::ConvoMem => "ConvoMem: questions about chats with an assistant",
            Self::Ocrr => "online correction recovery: new classes learned from corrections",
        }
    }

    /// Whether a memory strategy may be used on the benchmark's data.
    ///
    /// # Errors
    /// The reason why not.
    pub fn permits(self, memory: MemoryKind) -> Result<(), Refusal> {
        // Spelled out, so that a new strategy is decided about here before it compiles.
        let trains = match memory {
            MemoryKind::None | MemoryKind::Summary | MemoryKind::Retrieval | MemoryKind::Cards => false,
            MemoryKind::Tmem | MemoryKind::TmemText => true,
        };
        if self == Self::ClBench && trains {
            return Err(Refusal {
                benchmark: self.name(),
                memory,
                reason: "CL-bench's licence allows evaluation only and forbids updating parameters on its data, which is \
                         what this memory does; use the benchmark `rulebook`, generated rule books in the same schema",
            });
        }
        Ok(())
    }

    /// Opens the benchmark's files. Search and OCRR read them now, the others as samples are asked for, file after file.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn open(self, data: &[PathBuf], options: &OpenOptions) -> Result<Benchmark, BenchError> {
        if data.is_empty() {
            return Err(BenchError::Options(format!("{} needs a data file", self.name())));
        }
        match self {
            Self::Search => {
                let questions = search::read_files(data)?;
                let tasks = search::tasks(&questions, options.objectives)?;
                let passages = questions.into_iter().chain(search::read_files(&options.corpus)?);
                let corpus = Corpus::new(passages.flat_map(|file| file.passages).collect());
                if corpus.passages().is_empty() {
                    return Err(BenchError::Options(
                        "there is nothing to search: name a file of passages as corpus".into(),
                    ));
                }
                Ok(Benchmark::Search { tasks, corpus })
            }
            Self::Ocrr => {
                let division = Division { seed: options.seed, ..options.division.clone() };
                let streams = data.iter().map(|file| ocrr::open(file, &division)).collect::<Result<_, _>>()?;
                Ok(Benchmark::Corrections(streams))
            }
            _ => {
                // A file that is not there is told before hours of work on the first one.
                let streams: Vec<SampleStream> =
                    data.iter().map(|file| self.samples(file, options)).collect::<Result<_, _>>()?;
                Ok(Benchmark::Histories(Box::new(streams.into_iter().flatten())))
            }
        }
    }

    fn samples(self, file: &std::path::Path, options: &OpenOptions) -> Result<SampleStream, BenchError> {
        let gold = options.gold.as_deref();
        Ok(match self {
            Self::Locomo => Box::new(locomo::open(file, gold, options.seed)?),
            Self::LongMemEval => Box::new(longmemeval::open(file, gold)?),
            Self::ClBench => Box::new(clbench::open(file)?),
            Self::RuleBook => {
                let missing =
                    || BenchError::Options("rule books need their side file (rulebook_gold.jsonl)".to_owned());
                Box::new(clbench::open_rule_books(file, gold.ok_or_else(missing)?)?)
            }
            Self::MemoryAgentBench => {
                Box::new(memoryagentbench::open(file, options.source.as_deref(), options.chunk_bytes)?)
            }
            Self::ConvoMem => Box::new(convomem::open(file)?),
            Self::Search | Self::Ocrr => Box::new(std::iter::empty()),
        })
    }
}

impl std::fmt::Display for BenchmarkKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BenchmarkKind {
    type Err = BenchError;

    fn from_str(name: &str) -> Result<Self, BenchError> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let unknown = || BenchError::Unknown { name: name.to_owned(), known: known() };
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_have_names() {
        for kind in BenchmarkKind::ALL {
            assert_eq!(kind.name().parse::<BenchmarkKind>().unwrap(), kind);
        }
        let error = "lokomo".parse::<BenchmarkKind>().unwrap_err().to_string();
        assert!(error.starts_with("there is no benchmark `lokomo`: choose one of locomo, longmemeval, "), "{error}");
    }

    #[test]
    fn clbench_is_for_evaluation_only() {
        let refusal = BenchmarkKind::ClBench.permits(MemoryKind::Tmem).unwrap_err().to_string();
        assert!(refusal.contains("forbids updating parameters") && refusal.contains("`rulebook`"), "{refusal}");
        assert!(BenchmarkKind::ClBench.permits(MemoryKind::None).is_ok());
        assert!(BenchmarkKind::ALL.iter().filter(|kind| kind.permits(MemoryKind::Tmem).is_err()).count() == 1);
    }

    #[test]
    fn missing_files_and_options_are_told_at_once() {
        let open = |kind: BenchmarkKind, files: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            kind.open(&files, &OpenOptions::default()).unwrap_err().to_string()
        };
        assert_eq!(open(BenchmarkKind::Locomo, &[]), "locomo needs a data file");
        for kind in [BenchmarkKind::Locomo, BenchmarkKind::Search, BenchmarkKind::Ocrr, BenchmarkKind::ClBench] {
            assert!(open(kind, &["no/such.json"]).starts_with("cannot read no/such.json: "));
        }
        assert!(open(BenchmarkKind::RuleBook, &["no/such.json"]).contains("rulebook_gold.jsonl"));
    }
}
