//! The native command line of tmem: chat, replay, probe, evaluation, inspect, export and import of adapters, benchmark.

mod cli;
mod commands;
mod events;
mod folder_lock;
mod interrupt;
mod saved;
mod session;
mod slow_adapter;
mod tensorboard;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};

/// Exit code where the person stopped the work, as shells have it for SIGINT.
const STOPPED: u8 = 130;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    let outcome = pollster::block_on(async {
        match &cli.command {
            Command::Chat(arguments) => commands::chat::run(&cli.common, arguments).await,
            Command::Replay(arguments) => commands::replay::run(&cli.common, arguments).await,
            Command::Probe(arguments) => commands::probe::run(&cli.common, arguments).await,
            Command::Inspect(arguments) => commands::inspect::run(&cli.common, arguments).await,
            Command::Export(arguments) => commands::peft::export(&cli.common, arguments).await,
            Command::Import(arguments) => commands::peft::import(&cli.common, arguments).await,
            Command::Eval(arguments) => commands::eval::run(&cli.common, arguments).await,
            Command::Synth(arguments) => commands::synth::run(&cli.common, arguments),
            Command::Report(arguments) => commands::report::run(arguments),
            Command::Sweep(arguments) => commands::sweep::run(&cli.common, arguments).await,
            Command::Sft(arguments) => commands::sft::run(&cli.common, arguments).await,
            Command::Rl(arguments) => commands::rl::run(&cli.common, arguments).await,
            Command::Bench(arguments) => commands::bench::run(&cli.common, arguments).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<interrupt::Stopped>() => {
            eprintln!("stopped");
            ExitCode::from(STOPPED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
