//! What the command that invents conversations takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::parse_count;

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
