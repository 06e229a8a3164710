//! What can go wrong while generating.

/// A conversation or rule book that cannot be generated.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// One of the built-in data files is broken; a test loads them all, so this is only seen while editing them.
    #[error("data file {file}: {reason}")]
    Data {
        /// The file below `crates/eval/src/synthetic/data`.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A template names a slot that nothing fills.
    #[error("the template `{template}` has a slot `{{{slot}}}` that is neither a list, a grammar word nor given here")]
    UnknownSlot {
        /// The slot.
        slot: String,
        /// The template as written.
        template: String,
    },
    /// What was asked for does not fit together.
    #[error("{0}")]
    Parameters(String),
    /// No wording was found that tells one fact without containing the answer to another.
    #[error("no wording of the fact `{fact}` keeps other answers out of it; use fewer facts or another seed")]
    Leak {
        /// The fact's id.
        fact: String,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Write(#[from] std::io::Error),
    /// The output cannot be turned into JSON.
    #[error("cannot write the output: {0}")]
    Json(#[from] serde_json::Error),
}
