//! A benchmark from its file to a summary, on a policy whose every answer is known: how a runner uses the parts.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is a failed test")]

mod support;

use std::io::Write as _;
use std::path::PathBuf;

use support::ByHeart;
use tmem_core::abort::Abort;
use tmem_core::rollout::{Agent, AskOptions};
use tmem_core::settings::{MemoryKind, Settings};
use tmem_eval::bench::{Benchmark, BenchmarkKind, FeedOptions, OpenOptions, Sample};
use tmem_eval::judge::{Judge, LocalJudge};
use tmem_eval::metrics::scores;
use tmem_eval::stats::{Scored, Summary, Unit, paired_bootstrap};

const CHATS: &str = r#"[
  {"question_id": "c_q1", "question_type": "knowledge-update", "question": "Where do I live?", "answer": "Ghent",
   "question_date": "2023/06/30 (Fri) 23:40", "haystack_session_ids": ["s0", "s1"],
   "haystack_dates": ["2023/05/20 (Sat) 12:01", "2023/05/30 (Tue) 02:21"],
   "haystack_sessions": [[{"role": "user", "content": "I live in Lyon."}, {"role": "assistant", "content": "Nice!"}],
                         [{"role": "user", "content": "I moved to Ghent."}]],
   "answer_session_ids": ["s1"]},
  {"question_id": "c_q2", "question_type": "single-session-user", "question": "Where did I live before?", "answer": "Lyon",
   "question_date": "2023/06/30 (Fri) 23:40", "haystack_session_ids": ["s0", "s1"],
   "haystack_dates": ["2023/05/20 (Sat) 12:01", "2023/05/30 (Tue) 02:21"],
   "haystack_sessions": [[{"role": "user", "content": "I live in Lyon."}, {"role": "assistant", "content": "Nice!"}],
                         [{"role": "user", "content": "I moved to Ghent."}]],
   "answer_session_ids": ["s0"]}
]"#;

const GOLD: &str = r#"{"conversation": "c",
  "facts": [{"session_id": "s1", "told": "I moved to Ghent.", "question": "Where do I live?", "answer": "In Ghent."}],
  "questions": [{"question_id": "c_q1", "keys": ["Ghent"]}, {"question_id": "c_q2", "keys": ["Lyon"]}]}"#;

fn file(text: &str) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.into_temp_path()
}

fn samples() -> Vec<Sample> {
    let (data, gold) = (file(CHATS), file(GOLD));
    let options = OpenOptions { gold: Some(gold.to_path_buf()), ..OpenOptions::default() };
    match BenchmarkKind::LongMemEval.open(&[data.to_path_buf()], &options).unwrap() {
        Benchmark::Histories(samples) => samples.collect::<Result<_, _>>().unwrap(),
        other => unreachable!("{other:?}"),
    }
}

/// Reads each history once and asks all its questions from that state.
fn run(memory: MemoryKind) -> Vec<Scored> {
    let mut settings = Settings::small();
    settings.rollout.memory = memory;
    let (abort, mut scored) = (Abort::default(), Vec::new());
    for sample in samples() {
        let mut agent = Agent::new(ByHeart::default(), settings.clone());
        for turn in sample.turns(&FeedOptions::default()) {
            pollster::block_on(agent.feed(&turn.user, &turn.assistant, &mut |_| {}, &abort)).unwrap();
        }
        assert_eq!(agent.state().context.len(), sample.exchanges());
        if memory == MemoryKind::Tmem {
            pollster::block_on(agent.learn(&sample.oracle_cards, &mut |_| {}, &abort)).unwrap();
        }
        let questions: Vec<String> = sample.probes.iter().map(|probe| probe.question.clone()).collect();
        let ask = AskOptions { context: false, twin: false };
        let answers = pollster::block_on(agent.ask_all(&questions, ask, &mut |_| {}, &abort)).unwrap();
        for (probe, answer) in sample.probes.iter().zip(&answers) {
            let score = scores(probe, &answer.text)["contains"];
            assert_eq!(score, LocalJudge::Contains.judge(probe, &answer.text).unwrap().score);
            scored.push(Scored {
                seed: 1,
                sample: sample.id.clone(),
                probe: probe.id.clone(),
                category: probe.category.clone(),
                score,
            });
        }
    }
    scored
}

#[test]
fn from_a_file_to_a_comparison() {
    let samples = samples();
    let ages: Vec<_> = samples[0].probes.iter().map(|probe| samples[0].age(probe)).collect();
    assert_eq!((samples.len(), ages), (1, vec![Some(0), Some(1)]));
    assert_eq!(samples[0].oracle_cards[0].source_turn, Some(1));

    let (tmem, none) = (run(MemoryKind::Tmem), run(MemoryKind::None));
    let summary = Summary::of(&tmem).unwrap();
    assert_eq!((summary.overall.mean, summary.categories["knowledge-update"].mean), (0.5, 1.0));
    let paired = paired_bootstrap(&tmem, &none, Unit::Probe, 200, 1).unwrap();
    assert_eq!((paired.difference, paired.pairs), (0.5, 2));
}

/// Every benchmark that has data beside the project opens by its name.
#[test]
fn the_shared_files_open_by_name() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !folder.exists() {
        eprintln!("SKIPPED: {} is not there", folder.display());
        return;
    }
    let files = |names: &[&str]| names.iter().map(|name| folder.join(name)).collect::<Vec<_>>();
    let options = OpenOptions { gold: Some(folder.join("locomo_audit_errors.json")), ..OpenOptions::default() };
    let Benchmark::Histories(mut samples) = BenchmarkKind::Locomo.open(&files(&["locomo8.json"]), &options).unwrap()
    else {
        panic!("LoCoMo has histories")
    };
    assert_eq!(samples.next().unwrap().unwrap().id, "conv-26");
    let options = OpenOptions { objectives: 4, corpus: files(&["squad_passages_1600.json"]), ..OpenOptions::default() };
    let hotpot = files(&["hotpot_dev_distractor_53.json"]);
    let Benchmark::Search { tasks, corpus } = BenchmarkKind::Search.open(&hotpot, &options).unwrap() else {
        panic!("search has tasks")
    };
    assert_eq!(tasks.len(), 13);
    assert!(corpus.passages().len() > 2000);
}
