//! The evaluation commands as programs, on the tiny random model: its answers mean nothing, its files do.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use files::Files;
use tmem_core::settings::MemoryKind;
use tmem_eval::bench::BenchmarkKind;
use tmem_eval::report::memory_name;
use tmem_eval::run::record::ProbeLine;

#[path = "../../crates/eval/tests/run/files.rs"]
mod files;

fn trainer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer")).args(arguments).output().unwrap()
}

fn succeeds(arguments: &[&str]) -> String {
    let output = trainer(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny_a.q4_1.gguf")
}

/// What the tiny model, which reads 128 tokens, can work with.
const SMALL: [&str; 12] = [
    "--set=budget=90",
    "--set=answer_tokens=4",
    "--set=summary_tokens=12",
    "--set=writer_tokens=12",
    "--set=retrieval_tokens=24",
    "--set=rollout.writer=raw_text",
    "--set=fast.layers=1",
    "--set=fast.steps=1",
    "--set=fast.kl_prompts=1",
    "--set=fast.gate=off",
    "--prompt=plain",
    "--limit=1",
];

#[test]
fn generated_conversations_are_evaluated_reported_and_swept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, gold, made, model) = (path("data/longmemeval.json"), path("data/gold.jsonl"), path("data"), model());
    let synth = ["synth", "--kind=longmemeval", "--sessions=2", "--facts=4", "--words=200", "--questions=3"];
    succeeds(&[&synth[..], &["--wording=both", "--out", &made]].concat());

    let common = ["--bench", "longmemeval", "--data", &data, "--gold", &gold, "--model", model.to_str().unwrap()];
    let evaluation = |command: &[&str], out: &str| -> Vec<String> {
        [command, &common[..], &SMALL[..], &["--out", out]].concat().into_iter().map(str::to_owned).collect()
    };
    let run = |line: Vec<String>| succeeds(&line.iter().map(String::as_str).collect::<Vec<_>>());

    let (all, oracle) = (path("all"), path("oracle"));
    let told = run(evaluation(&["eval", "--memory=all"], &all));
    for memory in ["none", "summary", "retrieval", "tmem", "tmem+text", "cards"] {
        assert!(told.contains(&format!("\n| {memory} |")), "{told}");
    }
    assert!(told.contains("## Scores: in a card's wording"), "{told}");
    run(evaluation(&["eval", "--memory=tmem", "--cards=oracle"], &oracle));

    // A second start finds nothing to do, and another run does not write into the folder.
    let answers = || std::fs::read(folder.path().join("all/probes.jsonl")).unwrap();
    let before = answers();
    run(evaluation(&["eval", "--memory=all"], &all));
    assert_eq!(answers(), before);
    let other = evaluation(&["eval", "--memory=none"], &all);
    let refused = trainer(&other.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the folder holds another run"));

    let merged = succeeds(&["report", &all, &oracle, "--out", &path("report")]);
    assert!(merged.contains("cards=oracle"), "{merged}");
    assert!(folder.path().join("report/scores.svg").is_file());
    let by_f1 = succeeds(&["report", &all, "--score=f1", "--out", &path("by_f1")]);
    assert!(by_f1.contains("Headline score: `f1`") && by_f1.contains("Against each baseline"), "{by_f1}");
    let unknown = trainer(&["report", &all, "--score=bleu", "--out", &path("by_bleu")]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("choose one of"));

    let swept = run(evaluation(&["sweep", "--ablation=init", "--memory=tmem"], &path("sweep")));
    for start in ["svd", "plain_v", "random"] {
        assert!(swept.contains(&format!("init={start}")), "{swept}");
    }
}

#[test]
fn every_memory_runs_on_every_benchmark() {
    let (files, model) = (Files::new(), model());
    for bench in BenchmarkKind::ALL {
        let (data, options) = files.of(bench);
        let permitted: Vec<_> = MemoryKind::ALL.into_iter().filter(|memory| bench.permits(*memory).is_ok()).collect();
        assert!(permitted.len() == MemoryKind::ALL.len() || bench == BenchmarkKind::ClBench, "{bench:?}");
        let memories = permitted.iter().map(|memory| memory_name(*memory)).collect::<Vec<_>>().join(",");
        let out = files.path(&format!("out/{}", bench.name()));
        let mut line = vec!["eval", "--bench", bench.name(), "--memory", &memories];
        line.extend(["--data", data[0].to_str().unwrap(), "--model", model.to_str().unwrap()]);
        line.extend(["--out", out.to_str().unwrap()]);
        line.extend(options.gold.iter().flat_map(|gold| ["--gold", gold.to_str().unwrap()]));
        succeeds(&[&line[..], &SMALL[..]].concat());

        let probes = std::fs::read_to_string(out.join("probes.jsonl")).unwrap();
        let probes: Vec<ProbeLine> = probes.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |memory: MemoryKind| probes.iter().filter(move |line| line.memory == memory);
        for memory in permitted {
            assert!(of(memory).count() > 0, "{bench:?} {memory:?}");
            let questions = |memory| of(memory).map(|line| &line.question).collect::<Vec<_>>();
            assert_eq!(questions(memory), questions(MemoryKind::None), "{bench:?}: the same for every memory");
        }
    }
}
