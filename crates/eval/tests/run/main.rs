//! Whole runs on a policy without a model: every strategy on every benchmark, killed and gone on with.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a failure is a failed test")]

mod dying;
mod files;
mod kill;

use std::collections::BTreeSet;

use dying::Dying;
use files::Files;
use sha2::{Digest, Sha256};
use tmem_core::abort::Abort;
use tmem_core::rollout::Event;
use tmem_core::rollout::policy::GenerateRequest;
use tmem_core::rollout::scripted::Scripted;
use tmem_core::settings::{MemoryKind, Settings, WriterKind};
use tmem_eval::bench::ocrr::{Division, RunOptions};
use tmem_eval::bench::search::EpisodeOptions;
use tmem_eval::bench::{BenchmarkKind, FeedOptions};
use tmem_eval::data::KeyedQuestion;
use tmem_eval::judge::LocalJudge;
use tmem_eval::probe::CardSource;
use tmem_eval::report::Report;
use tmem_eval::report::plot::plots;
use tmem_eval::run::record::{FORMAT, ModelRecord, ProbeLine, RunRecord, SearchRecord, TimingLine, UnitLine};
use tmem_eval::run::{Disk, Mode, OracleWrites, Progress, PromptKind, Referee, Run, RunError};

/// Text that depends on every word of the prompt and on nothing else: what is asked otherwise is answered otherwise.
/// It writes cards, searches once and then answers.
fn reply(request: &GenerateRequest) -> String {
    let prompt: String = request.messages.iter().map(|m| format!("{:?} {}\n", m.role, m.content)).collect();
    let digest = Sha256::digest(format!("{prompt}{}{}", request.assistant_prefix, request.sampling.seed));
    let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let last = request.messages.last().map_or("", |message| message.content.as_str());
    if last.contains("Capital of France") {
        "Paris".to_owned()
    } else if request.assistant_prefix == "[" {
        let said: Vec<&str> = request.messages.iter().rev().skip(1).map(|m| m.content.as_str()).collect();
        let words = said.iter().flat_map(|text| text.split_whitespace());
        let word = words.filter(|w| w.chars().all(char::is_alphanumeric)).max_by_key(|w| w.len()).unwrap_or("x");
        format!(
            r#"{{"instruction": "What about {hash} {word}?", "output": "{word}"}}, {{"instruction": "Where?", "output": "unheard {hash}"}}]"#
        )
    } else if last.contains("Doc 1(Title:") {
        format!("<think>{hash}</think><answer>Belgium; {hash}</answer>")
    } else if last.contains("<search>") {
        format!("<think>{hash}</think><search>Ghent</search>")
    } else {
        format!("card_lost {hash}")
    }
}

fn subject() -> Scripted {
    Scripted::new(reply).with_context_length(1024)
}

/// A run of all permitted strategies with a budget that triggers often.
pub(crate) fn run(files: &Files, bench: BenchmarkKind, mode: Mode) -> Run {
    let (data, open) = files.of(bench);
    let mut settings = Settings::small();
    settings.rollout.budget = 64;
    settings.rollout.answer_tokens = 32;
    settings.rollout.writer = WriterKind::Json;
    settings.rollout.retrieval_tokens = 40;
    settings.rollout.summary_tokens = 16;
    let referee = Referee::Local(LocalJudge::Official);
    let record = RunRecord {
        version: FORMAT,
        bench,
        data: Vec::new(),
        gold: None,
        corpus: Vec::new(),
        controls: None,
        model: ModelRecord { name: "scripted".to_owned(), sha256: String::new() },
        adapter: "none".to_owned(),
        mode,
        prompt: PromptKind::Official,
        cards: CardSource::Own,
        oracle_writes: OracleWrites::Once,
        memories: MemoryKind::ALL.into_iter().filter(|memory| bench.permits(*memory).is_ok()).collect(),
        seeds: vec![3, 4],
        limit: None,
        probes: None,
        batch: 2,
        settings,
        feed: FeedOptions { max_bytes: Some(400), ..FeedOptions::default() },
        search: SearchRecord { objectives: 2, action_tokens: 64, episode: EpisodeOptions::default() },
        division: Division::default(),
        corrections: RunOptions { checkpoint_every: 2, ..RunOptions::default() },
        source: None,
        judge: referee.name(),
        program: "test".to_owned(),
    };
    let knowledge = vec![KeyedQuestion { question: "Capital of France?".to_owned(), keys: vec!["Paris".to_owned()] }];
    Run { record, data, open, referee, knowledge }
}

/// Runs until the end or the storage's death.
pub(crate) fn execute(run: &Run, storage: &mut Dying) -> Result<(), RunError> {
    pollster::block_on(run.execute(subject(), storage, &mut |_| {}, &Abort::default())).map(drop)
}

fn lines<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn whole(run: &Run) -> (Vec<ProbeLine>, Vec<UnitLine>) {
    let mut storage = Dying::default();
    execute(run, &mut storage).unwrap();
    assert!(!storage.files.contains_key("state/unit.json"));
    let timings: Vec<TimingLine> = lines(storage.text("timings.jsonl"));
    let units: Vec<UnitLine> = lines(storage.text("units.jsonl"));
    assert_eq!(timings.len(), units.len());
    (lines(storage.text("probes.jsonl")), units)
}

#[test]
fn every_strategy_runs_on_every_benchmark() {
    let files = Files::new();
    for bench in BenchmarkKind::ALL {
        let run = run(&files, bench, Mode::Blind);
        let (probes, units) = whole(&run);
        let permitted = if bench == BenchmarkKind::ClBench { 4 } else { 6 };
        let samples: BTreeSet<&str> = units.iter().map(|unit| unit.sample.as_str()).collect();
        assert_eq!(units.len(), 2 * permitted * samples.len(), "{bench}");
        for unit in &units {
            let own =
                |line: &&ProbeLine| (line.seed, line.memory, &line.sample) == (unit.seed, unit.memory, &unit.sample);
            let answers: Vec<&ProbeLine> = probes.iter().filter(own).collect();
            assert!(!answers.is_empty(), "{bench} {:?}", unit.memory);
            let scored = answers.iter().all(|line| line.score().is_some());
            assert_eq!(scored, bench != BenchmarkKind::ClBench, "{bench} {:?}", unit.memory);
            let tokens: u64 = answers.iter().map(|line| line.tokens_generated).sum();
            assert!(unit.tokens_generated >= tokens && !unit.timeline.is_empty(), "{bench} {:?}", unit.memory);
            assert_eq!(unit.timeline[0].knowledge_kept, Some(1.0));
        }
    }
}

#[test]
fn a_memory_that_trains_is_refused_on_clbench_before_anything_runs() {
    let files = Files::new();
    let mut run = run(&files, BenchmarkKind::ClBench, Mode::Blind);
    run.record.memories.push(MemoryKind::Tmem);
    let mut storage = Dying::default();
    let error = execute(&run, &mut storage).unwrap_err().to_string();
    assert!(error.contains("forbids updating parameters"), "{error}");
    assert!(storage.files.is_empty());
}

#[test]
fn lines_tell_what_was_asked_and_what_it_cost() {
    let files = Files::new();
    let run = run(&files, BenchmarkKind::LongMemEval, Mode::Blind);
    let (probes, units) = whole(&run);
    // 2 seeds, 6 strategies, 5 + 2 questions, in this order.
    assert_eq!(probes.len(), 2 * 6 * 7);
    let first = &probes[0];
    assert_eq!((first.seed, first.memory, first.sample.as_str()), (3, MemoryKind::None, "a_q1"));
    assert_eq!((first.probe.as_str(), first.age, first.headline.as_str()), ("a_q1", Some(0), "contains"));
    assert_eq!(first.prompt_sha256.len(), 64);
    assert!(first.tokens_read > 0 && first.gold == ["Ghent"]);
    let unit = |memory| units.iter().find(|unit| unit.memory == memory).unwrap();
    let none = unit(MemoryKind::None);
    assert_eq!((none.exchanges, none.writes, none.cards, none.delta.version, none.timeline.len()), (3, 0, 0, 0, 1));
    assert!(none.timeline[0].context_tokens > 64, "everything stays in the context");
    let tmem = unit(MemoryKind::Tmem);
    assert!(tmem.writes > 0 && tmem.cards > 0 && tmem.dropped_cards > 0, "{tmem:?}");
    assert_eq!(tmem.delta.version as usize, tmem.writes);
    assert_eq!(tmem.timeline.last().unwrap().context_tokens, 0, "what is left is written at the end");
    let answers_of = |memory| probes.iter().filter(move |line| line.memory == memory);
    assert!(answers_of(MemoryKind::Cards).all(|line| line.tokens_generated == 0));
    assert!(
        unit(MemoryKind::Retrieval).tokens_read
            > answers_of(MemoryKind::Retrieval).take(5).map(|l| l.tokens_read).sum()
    );
}

#[test]
fn an_oracles_cards_are_learned_in_one_write_and_nothing_is_read() {
    let files = Files::new();
    let mut run = run(&files, BenchmarkKind::RuleBook, Mode::Blind);
    run.record.cards = CardSource::Oracle;
    assert!(run.check().unwrap_err().to_string().contains("tmem and cards only"));
    run.record.memories = vec![MemoryKind::Tmem, MemoryKind::Cards];
    let (probes, units) = whole(&run);
    assert!(!probes.is_empty());
    for unit in &units {
        assert!(unit.cards > 0 && unit.writes == 1, "{unit:?}");
        assert_eq!(unit.delta.version, u64::from(unit.memory == MemoryKind::Tmem), "{unit:?}");
    }

    run.record.bench = BenchmarkKind::Locomo;
    (run.data, run.open) = files.of(BenchmarkKind::Locomo);
    let error = execute(&run, &mut Dying::default()).unwrap_err().to_string();
    assert!(error.contains("no oracle's cards"), "{error}");
    run.record.mode = Mode::Aware;
    assert!(run.check().unwrap_err().to_string().contains("a benchmark of histories"));
}

#[test]
fn an_oracles_cards_can_be_learned_session_by_session() {
    let files = Files::new();
    let mut run = run(&files, BenchmarkKind::LongMemEval, Mode::Blind);
    run.record.oracle_writes = OracleWrites::Sessions;
    assert!(run.check().unwrap_err().to_string().contains("an oracle's cards"));
    run.record.cards = CardSource::Oracle;
    run.record.memories = vec![MemoryKind::Tmem];
    let (probes, units) = whole(&run);
    assert!(!probes.is_empty());
    // The first of the three sessions tells nothing that has a card; a turn each.
    for unit in &units {
        assert_eq!((unit.cards, unit.writes, unit.delta.version, unit.exchanges), (2, 2, 2, 3), "{unit:?}");
        let at: Vec<usize> = unit.timeline.iter().map(|point| point.exchanges).collect();
        assert_eq!(at, [2, 3]);
    }
}

#[test]
fn a_writer_that_knows_the_question_has_an_episode_for_each() {
    let files = Files::new();
    let mut run = run(&files, BenchmarkKind::LongMemEval, Mode::Aware);
    run.record.memories = vec![MemoryKind::Tmem];
    (run.record.seeds, run.record.limit, run.record.probes) = (vec![3], Some(1), Some(2));
    let (probes, units) = whole(&run);
    let asked: Vec<&str> = probes.iter().map(|line| line.probe.as_str()).collect();
    assert_eq!((asked, units.len()), (vec!["a_q1", "a_q3"], 1), "spread over all probes");
    assert_eq!(units[0].exchanges, 2 * 3);
    run.record.bench = BenchmarkKind::Ocrr;
    assert!(run.check().unwrap_err().to_string().contains("use the mode blind"));
}

#[test]
fn a_search_is_acted_out_with_each_memory() {
    let files = Files::new();
    let (probes, units) = whole(&run(&files, BenchmarkKind::Search, Mode::Blind));
    for line in &probes {
        let answered = line.answer.contains("<search>") && line.answer.contains("<answer>");
        assert!(answered, "{:?}: {}", line.memory, line.answer);
        let right = if line.memory == MemoryKind::Cards { 0.0 } else { 1.0 };
        assert_eq!((line.scores["em"], line.scores["objectives"]), (right, 2.0), "{:?}", line.memory);
    }
    assert!(units.iter().filter(|unit| unit.memory == MemoryKind::Cards).all(|unit| unit.exchanges == 2));
}

#[test]
fn corrections_are_told_where_the_answer_was_wrong() {
    let files = Files::new();
    let (probes, units) = whole(&run(&files, BenchmarkKind::Ocrr, Mode::Blind));
    let none: Vec<&ProbeLine> =
        probes.iter().filter(|line| line.seed == 3 && line.memory == MemoryKind::None).collect();
    // Checkpoints before the stream and after 2, 4 and 5 of it; 3 novel and 2 original questions each.
    assert_eq!(none.len(), 4 * 5);
    assert_eq!(none.iter().filter(|line| line.category == "novel").count(), 4 * 3);
    assert_eq!((none[0].scores["corrections"], none[19].scores["step"]), (0.0, 5.0));
    // 2 known examples and a correction for each of at most 5 wrong answers.
    assert!((3..=7).contains(&units[0].exchanges), "{:?}", units[0]);
}

#[test]
fn a_report_shows_accuracy_by_the_corrections_told() {
    let files = Files::new();
    let run = run(&files, BenchmarkKind::Ocrr, Mode::Blind);
    let folder = files.folder().join("out");
    let mut disk = Disk::new(&folder);
    pollster::block_on(run.execute(subject(), &mut disk, &mut |_| {}, &Abort::default())).unwrap();
    let report = Report::of(&[&folder]).unwrap();
    for row in &report.rows {
        let steps: Vec<usize> = row.corrections.iter().map(|point| point.step).collect();
        assert_eq!(steps, [0, 2, 4, 5]);
        assert_eq!(row.corrections[0].corrections, 0.0, "the first checkpoint is before the stream");
        assert!(row.corrections.is_sorted_by(|a, b| a.corrections <= b.corrections), "{:?}", row.corrections);
        for point in &row.corrections {
            let accuracy = [point.novel, point.original].map(|of| of.unwrap().mean);
            assert!(accuracy.iter().all(|share| (0.0..=1.0).contains(share)), "{point:?}");
        }
    }
    let plot = plots(&report).into_iter().find(|plot| plot.name == "corrections.svg").unwrap();
    assert!(plot.svg.contains("accuracy on known classes") && !plot.svg.contains("NaN"));
}

#[test]
fn another_run_does_not_go_into_the_same_folder() {
    let files = Files::new();
    let mut run = run(&files, BenchmarkKind::Locomo, Mode::Blind);
    run.record.memories = vec![MemoryKind::None];
    let mut storage = Dying::default();
    execute(&run, &mut storage).unwrap();
    let before = storage.files.clone();
    // The same again does nothing.
    execute(&run, &mut storage).unwrap();
    assert_eq!(storage.files, before);
    run.record.settings.fast.rank = 4;
    let error = execute(&run, &mut storage).unwrap_err().to_string();
    assert!(error.contains("`settings.fast.rank` (6 there, 4 here): name another folder"), "{error}");
    storage.files.insert("units.jsonl".to_owned(), b"{}\n".to_vec());
    run.record.settings.fast.rank = 6;
    let error = execute(&run, &mut storage).unwrap_err().to_string();
    assert!(error.starts_with("units.jsonl, line 1: missing field"), "{error}");
}

#[test]
fn an_interrupt_stops_between_batches_and_the_disk_holds_the_rest() {
    let files = Files::new();
    let mut run = run(&files, BenchmarkKind::LongMemEval, Mode::Blind);
    run.record.memories = vec![MemoryKind::Tmem];
    let mut reference = Dying::default();
    execute(&run, &mut reference).unwrap();
    let folder = files.folder().join("out");
    let mut disk = Disk::new(&folder);
    let abort = Abort::default();
    let mut answers = 0;
    let mut progress = |news: Progress<'_>| {
        answers += usize::from(matches!(news, Progress::Rollout(Event::Answer(_))));
        if answers == 3 {
            abort.abort();
        }
    };
    let stopped = pollster::block_on(run.execute(subject(), &mut disk, &mut progress, &abort));
    assert!(matches!(stopped, Err(RunError::Aborted)));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    assert_eq!(read("probes.jsonl").lines().count(), 2);
    assert!(folder.join("state/unit.json").exists());
    abort.clear();
    let mut resumed = false;
    let mut progress = |news: Progress<'_>| resumed |= matches!(news, Progress::Resumed { units: 0, answers: 2 });
    pollster::block_on(run.execute(subject(), &mut disk, &mut progress, &abort)).unwrap();
    assert!(resumed);
    for name in ["run.json", "probes.jsonl", "units.jsonl"] {
        assert_eq!(read(name), reference.text(name), "{name}");
    }
}
