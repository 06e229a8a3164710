//! Why a run ended before its end.

use std::path::PathBuf;

use tmem_core::rollout::AgentError;
use tmem_core::rollout::policy::PolicyError;

use crate::bench::{BenchError, Refusal};
use crate::judge::JudgeError;

/// A run that cannot begin or go on. What it has answered so far is kept; the same command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The benchmark's files.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// The benchmark may not be used with one of the strategies.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The rollout could not go on.
    #[error(transparent)]
    Agent(AgentError),
    /// The model failed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The judge gave no verdict.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// Stopped from outside.
    #[error("stopped; the same command goes on from here")]
    Aborted,
    /// A file cannot be read or written.
    #[error("cannot access {file}: {source}")]
    File {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The folder holds another run.
    #[error(
        "the folder holds another run, which differs in `{field}` ({theirs} there, {ours} here): name another folder, \
         or repeat the options of that run"
    )]
    OtherRun {
        /// The first field that differs.
        field: String,
        /// Its value in the folder.
        theirs: String,
        /// Its value here.
        ours: String,
    },
    /// A file of the folder is not what a run leaves.
    #[error("{file}, line {line}: {reason}; remove the folder and begin anew")]
    Damaged {
        /// The file within the folder.
        file: &'static str,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Options that do not fit together.
    #[error("{0}")]
    Options(String),
}

impl From<AgentError> for RunError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Aborted => Self::Aborted,
            other => Self::Agent(other),
        }
    }
}
