//! `cargo xtask`: everything there is to do with this repository beside plain cargo. No tool is installed by hand.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use xtask::{
    peers::{self, PeerOptions},
    server::{self, Server, ServerOptions},
    shell,
    suite::{self, SuiteOptions},
    web::{self, WebProfile},
};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's chores")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything a first visitor needs: the model, the page, a server on this machine, a browser
    Demo {
        /// Port on 127.0.0.1; 0 takes a free one
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// A GGUF file to serve in place of the default model
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
        /// A slow adapter of that model (PEFT's two files in a folder): the page can be switched between both bases
        #[arg(long, value_name = "FOLDER")]
        slow_adapter: Option<PathBuf>,
        /// Do not open a browser
        #[arg(long)]
        no_open: bool,
        /// Build the page with the development profile (builds sooner, loads later)
        #[arg(long)]
        dev: bool,
    },
    /// Download the default model into models/ and check it; prints its path
    Model {
        /// Use this file instead of downloading
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// The whole test suite, as on a clean clone
    Test {
        /// Only the tests whose names contain this; leaves the lints out
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Leave out the page, its browser tests and the documentation
        #[arg(long)]
        quick: bool,
    },
    /// Build the page into web/dist
    Web {
        /// Build with the development profile (builds sooner, loads later)
        #[arg(long)]
        dev: bool,
    },
    /// Measure speed (a release build of the trainer does it); further arguments are passed on
    #[command(after_help = PeerOptions::help())]
    Bench {
        /// Run other engines beside ours, pair by pair; its own options are below
        #[arg(long)]
        peers: bool,
        /// Arguments for `trainer bench`, such as --json
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_target(false).init();
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The message is for the user and says what to do; where in this program it arose is no help.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Demo { port, model, slow_adapter, no_open, dev } => demo(port, model, slow_adapter, no_open, dev),
        Task::Model { model } => {
            println!("{}", tmem_fetch::ensure_model(model.as_deref())?.display());
            Ok(())
        }
        Task::Test { filter, quick } => suite::run(&SuiteOptions { filter, quick }),
        Task::Web { dev } => web::build(WebProfile::dev_if(dev)).map(|built| println!("{built}")),
        Task::Bench { peers: true, arguments } => peers::run(&PeerOptions::parse_arguments(&arguments)),
        Task::Bench { peers: false, arguments } => {
            let mut command = shell::cargo();
            command.args(["run", "--release", "--package", "trainer", "--", "bench"]).args(arguments);
            shell::run(&mut command)
        }
    }
}

fn demo(port: u16, model: Option<PathBuf>, slow_adapter: Option<PathBuf>, no_open: bool, dev: bool) -> Result<()> {
    server::ensure_free(port)?;
    let model = tmem_fetch::ensure_model(model.as_deref())?;
    println!("Building the page; the first time takes some minutes.");
    let built = web::build(WebProfile::dev_if(dev))?;
    println!("{built}");
    let server = Server::start(&ServerOptions {
        page: web::dist_folder(),
        slow_adapter: slow_adapter.map_or_else(|| tmem_fetch::adapter_for(&model), |folder| Ok(Some(folder)))?,
        model: Some(model),
        port,
        ..ServerOptions::default()
    })?;
    println!("\n  tmem is at {}\n  Ctrl-C stops it. Nothing you type leaves this machine.\n", server.url());
    if !no_open && shell::has_display() {
        open::that_detached(server.url()).context("cannot open a browser; open the address above by hand")?;
    }
    server.wait()
}
