//! Our own figures, from `trainer bench --json`, and from a visit to the page beside the peers in the browser.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::{
    shell,
    web::{self, WebProfile},
};

/// Tokens that `trainer bench` prefills and generates; the peers do the same.
pub(super) const PROMPT_TOKENS: usize = 512;
pub(super) const GENERATED_TOKENS: usize = 64;
/// The training batch that `trainer bench` and `peft_step.py` share.
pub(super) const STEP: &str = "training step, 16 x 51 tokens, last 4";

/// What of the trainer's report is needed here.
#[derive(Debug, Deserialize)]
pub(super) struct OurReport {
    /// Name of the adapter.
    pub(super) adapter: String,
    /// Name and SHA-256 of the model.
    pub(super) model: String,
    figures: Vec<Figure>,
}

#[derive(Debug, Deserialize)]
struct Figure {
    name: String,
    seconds: f64,
    rate: Option<f64>,
}

impl OurReport {
    /// The report in what the trainer printed.
    pub(super) fn parse(output: &str) -> Result<Self> {
        serde_json::from_str(output).context("`trainer bench --json` did not print its figures")
    }

    /// Units a second of the figure of this name.
    pub(super) fn rate(&self, name: &str) -> Result<f64> {
        self.figure(name)?.rate.with_context(|| format!("`trainer bench` gives no rate for \"{name}\""))
    }

    /// Seconds of the figure of this name.
    pub(super) fn seconds(&self, name: &str) -> Result<f64> {
        Ok(self.figure(name)?.seconds)
    }

    fn figure(&self, name: &str) -> Result<&Figure> {
        let found = self.figures.iter().find(|figure| figure.name == name);
        let Some(figure) = found else {
            let names = self.figures.iter().map(|figure| figure.name.as_str()).collect::<Vec<_>>().join("; ");
            bail!("`trainer bench` did not measure \"{name}\", the size that the peers run, but: {names}");
        };
        Ok(figure)
    }
}

/// How our side is started.
#[derive(Clone, Debug)]
pub(super) struct Trainer {
    binary: PathBuf,
}

impl Trainer {
    /// The binary that was given, or a release build, made now so that no measurement waits for a compiler.
    pub(super) fn build(binary: Option<&Path>) -> Result<Self> {
        let binary = binary.map_or_else(|| release_build("trainer", "trainer"), |binary| Ok(binary.to_owned()))?;
        Ok(Self { binary })
    }

    /// `trainer bench --only WHAT`: once to warm up, once that counts.
    pub(super) fn bench(&self, only: &str, model: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(shell::repository());
        command.args(["bench", "--quick", "--json", "--only", only, "--model"]).arg(model);
        command
    }
}

/// How the page is visited: a program of the tests that drives it in headless Chromium.
#[derive(Clone, Debug)]
pub(super) struct PageVisit {
    binary: PathBuf,
}

/// What of its report is needed here.
#[derive(Debug, Deserialize)]
pub(super) struct PageReport {
    /// The adapter, as the browser names it.
    pub(super) device: String,
    prompt_tokens: usize,
    prompt_rate: f64,
    generate_rate: f64,
}

impl PageVisit {
    /// Builds the page and its visitor.
    pub(super) fn build() -> Result<Self> {
        web::build(WebProfile::Web)?;
        Ok(Self { binary: release_build("tmem-tests", "page_speed")? })
    }

    /// A visit: an answer of so many tokens, then a prompt of about so many.
    pub(super) fn command(&self, model: &Path, prompt: usize, generated: usize) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(shell::repository()).arg("--no-write").arg("--model").arg(model);
        command.args(["--prompt", &prompt.to_string(), "--generate", &generated.to_string()]);
        command
    }
}

impl PageReport {
    /// The report in what the visitor printed.
    pub(super) fn parse(output: &str) -> Result<Self> {
        serde_json::from_str(output).context("`page_speed` did not print its figures")
    }

    /// Tokens a second: of the prompt, and generated.
    ///
    /// # Errors
    /// The prompt was of another size than asked for.
    pub(super) fn rates(&self, prompt: usize) -> Result<[f64; 2]> {
        // It is made by the letter.
        let read = self.prompt_tokens;
        ensure!(read * 10 > prompt * 9 && read * 10 < prompt * 11, "the page read {read} tokens instead of {prompt}");
        Ok([self.prompt_rate, self.generate_rate])
    }
}

/// A release build of one binary.
fn release_build(package: &str, name: &str) -> Result<PathBuf> {
    let mut build = shell::cargo();
    build.args(["build", "--release", "--package", package, "--bin", name]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let messages = shell::output(&mut build)?;
    executable(&messages, name).with_context(|| format!("cargo built {name} but names no executable"))
}

/// The executable of this name in cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let values = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_binary = values.filter(|message| message["target"]["name"] == name);
    of_binary.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
        "model": "SmolLM2 135M Instruct (d1c9)", "adapter": "llvmpipe (LLVM 15.0.6, 256 bits)", "kernels": "simd",
        "figures": [
            {"name": "load the model", "seconds": 0.4},
            {"name": "prefill, 512 tokens", "seconds": 3.6, "rate": 141.0, "unit": "tokens/s"},
            {"name": "training step, 16 x 51 tokens, last 4, new cards", "seconds": 3.8}
        ]}"#;

    #[test]
    fn figures_are_found_by_name() {
        let report = OurReport::parse(REPORT).unwrap();
        assert_eq!(report.adapter, "llvmpipe (LLVM 15.0.6, 256 bits)");
        assert_eq!(report.rate("prefill, 512 tokens").unwrap(), 141.0);
        assert_eq!(report.seconds(&format!("{STEP}, new cards")).unwrap(), 3.8);
    }

    #[test]
    fn another_size_is_an_error_that_says_what_there_is() {
        let error = OurReport::parse(REPORT).unwrap().rate("prefill, 256 tokens").unwrap_err().to_string();
        assert!(error.contains("prefill, 512 tokens"), "{error}");
        assert!(OurReport::parse(REPORT).unwrap().rate("load the model").is_err());
        assert!(OurReport::parse("no JSON").is_err());
    }

    #[test]
    fn the_page_tells_its_rates_for_the_size_asked_for() {
        let report = r#"{"device": "SwiftShader", "load_seconds": 9.0, "prompt_tokens": 530, "prompt_rate": 14.0,
            "generated_tokens": 64, "generate_rate": 3.0}"#;
        let report = PageReport::parse(report).unwrap();
        assert_eq!(report.rates(512).unwrap(), [14.0, 3.0]);
        assert!(report.rates(1024).unwrap_err().to_string().contains("530 tokens instead of 1024"));
    }

    #[test]
    fn cargo_names_the_executable() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"anyhow\"},\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"trainer\"},\"executable\":\"/t/release/trainer\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages, "trainer"), Some(PathBuf::from("/t/release/trainer")));
        assert_eq!(executable("Finished", "trainer"), None);
    }
}
