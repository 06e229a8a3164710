//! The training commands as programs, on the tiny random model.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Some small steps of the warm start.
const SFT: &str = r#"
backend = "flex"
checkpoint_every = 1
keep = 24
evaluate_every = 10
evaluation_episodes = 2
reply_tokens = 4

[agent.fast]
layers = 1

[slow]
r = 2

[data]
sessions = 2
exchanges = 6
window = 1

[sft]
episodes = 1
row_tokens = 128

[sft.episode]
cards = 2
wordings = 2
write_unknown = 1
unknown = { count = 1, weight = 0.5 }
before = { count = 1, weight = 0.5 }
ordinary = { count = 1, weight = 0.5 }
transcripts = { count = 1, weight = 0.5 }

[sft.write]
learning_rate = 1e-2
steps = 2

[sft.train.schedule]
learning_rate = 1e-3
max_steps = 24
"#;

/// Some small steps of reinforcement on the toy model, which has something to be rewarded for.
const RL: &str = r#"
backend = "flex"
steps = 6
checkpoint_every = 1
keep = 2
evaluate_every = 2
evaluation_tasks = 4
episodes_every = 2

[tasks]
kind = "codes"
told = 1
unknown = 1

[agent.rollout]
writer = "json"
max_cards = 8
answer_tokens = 4

[agent.fast]
layers = 1
learning_rate = 2e-2
steps = 8
batch = 4
gate = false
kl_weight = 0.0
kl_prompts = 0

[slow]
r = 4

[rl]
tasks = 2
num_generations = 4
max_completion_length = 64
num_iterations = 2
beta = 0.01

[rl.reward]
leak = 0.2
damage = 0.01

[rl.train.schedule]
learning_rate = 1e-3
"#;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

struct Run {
    command: &'static str,
    model: PathBuf,
    folder: tempfile::TempDir,
}

impl Run {
    fn new(command: &'static str, model: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("run.toml"), config).unwrap();
        Self { command, model: fixture(model), folder }
    }

    fn sft(config: &str) -> Self {
        Self::new("sft", "toy_writer.q8_0.gguf", config)
    }

    fn rl(config: &str) -> Self {
        Self::new("rl", "toy_writer.q8_0.gguf", config)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.arg(self.command).arg("--config").arg(self.path("run.toml"));
        command.arg("--model").arg(&self.model).arg("--out").arg(self.path(out));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    fn finish(&self, out: &str) {
        let output = self.command(out).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs until its first checkpoint is there, and kills it.
    fn kill(&self, out: &str) {
        let mut killed = self.command(out).spawn().unwrap();
        let checkpoints = self.path(out).join("checkpoints");
        let begun = || {
            fs::read_dir(&checkpoints).is_ok_and(|mut entries| {
                entries.any(|entry| entry.unwrap().path().extension().is_some_and(|e| e == "safetensors"))
            })
        };
        while !begun() {
            assert!(killed.try_wait().unwrap().is_none(), "the run ended before its first checkpoint was seen");
            std::thread::sleep(Duration::from_millis(1));
        }
        killed.kill().unwrap();
        killed.wait().unwrap();
    }

    fn refused(&self, out: &str) -> String {
        let output = self.command(out).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Some of what a run leaves for others.
    fn left(&self, out: &str, names: &[&str]) -> Vec<Vec<u8>> {
        let adapter = ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"];
        names.iter().chain(&adapter).map(|name| fs::read(self.path(out).join(name)).unwrap()).collect()
    }
}

fn lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_warm_start_that_is_killed_goes_on_to_the_same_bytes() {
    let names = ["metrics.jsonl", "validation.jsonl", "best/adapter_model.safetensors"];
    let run = Run::sft(SFT);
    run.finish("unbroken");
    let unbroken = run.left("unbroken", &names);
    assert_eq!(lines(&unbroken[0]).len(), 24, "a line for each step");
    let evaluations = lines(&unbroken[1]);
    let all = |key: &str| evaluations.iter().map(|line| line[key].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("step"), [0.0, 10.0, 20.0, 24.0]);
    assert_eq!(all("ordinary")[0], 0.0, "before the first step it is the base model");
    assert!(all("unknown")[3] < all("unknown")[0], "it learns what to say of things never told: {evaluations:?}");
    run.kill("killed");
    run.finish("killed");
    assert!(run.left("killed", &names) == unbroken);

    // The adapter is one that the other commands load.
    let inspect = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(["inspect", "--set=fast.layers=1", "--model"])
        .arg(&run.model)
        .arg("--slow-adapter")
        .arg(run.path("killed/adapter"))
        .output()
        .unwrap();
    let told = String::from_utf8(inspect.stdout).unwrap();
    assert!(told.contains("with the slow adapter"), "{told}");
}

#[test]
fn reinforcement_that_is_killed_goes_on_to_the_same_bytes() {
    let names = ["metrics.jsonl", "evaluations.jsonl", "best/adapter_model.safetensors", "episodes/step-000004.md"];
    let run = Run::rl(RL);
    run.finish("unbroken");
    let unbroken = run.left("unbroken", &names);
    let (steps, evaluations) = (lines(&unbroken[0]), lines(&unbroken[1]));
    assert_eq!((steps.len(), evaluations.len()), (6, 4), "evaluations before steps 0, 2 and 4, and at the end");
    let all = |key: &str| steps.iter().map(|step| step[key].as_f64().unwrap()).collect::<Vec<_>>();
    // The sampler's weights are the learner's, rounded to 16 bits.
    assert!(all("gap").iter().all(|&gap| gap < 5e-3), "{:?}", all("gap"));
    assert!(all("groups_that_differ").iter().any(|&groups| groups > 0.0), "some episodes do better than others");
    assert!(all("gradient_norm").iter().any(|&norm| norm > 0.0));
    assert!(
        all("divergence")[0] < 1e-6 && all("divergence")[5] > 0.0,
        "it leaves the base model: {:?}",
        all("divergence")
    );
    let page = String::from_utf8(unbroken[3].clone()).unwrap();
    assert!(page.contains("- wrote: What is the code of the") && page.contains("reward"), "{page}");

    run.kill("killed");
    run.finish("killed");
    assert!(run.left("killed", &names) == unbroken);

    let report = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .arg("report")
        .args([run.path("unbroken"), run.path("killed")])
        .arg("--out")
        .arg(run.path("report"))
        .output()
        .unwrap();
    let table = String::from_utf8(report.stdout).unwrap();
    let first = evaluations[0]["reward"].as_f64().unwrap();
    assert!(table.contains(&format!("| unbroken | 6 | {first:.3} |")), "{table}");
    assert!(table.contains(&format!("Reward {first:.3} ± 0.000 before")), "{table}");
    let plot = fs::read_to_string(run.path("report/curve.svg")).unwrap();
    assert!(plot.contains("unbroken") && plot.contains("mean reward"));
}

#[test]
fn every_run_that_comes_with_the_program_is_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let command = if name.starts_with("sft") { "sft" } else { "rl" };
        // The backend it is meant for may not be built in.
        let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
            .args([command, "--dry-run", "--set=backend=flex", "--out=unused", "--config"])
            .arg(&file)
            .arg("--model")
            .arg(fixture("toy_writer.q8_0.gguf"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The comparison of the paper's Figure 3: the same budget for every memory.
#[test]
fn agents_with_other_memories_are_trained_alike() {
    let run = Run::rl(RL);
    for memory in ["summary", "retrieval"] {
        let set = format!("--set=agent.rollout.memory={memory}");
        let output = run.command(memory).args([&set, "--set=steps=1", "--set=rl.reward.damage=0.0"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let steps = lines(&run.left(memory, &["metrics.jsonl"])[0]);
        assert_eq!(steps[0]["outcome"]["cards"].as_f64(), Some(0.0), "{memory} writes no cards");
        assert!(steps[0]["tokens"].as_f64().unwrap() > 4.0 && steps[0]["gap"].as_f64().unwrap() < 5e-3, "{steps:?}");
    }
}

#[test]
fn settings_from_the_command_line_take_the_place_of_the_files() {
    let run = Run::rl(RL);
    let output =
        run.command("out").args(["--dry-run", "--set=rl.beta=0.5", "--set=tasks.told=3", "--seed=7"]).output().unwrap();
    let config: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((config["rl"]["beta"].as_f64(), config["tasks"]["told"].as_u64()), (Some(0.5), Some(3)));
    assert_eq!((config["rl"]["seed"].as_u64(), config["slow"]["seed"].as_u64()), (Some(7), Some(7)));
    assert!(!run.path("out").exists());
}

#[test]
fn reinforcement_is_refused_where_nothing_would_be_sampled() {
    let rules = Run::rl(&RL.replace("writer = \"json\"", "writer = \"answer_first\""));
    assert!(rules.refused("out").contains("use `json`"));
    let alone = Run::rl(&RL.replace("num_generations = 4", "num_generations = 1"));
    assert!(alone.refused("out").contains("num_generations = 1 is not possible: at least 2"));
    let unknown = Run::rl(&RL.replace("[rl]", "[rl]\nepsilon_low = 0.1"));
    let told = unknown.refused("out");
    assert!(told.contains("run.toml is not a run") && told.contains("epsilon_low"), "{told}");
}

#[test]
fn a_gap_between_sampler_and_learner_stops_the_run() {
    let strict = Run::rl(&RL.replace("[rl]", "[rl]\nmax_gap = 1e-12"));
    let told = strict.refused("out");
    assert!(told.contains("more than max_gap") && told.contains("nothing was changed"), "{told}");
}

#[test]
fn conversations_of_ones_own_take_the_place_of_invented_ones() {
    let run = Run::sft(&SFT.replace("max_steps = 24", "max_steps = 2"));
    let file = fixture("../../adapters/smollm2-135m-instruct/development_conversation.json");
    let output = run.command("out").arg("--data").arg(file).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("a single conversation"), "{told}");
    assert_eq!(lines(&fs::read(run.path("out/metrics.jsonl")).unwrap()).len(), 2);
    // The same settings with invented conversations are another run.
    assert!(run.refused("out").contains("holds a run with other settings"));
    let nowhere = run.command("other").args(["--data", "nowhere.json"]).output().unwrap();
    let told = String::from_utf8(nowhere.stderr).unwrap();
    assert!(!nowhere.status.success() && told.contains("--data takes") && told.contains("nowhere.json"), "{told}");
}

#[test]
fn what_is_no_run_is_refused_before_anything_is_written() {
    let wrong = Run::sft(&SFT.replace("episodes = 1", "episode_count = 1"));
    let told = wrong.refused("out");
    assert!(told.contains("run.toml is not a run") && told.contains("episode_count"), "{told}");
    assert!(!wrong.path("out").exists());

    let endless = Run::sft(&SFT.replace("max_steps = 24", "max_steps = 0"));
    assert!(endless.refused("out").contains("max_steps must be at least 1"));

    let cuda = Run::sft(&SFT.replace("\"flex\"", "\"cuda\""));
    assert!(cuda.refused("out").contains("is not built in"));

    let begun = Run::sft(SFT);
    fs::create_dir(begun.path("out")).unwrap();
    fs::write(begun.path("out/config.json"), "{}").unwrap();
    assert!(begun.refused("out").contains("holds a run with other settings"));
}
