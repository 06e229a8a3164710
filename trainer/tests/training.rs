//! The training commands as programs, on the tiny random model.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Some small steps.
const RUN: &str = r#"
backend = "flex"
checkpoint_every = 1
keep = 24
reply_tokens = 4

[slow]
r = 2

[data]
sessions = 2
exchanges = 6

[sft]
episodes = 1
row_tokens = 128

[sft.episode]
cards = 2
wordings = 2
held_out = 1
unknown = 1
ordinary = 1

[sft.write]
learning_rate = 1e-2
steps = 2

[sft.train.schedule]
learning_rate = 1e-3
max_steps = 24
"#;

struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("run.toml"), config).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny_a.q4_1.gguf");
        command.args(["sft", "--set=fast.layers=1", "--config"]).arg(self.path("run.toml"));
        command
            .arg("--model")
            .arg(model)
            .arg("--out")
            .arg(self.path(out))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    fn finish(&self, out: &str) {
        let output = self.command(out).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn refused(&self, out: &str) -> String {
        let output = self.command(out).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Everything that a run leaves for others.
    fn left(&self, out: &str) -> [Vec<u8>; 3] {
        ["metrics.jsonl", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
            .map(|name| fs::read(self.path(out).join(name)).unwrap())
    }
}

#[test]
fn a_warm_start_that_is_killed_goes_on_to_the_same_bytes() {
    let run = Run::new(RUN);
    run.finish("unbroken");
    let unbroken = run.left("unbroken");
    assert_eq!(unbroken[0].iter().filter(|&&byte| byte == b'\n').count(), 24, "a line for each step");

    let mut killed = run.command("killed").spawn().unwrap();
    let checkpoint = run.path("killed/checkpoints/step-000000001.safetensors");
    while !checkpoint.exists() {
        assert!(killed.try_wait().unwrap().is_none(), "the run ended before its first checkpoint was seen");
        std::thread::sleep(Duration::from_millis(1));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    run.finish("killed");
    assert!(run.left("killed") == unbroken);

    // The adapter is one that the other commands load.
    let adapter = run.path("killed/adapter");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny_a.q4_1.gguf");
    let inspect = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(["inspect", "--set=fast.layers=1", "--model"])
        .arg(model)
        .arg("--slow-adapter")
        .arg(adapter)
        .output()
        .unwrap();
    let told = String::from_utf8(inspect.stdout).unwrap();
    assert!(told.contains("with the slow adapter"), "{told}");
}

#[test]
fn what_is_no_run_is_refused_before_anything_is_written() {
    let wrong = Run::new(&RUN.replace("episodes = 1", "episode_count = 1"));
    let told = wrong.refused("out");
    assert!(told.contains("run.toml is not a run") && told.contains("episode_count"), "{told}");
    assert!(!wrong.path("out").exists());

    let endless = Run::new(&RUN.replace("max_steps = 24", "max_steps = 0"));
    assert!(endless.refused("out").contains("max_steps must be at least 1"));

    let cuda = Run::new(&RUN.replace("\"flex\"", "\"cuda\""));
    assert!(cuda.refused("out").contains("is not built in"));

    let begun = Run::new(RUN);
    fs::create_dir(begun.path("out")).unwrap();
    fs::write(begun.path("out/config.json"), "{}").unwrap();
    assert!(begun.refused("out").contains("holds a run with other settings"));
}
