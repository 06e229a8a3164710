//! What can be wrong with a benchmark's file.

use std::path::{Path, PathBuf};

use tmem_core::settings::MemoryKind;

/// A benchmark that cannot be used. Each message names the file and, where there is one, the line, the record and the
/// field.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not a list of records: truncated, or of another shape altogether.
    #[error("{file}, line {line}: {reason}")]
    Structure {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A record has a wrong field.
    #[error("{file}, line {line}, record {index}, at `{field}`: {reason}")]
    Field {
        /// The file.
        file: PathBuf,
        /// Line of the fault where the JSON itself tells it, else the line the record begins on; from 1.
        line: usize,
        /// Index of the record within the file, from 0.
        index: usize,
        /// Path of the field within the record, as in `qa[3].category`; `.` for the whole record.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No benchmark has this name.
    #[error("there is no benchmark `{name}`: choose one of {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Options that do not fit together.
    #[error("{0}")]
    Options(String),
    /// The benchmark may not be used with this memory.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why a benchmark may not be used with a memory strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{benchmark} is refused with the memory `{memory:?}`: {reason}")]
pub struct Refusal {
    /// The benchmark's name.
    pub benchmark: &'static str,
    /// The memory strategy.
    pub memory: MemoryKind,
    /// Why, and what to use instead.
    pub reason: &'static str,
}

/// A fault within a record: path of the field, and what is wrong with it.
pub(crate) type Fault = (String, String);

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line the record begins on, from 1.
    pub line: usize,
    /// Index of the record within the file, from 0.
    pub index: usize,
}

impl Place {
    /// The error of a fault in this record.
    pub(crate) fn fault(&self, (field, reason): Fault) -> BenchError {
        BenchError::Field { file: self.file.clone(), line: self.line, index: self.index, field, reason }
    }

    /// The file's name without its folder.
    pub fn file_name(&self) -> String {
        file_name(&self.file)
    }
}

/// A path's last part as text.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
