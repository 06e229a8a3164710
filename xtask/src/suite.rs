//! The whole test suite: what has to hold on a clean clone, in one command.

mod prerequisites;
mod tally;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    shell,
    web::{self, WebProfile},
};
use tally::Tally;

pub(crate) use prerequisites::environment;

/// Tests whose names contain this drive Chromium.
const BROWSER_TESTS: &str = "in_chromium";

/// Tests that run at once. A software Vulkan driver uses every core by itself, and each process holds a model.
const TESTS_AT_ONCE: &str = "2";

/// Which part of the suite to run.
#[derive(Clone, Debug, Default)]
pub struct SuiteOptions {
    /// Only the tests whose names contain this; no lints, no documentation.
    pub filter: Option<String>,
    /// Without the page, its browser tests and the documentation.
    pub quick: bool,
}

/// Runs the suite, all of it even where a part fails, and ends with a summary.
///
/// # Errors
/// A prerequisite is missing, or a step failed.
pub fn run(options: &SuiteOptions) -> Result<()> {
    let browser = !options.quick;
    let lints = options.filter.is_none();
    prerequisites::ensure(browser)?;
    let environment = environment()?;

    let mut suite = Suite::default();
    if lints {
        suite.step("formatting", || shell::run(shell::cargo().args(["fmt", "--all", "--check"])));
        suite
            .step("lints", || shell::run(shell::cargo().args(["clippy", "--all-targets", "--", "--deny", "warnings"])));
    }
    if lints && browser {
        suite.step("lints (WebAssembly)", || {
            web::ensure_target()?;
            let mut clippy = shell::cargo();
            clippy.args(["clippy", "--package", "tmem-core", "--package", "tmem-web"]);
            shell::run(clippy.args(["--target", "wasm32-unknown-unknown", "--", "--deny", "warnings"]))
        });
        suite.step("documentation", || {
            shell::run(shell::cargo().args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings"))
        });
    }
    suite.step("model", || Ok(tmem_fetch::ensure_model(None).map(drop)?));
    if browser {
        // The development profile: the tests are about behaviour, and it costs a fraction of the optimised build.
        suite.step("page", || web::build(WebProfile::Dev).map(|built| eprintln!("{built}")));
    }
    let mut tally = Tally::default();
    for (name, mut command) in test_commands(options, shell::find_program("cargo-nextest").is_some()) {
        suite.step(name, || {
            let (success, output) =
                shell::run_and_keep(command.envs(environment.iter().cloned()).env("CARGO_TERM_COLOR", "never"))?;
            tally.add(&output);
            if success { Ok(()) } else { bail!("there are failures above") }
        });
    }
    suite.finish(tally)
}

/// The runners to start. cargo-nextest isolates tests in processes, ends hanging ones and runs all binaries together,
/// but knows no documentation tests; without it, `cargo test` does.
fn test_commands(options: &SuiteOptions, nextest: bool) -> Vec<(&'static str, Command)> {
    let mut tests = shell::cargo();
    if nextest {
        tests.args(["nextest", "run", "--no-fail-fast", "--test-threads", TESTS_AT_ONCE]);
    } else {
        tests.args(["test", "--no-fail-fast"]);
    }
    tests.args(&options.filter).arg("--");
    if !nextest {
        tests.args(["--test-threads", TESTS_AT_ONCE]);
    }
    if options.quick {
        tests.args(["--skip", BROWSER_TESTS]);
    }
    let mut commands = vec![("tests", tests)];
    if nextest && options.filter.is_none() {
        let mut documentation = shell::cargo();
        documentation.args(["test", "--doc"]);
        commands.push(("examples in documentation", documentation));
    }
    commands
}

/// The steps so far.
#[derive(Default)]
struct Suite {
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    time: Duration,
    error: Option<anyhow::Error>,
}

impl Suite {
    fn step(&mut self, name: &'static str, run: impl FnOnce() -> Result<()>) {
        eprintln!("\n=== {name}");
        let start = Instant::now();
        let error = run().err();
        if let Some(error) = &error {
            eprintln!("{name} failed: {error:#}");
        }
        self.steps.push(Step { name, time: start.elapsed(), error });
    }

    fn finish(self, tally: Tally) -> Result<()> {
        let total: Duration = self.steps.iter().map(|step| step.time).sum();
        println!();
        for Step { name, time, error } in &self.steps {
            let outcome = if error.is_none() { "ok" } else { "FAILED" };
            println!("{name:<28} {outcome:<7} {:>6.0} s", time.as_secs_f32());
        }
        let failed: Vec<_> = self.steps.iter().filter(|step| step.error.is_some()).map(|step| step.name).collect();
        println!("{:<28} {:<7} {:>6.0} s", "all", "", total.as_secs_f32());
        println!("tests: {} passed, {} failed", tally.passed, tally.failed);
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        // A runner that succeeds without running anything must not look like success.
        if tally.passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }
}
