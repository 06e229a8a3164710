//! Reports of small runs that are made by hand.

mod folder;

use std::path::Path;

use tmem_core::settings::MemoryKind;

use super::plot::plots;
use super::{Report, ReportError};
use crate::bench::BenchmarkKind;
use crate::run::record::file;
use crate::stats::Unit;
use folder::Run;

fn report<P: AsRef<Path>>(folders: &[P]) -> Report {
    Report::of(folders).unwrap()
}

fn refusal<P: AsRef<Path>>(folders: &[P]) -> String {
    // Paths of temporary folders differ from run to run.
    let shorten = |text: String| {
        folders.iter().enumerate().fold(text, |text, (index, folder)| {
            text.replace(&*folder.as_ref().to_string_lossy(), &format!("RUN{index}"))
        })
    };
    shorten(Report::of(folders).unwrap_err().to_string())
}

#[test]
fn the_summary_of_a_locomo_run() {
    let run = Run::locomo().write();
    let report = report(&[run.path()]);
    insta::assert_snapshot!("summary.json", report.json().unwrap());
    insta::assert_snapshot!("summary.md", report.markdown(&plots(&report)));
}

#[test]
fn a_summary_is_read_back() {
    let run = Run::locomo().write();
    let report = report(&[run.path()]);
    let again: Report = serde_json::from_str(&report.json().unwrap()).unwrap();
    // The last digit of a number may be another one.
    assert_eq!(again.markdown(&[]), report.markdown(&[]));
    assert_eq!(plots(&again), plots(&report));
}

#[test]
fn category_5_is_never_mixed_with_the_others() {
    let run = Run::locomo().write();
    let report = report(&[run.path()]);
    assert_eq!(report.groups().into_iter().collect::<Vec<_>>(), ["categories 1-4", "category 5"]);
    for row in &report.rows {
        let [others, fifth] = row.scores.as_slice() else { panic!("{:?}", row.scores) };
        assert!(!others.summary.categories.contains_key("adversarial"));
        assert_eq!(fifth.summary.categories.keys().collect::<Vec<_>>(), ["adversarial"]);
    }
}

#[test]
fn every_memory_is_compared_with_the_best_baseline() {
    let run = Run::locomo().write();
    let report = report(&[run.path()]);
    let mean = |memory: MemoryKind| {
        report.rows.iter().find(|row| row.memory == memory).unwrap().scores[0].summary.overall.mean
    };
    assert!(
        mean(MemoryKind::Retrieval) > mean(MemoryKind::None) && mean(MemoryKind::Tmem) > mean(MemoryKind::Retrieval)
    );
    for row in &report.rows {
        let compared = row.scores[0].against_baseline.as_ref();
        match row.memory {
            MemoryKind::Retrieval => assert_eq!(compared, None),
            memory => {
                let compared = compared.unwrap();
                assert_eq!(compared.with, "retrieval");
                assert!((compared.difference - (mean(memory) - mean(MemoryKind::Retrieval))).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn histories_are_resampled_where_there_are_enough() {
    let compared = |samples| {
        let run = Run { samples, ..Run::locomo() }.write();
        let report = report(&[run.path()]);
        report.rows[0].scores[0].against_baseline.clone().unwrap()
    };
    let (few, many) = (compared(2), compared(6));
    assert_eq!((few.unit, few.units), (Unit::Probe, 16));
    assert_eq!((many.unit, many.units), (Unit::Sample, 6));
    assert!(few.interval.is_some() && many.p.is_some());
}

#[test]
fn too_few_pairs_have_no_interval() {
    let run = Run { samples: 1, probes: 3, ..Run::locomo() }.write();
    let compared = report(&[run.path()]).rows[0].scores[0].against_baseline.clone().unwrap();
    assert_eq!((compared.interval, compared.p, compared.pairs), (None, None, 6));
}

#[test]
fn runs_of_other_seeds_are_merged_in_any_order() {
    let whole = Run::locomo().write();
    let parts: Vec<_> = [1, 2].map(|seed| Run { seeds: vec![seed], ..Run::locomo() }.write()).into_iter().collect();
    let expected = report(&[whole.path()]).rows;
    assert_eq!(report(&[parts[0].path(), parts[1].path()]).rows, expected);
    assert_eq!(report(&[parts[1].path(), parts[0].path()]).rows, expected);
}

#[test]
fn runs_of_other_settings_are_variants() {
    let runs: Vec<_> = [256, 512]
        .map(|budget| Run { memories: vec![MemoryKind::None, MemoryKind::Tmem], budget, ..Run::locomo() }.write())
        .into_iter()
        .collect();
    let report = report(&[runs[0].path(), runs[1].path()]);
    let names: Vec<_> = report.rows.iter().map(|row| report.row_name(row)).collect();
    assert_eq!(names, ["none (budget=256)", "tmem (budget=256)", "none (budget=512)", "tmem (budget=512)"]);
    let tmem = &report.rows[3].scores[0];
    assert_eq!(tmem.against_baseline.as_ref().unwrap().with, "none (budget=512)");
    assert_eq!(tmem.against_first_variant.as_ref().unwrap().with, "tmem (budget=256)");
    assert_eq!(report.rows[1].scores[0].against_first_variant, None);
    assert!(plots(&report).iter().any(|plot| plot.name == "budget.svg"));
}

#[test]
fn the_same_probe_twice_is_refused_by_name() {
    let (first, second) = (Run::locomo().write(), Run { seeds: vec![2, 3], ..Run::locomo() }.write());
    assert_eq!(
        refusal(&[first.path(), second.path()]),
        "probe `q0` of sample `conv-0` (memory none, seed 2) is in RUN0 and again in RUN1, with the same settings: leave \
         one of the folders out"
    );
}

#[test]
fn other_benchmarks_are_refused() {
    let (first, second) = (Run::locomo().write(), Run { bench: BenchmarkKind::LongMemEval, ..Run::locomo() }.write());
    assert_eq!(
        refusal(&[first.path(), second.path()]),
        "RUN0 is a run of locomo and RUN1 one of longmemeval: report each benchmark by itself"
    );
    assert!(matches!(Report::of::<&Path>(&[]), Err(ReportError::NoRuns)));
}

#[test]
fn malformed_files_name_the_line_and_the_field() {
    let run = Run::locomo().write();
    let change = |name: &str, from: &str, to: &str| {
        let path = run.path().join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let said = refusal(&[run.path()]);
        std::fs::write(&path, text).unwrap();
        said
    };
    let said = change(file::UNITS, r#""writes":"#, r#""writes":-"#);
    assert!(said.starts_with("RUN0/units.jsonl, line 1: at `writes`: "), "{said}");
    let said = change(file::RUN, r#""version": 1"#, r#""version": 9"#);
    assert!(
        said.ends_with("has version 9, and this program reads version 1: report it with the program that made it"),
        "{said}"
    );
    let said = change(file::RUN, r#""version": 1,"#, "");
    assert!(said.contains("this is not a run of `trainer eval`"), "{said}");
    std::fs::write(run.path().join(file::UNITS), "").unwrap();
    assert!(refusal(&[run.path()]).starts_with("no strategy has finished a sample in RUN0 yet"));
    assert!(refusal(&[Path::new("no/such")]).starts_with("cannot read RUN0/run.json: "));
}

#[test]
fn what_a_kill_has_cut_off_is_left_out() {
    let run = Run::locomo().write();
    let whole = report(&[run.path()]);
    // The last unit is not finished, and the last line of its probes is not whole.
    let path = run.path().join(file::UNITS);
    let units = std::fs::read_to_string(&path).unwrap();
    let last = units.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(&path, &units[..last]).unwrap();
    let path = run.path().join(file::PROBES);
    let probes = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &probes[..probes.len() - 20]).unwrap();
    let cut = report(&[run.path()]);
    assert_eq!(cut.runs[0].units, whole.runs[0].units - 1);
    assert_eq!((cut.runs[0].probes, cut.runs[0].unfinished), (whole.runs[0].probes - 10, 9));
}

#[test]
fn plots_are_xml_with_finite_numbers_and_the_same_bytes() {
    let one = Run::locomo().write();
    let budgets: Vec<_> = [256, 512].map(|budget| Run { budget, ..Run::locomo() }.write()).into_iter().collect();
    let untrained = Run { memories: vec![MemoryKind::None], seeds: vec![1], samples: 1, ..Run::locomo() }.write();
    let lots = [vec![one.path()], budgets.iter().map(|run| run.path()).collect(), vec![untrained.path()]];
    let mut names = Vec::new();
    for folders in lots {
        let report = report(&folders);
        for plot in plots(&report) {
            let document = roxmltree::Document::parse(&plot.svg).unwrap();
            assert!(document.descendants().any(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "title"))));
            assert!(!plot.svg.contains("NaN") && !plot.svg.contains("inf"), "{}", plot.name);
            names.push(plot.name);
        }
        assert_eq!(plots(&report), plots(&report));
    }
    names.sort_unstable();
    names.dedup();
    let expected = ["budget", "categories", "cost", "episode", "retention", "scores", "seconds"];
    assert_eq!(names, expected.map(|name| format!("{name}.svg")));
}

#[test]
fn a_report_is_written_whole() {
    let run = Run::locomo().write();
    let out = run.path().join("report");
    let written = report(&[run.path()]).write(&out).unwrap();
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names[..3], ["summary.json", "summary.md", "scores.svg"]);
    let markdown = std::fs::read_to_string(&written[1]).unwrap();
    assert!(names[2..].iter().all(|name| markdown.contains(&format!("]({name})"))));
}
