//! A run that is killed and gone on with leaves the same bytes as one that is not.

use proptest::prelude::*;
use tmem_core::settings::MemoryKind;
use tmem_eval::bench::BenchmarkKind;
use tmem_eval::run::{Mode, Run};

use super::dying::Dying;
use super::files::Files;
use super::{execute, run};

/// Runs of every kind, one strategy with cards, text and Δ, and one that keeps its context.
fn runs(files: &Files) -> Vec<Run> {
    let kinds = [
        (BenchmarkKind::LongMemEval, Mode::Blind),
        (BenchmarkKind::LongMemEval, Mode::Aware),
        (BenchmarkKind::Search, Mode::Blind),
        (BenchmarkKind::Ocrr, Mode::Blind),
    ];
    let wanted = |(bench, mode)| {
        let mut run = run(files, bench, mode);
        run.record.memories = vec![MemoryKind::TmemText, MemoryKind::None];
        run.record.seeds = vec![3];
        run
    };
    kinds.into_iter().map(wanted).collect()
}

/// Kills the run as often as `lives` says, and lets it end then.
fn killed(run: &Run, lives: &[usize]) -> Dying {
    let mut storage = Dying::default();
    for &life in lives {
        storage.life = Some(life);
        if let Err(error) = execute(run, &mut storage) {
            assert!(error.to_string().contains("killed"), "{error}");
        }
    }
    storage.life = None;
    execute(run, &mut storage).unwrap();
    storage
}

#[track_caller]
fn same(run: &Run, unbroken: &Dying, resumed: &Dying, lives: &[usize]) {
    for file in ["run.json", "probes.jsonl", "units.jsonl"] {
        assert!(
            unbroken.text(file) == resumed.text(file),
            "{} {:?} {file} {lives:?}",
            run.record.bench,
            run.record.mode
        );
    }
    assert_eq!(resumed.text("timings.jsonl").lines().count(), resumed.text("units.jsonl").lines().count());
    assert!(!resumed.files.contains_key("state/unit.json"));
}

/// Every operation on the folder, and the beginning, middle and end of every append.
#[test]
fn killed_once_at_every_operation() {
    let files = Files::new();
    for run in runs(&files) {
        let unbroken = killed(&run, &[]);
        // Within a line one place is like another.
        for life in (0..unbroken.used).step_by(13) {
            same(&run, &unbroken, &killed(&run, &[life]), &[life]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn killed_again_and_again(kind in 0usize..4, lives in proptest::collection::vec(0usize..6000, 1..6)) {
        let files = Files::new();
        let run = runs(&files).swap_remove(kind);
        same(&run, &killed(&run, &[]), &killed(&run, &lives), &lives);
    }
}
