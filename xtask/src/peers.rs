//! `cargo xtask bench --peers`: other engines beside ours, in one run, pair by pair.
//!
//! Nothing of them is part of this project. `xtask/peers/install.sh` puts them into a cache folder; the scripts beside
//! it run one of them once and print what it measured and where it ran.

mod installation;
mod machine;
mod ours;
mod peer_report;
mod statistics;
mod table;

use std::{collections::BTreeSet, ffi::OsString, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{CommandFactory as _, Parser};
use serde::Serialize;

use crate::{shell, suite};
use installation::{Installation, Sizes};
use machine::Machine;
use ours::{OurReport, PageReport, PageVisit, Trainer};
use peer_report::PeerReport;
use table::Row;

pub use installation::Peer;

/// What `cargo xtask bench --peers` takes.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench --peers", disable_help_flag = true)]
pub struct PeerOptions {
    /// How many times each pair is measured
    #[arg(long, default_value_t = 3, value_name = "NUMBER")]
    repetitions: usize,
    /// Only this peer; may be given more than once
    #[arg(long, value_enum, value_name = "PEER")]
    only: Vec<Peer>,
    /// The GGUF file that both sides read; the default model otherwise
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Threads of the peers and of a software Vulkan driver; all that the machine has otherwise
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
    /// Also write everything that was measured into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A trainer that is already built, in place of a release build made now
    #[arg(long, value_name = "PATH")]
    trainer: Option<PathBuf>,
    /// Run the peers alone, once, at the smallest sizes: shows that they function; the figures mean nothing
    #[arg(long)]
    smoke: bool,
}

impl PeerOptions {
    /// Reads what follows `--peers`; ends the program where it makes no sense.
    pub fn parse_arguments(arguments: &[String]) -> Self {
        let name = std::iter::once("cargo xtask bench --peers");
        Self::parse_from(name.chain(arguments.iter().map(String::as_str)))
    }

    /// The options, for the help of `cargo xtask bench`.
    pub fn help() -> String {
        let help = Self::command().render_help().to_string();
        let options = help.split_once("Options:").map_or(help.as_str(), |(_, options)| options);
        format!("With --peers, other engines run beside ours (see docs/performance.md):{options}")
    }
}

/// Everything of one run, as `--json` writes it.
#[derive(Debug, Serialize)]
struct Outcome {
    machine: Machine,
    repetitions: usize,
    smoke: bool,
    rows: Vec<Row>,
    /// Every version that took part.
    versions: BTreeSet<String>,
    /// Every command that ran, with the environment that it was given.
    commands: BTreeSet<String>,
    /// Peers that are not here.
    skipped: Vec<String>,
    /// Peers that are here and could not be measured.
    failures: Vec<String>,
}

/// Runs the comparison and prints it.
///
/// # Errors
/// No peer is installed; or one failed or ran elsewhere than it was told to, after all others have been measured.
pub fn run(options: &PeerOptions) -> Result<()> {
    ensure!(options.repetitions > 0, "nothing can be measured in no repetitions; give --repetitions 1 or more");
    let installation = Installation::find()?;
    let model = tmem_fetch::ensure_model(options.model.as_deref())?;
    let model = fs::canonicalize(&model).with_context(|| format!("cannot find {}", model.display()))?;
    let mut outcome = Outcome {
        machine: Machine::here(),
        repetitions: if options.smoke { 1 } else { options.repetitions },
        smoke: options.smoke,
        rows: Vec::new(),
        versions: BTreeSet::new(),
        commands: BTreeSet::new(),
        skipped: Vec::new(),
        failures: Vec::new(),
    };
    if let Some(warning) = outcome.machine.warning() {
        eprintln!("warning: {warning}");
    }
    let peers = if options.only.is_empty() { Peer::DEFAULT.to_vec() } else { options.only.clone() };
    let mut installed = Vec::new();
    for peer in peers {
        match installation.missing(peer) {
            None => installed.push(peer),
            Some(why) => outcome.skipped.push(format!("{}: {why}", peer.title())),
        }
    }
    for skipped in &outcome.skipped {
        eprintln!("skipped: {skipped}");
    }
    if installed.is_empty() {
        bail!("no peer is installed, so nothing was measured; run: bash xtask/peers/install.sh");
    }
    let threads = options.threads.unwrap_or_else(machine::threads);
    let (mut trainer, mut page) = (None, None);
    if !options.smoke {
        if installed.iter().any(|peer| peer.page().is_none()) {
            trainer = Some(Trainer::build(options.trainer.as_deref())?);
        }
        if installed.iter().any(|peer| peer.page().is_some()) {
            page = Some(PageVisit::build()?);
        }
    }
    let mut environment = suite::environment()?;
    // Mesa's software driver takes as many threads as the peers on the CPU.
    environment.push(("LP_NUM_THREADS", threads.to_string().into()));
    let run = Run { installation, model, threads, trainer, page, environment };
    for peer in installed {
        eprintln!("\n=== {}", peer.title());
        if let Err(error) = run.compare(peer, &mut outcome) {
            eprintln!("{} failed: {error:#}", peer.title());
            outcome.failures.push(format!("{}: {error:#}", peer.title()));
        }
    }
    finish(&outcome, options)
}

/// Prints the outcome and fails where a peer did.
fn finish(outcome: &Outcome, options: &PeerOptions) -> Result<()> {
    if outcome.smoke {
        println!("\nA smoke run at the smallest sizes: the figures mean nothing.");
    }
    if !outcome.rows.is_empty() {
        println!("\n{}", table::render(&outcome.rows));
        println!("Median [least..most] of {}; a ratio above 1 means that ours is faster.\n", outcome.repetitions);
    }
    println!("machine: {}", outcome.machine);
    for (title, lines) in [("version", &outcome.versions), ("command", &outcome.commands)] {
        lines.iter().for_each(|line| println!("{title}: {line}"));
    }
    outcome.skipped.iter().for_each(|skipped| println!("skipped: {skipped}"));
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(outcome)?;
        fs::write(file, text).with_context(|| format!("cannot write {}; choose another --json", file.display()))?;
    }
    if !outcome.failures.is_empty() {
        bail!("not every peer that is installed was measured:\n  {}", outcome.failures.join("\n  "));
    }
    Ok(())
}

/// What all comparisons share.
struct Run {
    installation: Installation,
    model: PathBuf,
    threads: usize,
    /// None in a smoke run, and where no peer stands beside it; so is the page.
    trainer: Option<Trainer>,
    page: Option<PageVisit>,
    environment: Vec<(&'static str, OsString)>,
}

impl Run {
    /// Measures one peer beside ours, in turns, and adds its rows. A pair that fails leaves no rows behind: what it
    /// was measured beside may be wrong as well.
    fn compare(&self, peer: Peer, outcome: &mut Outcome) -> Result<()> {
        let sizes = if outcome.smoke { Sizes::SMOKE } else { Sizes::FULL };
        let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for repetition in 1..=outcome.repetitions {
            eprintln!("--- pair {repetition} of {}", outcome.repetitions);
            let measured = self.ours(peer, &sizes, outcome)?;
            if let Some(measured) = &measured {
                ours.iter_mut().zip(measured.figures).for_each(|(all, figure)| all.push(figure));
            }
            let mut command = self.installation.command(peer, &self.model, self.threads, &sizes);
            let report = PeerReport::parse(&self.output(&mut command, outcome)?)?;
            report.check(peer.device(), self.threads, peer.prompt(&sizes))?;
            if let Some(measured) = &measured {
                report.check_adapter(&measured.adapter)?;
            }
            let figures = peer.figures(&report)?;
            theirs.iter_mut().zip(figures).for_each(|(all, figure)| all.push(figure));
            outcome.versions.insert(format!("{} {} on {}", report.peer, report.version, report.device));
        }
        for (((what, unit), ours), theirs) in peer.measures(&sizes).into_iter().zip(ours).zip(theirs) {
            outcome.rows.push(Row::new(format!("{what}: {}", peer.title()), unit, ours, theirs));
        }
        Ok(())
    }

    /// Our side of a pair: the trainer, or the page in the same Chromium.
    fn ours(&self, peer: Peer, sizes: &Sizes, outcome: &mut Outcome) -> Result<Option<Measured>> {
        if peer.page().is_some() {
            let Some(page) = &self.page else { return Ok(None) };
            let mut visit = page.command(&self.model, sizes.prompt, sizes.generated);
            let report = PageReport::parse(&self.output(&mut visit, outcome)?)?;
            outcome.versions.insert(format!("ours: the page on {}", report.device));
            return Ok(Some(Measured { figures: report.rates(sizes.prompt)?, adapter: report.device }));
        }
        let Some(trainer) = &self.trainer else { return Ok(None) };
        let mut bench = |only: &str| -> Result<OurReport> {
            let report = OurReport::parse(&self.output(&mut trainer.bench(only, &self.model), outcome)?)?;
            outcome.versions.insert(format!("ours: {} on {}", report.model, report.adapter));
            Ok(report)
        };
        let figures = if peer == Peer::Pytorch {
            let step = bench("step")?;
            let seconds = |how: &str| step.seconds(&format!("{}, {how}", ours::STEP));
            Measured { figures: [seconds("new cards")?, seconds("kept states")?], adapter: step.adapter }
        } else {
            let prefill = bench("prefill")?;
            let decode = bench("decode")?;
            let figures =
                [prefill.rate(&format!("prefill, {} tokens", sizes.prompt))?, decode.rate("decode, batch 1")?];
            Measured { figures, adapter: decode.adapter }
        };
        Ok(Some(figures))
    }

    /// Runs a command in the environment that all share and keeps it for the report.
    fn output(&self, command: &mut Command, outcome: &mut Outcome) -> Result<String> {
        let given: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        let mut line: String = given
            .iter()
            .filter_map(|(name, value)| Some(format!("{}={} ", name.display(), value.as_ref()?.display())))
            .collect();
        line.push_str(&shell::line(command));
        outcome.commands.insert(line);
        shell::output(command.envs(self.environment.iter().cloned()))
    }
}

/// Our figures of one pair, and the adapter they were taken on.
struct Measured {
    figures: [f64; 2],
    adapter: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_what_the_help_says() {
        PeerOptions::command().debug_assert();
        let help = PeerOptions::help();
        for option in ["--repetitions", "--only", "--json", "--smoke", "llama-vulkan"] {
            assert!(help.contains(option), "{help}");
        }
        let arguments = ["--repetitions", "5", "--only", "pytorch", "--only", "wllama"].map(str::to_owned);
        let options = PeerOptions::parse_arguments(&arguments);
        assert_eq!((options.repetitions, options.only), (5, vec![Peer::Pytorch, Peer::Wllama]));
    }
}
