//! Reports: from the folders of one or several runs of a benchmark to `summary.json`, `summary.md` and plots.
//!
//! Runs that differ in nothing but seeds, strategies and data are merged; runs of other settings, models or modes stand
//! beside each other as *variants*, named by what differs. The same folders give the same bytes.

mod compare;
mod cost;
mod curves;
mod label;
mod markdown;
mod merge;
pub mod plot;
mod read;
mod summary;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use tmem_core::settings::MemoryKind;

use crate::bench::BenchmarkKind;

pub use compare::{Comparison, FEWEST_UNITS, RESAMPLES};
pub use cost::{Cost, Seconds};
pub use curves::{AgeBin, CorrectionPoint, EpisodePoint};
pub use merge::{Merged, Strategy};
pub use read::RunFolder;
pub use summary::{GroupScores, Report, Row, RunDescription};

/// Names of the files that a report consists of; the plots are named by [`plot::Plot::name`].
pub mod file {
    /// The [`Report`](super::Report).
    pub const JSON: &str = "summary.json";
    /// The same as tables.
    pub const MARKDOWN: &str = "summary.md";
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file of the report cannot be written.
    #[error("cannot write {file}: {source}")]
    Write {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("{file}, line {line}: {reason}")]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there, with the field.
        reason: String,
    },
    /// No answer of a run has the score that was asked for.
    #[error("{folder} has no score `{score}`: choose one of {known}")]
    Score {
        /// The run's folder.
        folder: PathBuf,
        /// What was asked for.
        score: String,
        /// The scores there are.
        known: String,
    },
    /// A run of another program.
    #[error(
        "{file} has version {version}, and this program reads version {}: report it with the program that made it",
        crate::run::record::FORMAT
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u64,
    },
    /// No folder was given.
    #[error("there is nothing to report: name at least one folder that `trainer eval` wrote")]
    NoRuns,
    /// A run without a finished unit.
    #[error("no strategy has finished a sample in {folder} yet: go on with the run by giving its command again")]
    NothingFinished {
        /// The run's folder.
        folder: PathBuf,
    },
    /// Runs of different benchmarks.
    #[error("{first_folder} is a run of {first} and {second_folder} one of {second}: report each benchmark by itself")]
    Benchmarks {
        /// A run's folder.
        first_folder: PathBuf,
        /// Its benchmark.
        first: BenchmarkKind,
        /// Another run's folder.
        second_folder: PathBuf,
        /// Its benchmark.
        second: BenchmarkKind,
    },
    /// The same probe twice.
    #[error(
        "probe `{probe}` of sample `{sample}` (memory {memory}, seed {seed}) is in {first_folder} and again in \
         {second_folder}, with the same settings: leave one of the folders out"
    )]
    Twice {
        /// The probe.
        probe: String,
        /// Its sample.
        sample: String,
        /// The strategy.
        memory: &'static str,
        /// The seed.
        seed: u64,
        /// Where it was met first.
        first_folder: PathBuf,
        /// Where it was met again.
        second_folder: PathBuf,
    },
    /// The summary cannot be expressed as JSON.
    #[error("cannot express the summary as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A strategy's name in tables and plots, as on the command line.
pub fn memory_name(memory: MemoryKind) -> &'static str {
    match memory {
        MemoryKind::None => "none",
        MemoryKind::Summary => "summary",
        MemoryKind::Retrieval => "retrieval",
        MemoryKind::Tmem => "tmem",
        MemoryKind::TmemText => "tmem+text",
        MemoryKind::Cards => "cards",
    }
}

impl Report {
    /// Makes the report of some runs of one benchmark.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn of<P: AsRef<Path>>(folders: &[P]) -> Result<Self, ReportError> {
        Self::of_score(folders, None)
    }

    /// As [`of`](Self::of), with another score in place of each benchmark's headline score. Probes without it are left
    /// out.
    ///
    /// # Errors
    /// [`ReportError`], where no probe has such a score among others.
    pub fn of_score<P: AsRef<Path>>(folders: &[P], score: Option<&str>) -> Result<Self, ReportError> {
        let mut runs = folders.iter().map(|folder| RunFolder::read(folder.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if let Some(score) = score {
            runs.iter_mut().try_for_each(|run| run.show(score))?;
        }
        Ok(Self::from_merged(&Merged::of(runs)?))
    }

    /// Writes the summary, the tables and the plots into a folder, which is made where it is missing. Returns the files
    /// in the order they were written.
    ///
    /// # Errors
    /// [`ReportError::Write`].
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
        let failed = |file: &Path, source| ReportError::Write { file: file.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        let plots = plot::plots(self);
        let mut contents =
            vec![(file::JSON.to_owned(), self.json()?), (file::MARKDOWN.to_owned(), self.markdown(&plots))];
        contents.extend(plots.into_iter().map(|plot| (plot.name, plot.svg)));
        let mut written = Vec::new();
        for (name, text) in contents {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|source| failed(&path, source))?;
            written.push(path);
        }
        Ok(written)
    }

    /// `summary.json`.
    ///
    /// # Errors
    /// [`ReportError::Json`].
    pub fn json(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
