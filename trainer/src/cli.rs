//! What the command line takes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tmem_core::settings::Settings;

use crate::slow_adapter::SlowChoice;

mod evaluation;
mod synthetic;

pub(crate) use evaluation::*;
pub(crate) use synthetic::*;

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
    /// Whose kernels to run: those for real GPUs or those for emulated ones, rather than what suits the adapter
    #[arg(long, global = true, value_name = "KIND")]
    pub(crate) kernels: Option<Kernels>,
    /// How a GPU takes the numbers of its large products: as they are, or rounded to half precision
    #[arg(long, global = true, value_name = "PRECISION", default_value = "full")]
    pub(crate) products: Products,
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

/// What `--kernels` can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernels {
    /// For real GPUs.
    Gpu,
    /// For adapters that a processor emulates.
    Cpu,
}

/// What `--products` can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Products {
    /// 32 bits a number.
    Full,
    /// Half precision, sums in 32 bits.
    Half,
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
