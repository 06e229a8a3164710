//! One module per sub-command.

pub(crate) mod bench;
pub(crate) mod chat;
mod episodes;
pub(crate) mod eval;
pub(crate) mod inspect;
mod learning_curve;
pub(crate) mod peft;
pub(crate) mod probe;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod rl;
mod run_folder;
pub(crate) mod sft;
pub(crate) mod sweep;
pub(crate) mod synth;
