//! What sets runs apart, in words: labels of variants, and the command that makes a run.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};
use tmem_core::settings::{MemoryKind, Settings};

use super::memory_name;
use crate::bench::{BenchmarkKind, Dates, FeedOptions};
use crate::probe::CardSource;
use crate::run::record::{Mode, OracleWrites, PromptKind, RunRecord};

/// A variant's name.
pub(super) struct Label {
    /// Everything that differs.
    pub(super) whole: String,
    /// The same without the token budget.
    pub(super) without_budget: String,
}

/// The path of the token budget within a [`method`].
const BUDGET: &str = "settings.rollout.budget";

/// What a run does apart from its seeds, strategies and data: runs with the same method are merged.
pub(super) fn method(run: &RunRecord) -> Value {
    let mut settings = run.settings.clone();
    (settings.seed, settings.sampling.seed, settings.rollout.memory) = (0, 0, MemoryKind::None);
    // The lengths of turns and passages follow from the token budget and the model.
    let feed = FeedOptions { max_bytes: None, ..run.feed.clone() };
    let mut search = run.search.clone();
    search.episode.passage_bytes = 0;
    json!({
        "model": run.model.name,
        "sha256": run.model.sha256,
        "mode": tree(&run.mode),
        "prompt": tree(&run.prompt),
        "cards": tree(&run.cards),
        "oracle_writes": tree(&run.oracle_writes),
        "judge": run.judge,
        "feed": tree(&feed),
        "search": tree(&search),
        "division": tree(&run.division),
        "corrections": tree(&run.corrections),
        "settings": tree(&settings),
    })
}

/// A value as JSON, through its text: a number in single precision keeps its short form that way.
fn tree<T: Serialize>(value: &T) -> Value {
    serde_json::to_string(value).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

/// Names each variant by the values that are not the same in all.
pub(super) fn variant_labels(methods: &[&Value]) -> Vec<Label> {
    let flat: Vec<BTreeMap<String, String>> = methods.iter().map(|method| leaves(method)).collect();
    let paths: BTreeSet<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    let mut differing: Vec<&String> =
        paths.into_iter().filter(|path| flat.iter().any(|leaves| leaves.get(*path) != flat[0].get(*path))).collect();
    // The hash says nothing more where the model's name differs.
    if differing.iter().any(|path| *path == "model") {
        differing.retain(|path| *path != "sha256");
    }
    let short = |path: &str| {
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let unique = differing.iter().filter(|other| last(other) == last(path)).count() == 1;
        if unique { last(path) } else { path.trim_start_matches("settings.").to_owned() }
    };
    let label = |leaves: &BTreeMap<String, String>, keep: &dyn Fn(&str) -> bool| {
        let shown = differing.iter().filter(|path| keep(path));
        let value = |path: &str| leaves.get(path).map_or("-", String::as_str).chars().take(24).collect::<String>();
        shown.map(|path| format!("{}={}", short(path), value(path))).collect::<Vec<_>>().join(", ")
    };
    flat.iter()
        .map(|leaves| Label { whole: label(leaves, &|_| true), without_budget: label(leaves, &|path| path != BUDGET) })
        .collect()
}

/// Every value of a tree by its dotted path; lists are values.
fn leaves(tree: &Value) -> BTreeMap<String, String> {
    let Value::Object(fields) = tree else { return BTreeMap::new() };
    let mut all = BTreeMap::new();
    for (name, value) in fields {
        match value {
            Value::Object(_) => {
                all.extend(leaves(value).into_iter().map(|(rest, value)| (format!("{name}.{rest}"), value)));
            }
            _ => {
                all.insert(name.clone(), plain(value));
            }
        }
    }
    all
}

/// A value as `--set` takes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(on) => if *on { "on" } else { "off" }.to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The command that makes a run like this one. Paths are not recorded, so files stand without their folders.
pub(super) fn command(run: &RunRecord) -> String {
    let files = |name: &str, files: &[crate::run::record::FileRecord]| -> String {
        files.iter().map(|file| format!(" --{name} {}", quoted(&file.file))).collect()
    };
    let mut line = format!("trainer eval --bench {}{}", run.bench, files("data", &run.data));
    line += &files("gold", run.gold.as_slice());
    line += &files("corpus", &run.corpus);
    line += &files("controls", run.controls.as_slice());
    if let Some(source) = &run.source {
        line += &format!(" --source {}", quoted(source));
    }
    let names: Vec<&str> = run.memories.iter().map(|memory| memory_name(*memory)).collect();
    line += &format!(" --memory {} --model {}", names.join(","), quoted(&run.model.name));
    line += &seeds(&run.seeds);
    for (name, value) in [("limit", run.limit), ("probes", run.probes)] {
        line += &value.map(|value| format!(" --{name} {value}")).unwrap_or_default();
    }
    if run.bench == BenchmarkKind::Search {
        line += &format!(" --objectives {}", run.search.objectives);
    }
    if run.mode == Mode::Aware {
        line += " --mode aware";
    }
    if run.prompt == PromptKind::Plain {
        line += " --prompt plain";
    }
    line += match run.feed.dates {
        Dates::First => "",
        Dates::Every => " --dates every",
        Dates::Never => " --dates never",
    };
    if run.cards == CardSource::Oracle {
        line += " --cards oracle";
        if run.oracle_writes == OracleWrites::Sessions {
            line += " --oracle-writes sessions";
        }
    }
    line + &format!(" --batch {}", run.batch) + &settings(&run.settings)
}

/// `--seeds` counts up from `--seed`; other choices are several runs, named one after the other.
fn seeds(seeds: &[u64]) -> String {
    let first = seeds.first().copied().unwrap_or_default();
    if seeds.iter().zip(first..).all(|(seed, expected)| *seed == expected) {
        return format!(" --seed {first} --seeds {}", seeds.len());
    }
    let names: Vec<String> = seeds.iter().map(u64::to_string).collect();
    format!(" --seed {}", names.join("|"))
}

/// The preset nearest to the settings, and what is set besides.
fn settings(settings: &Settings) -> String {
    let wanted = leaves(&tree(settings));
    // The seeds and the strategy have options of their own.
    let own = |path: &str| ["seed", "sampling.seed", "rollout.memory"].contains(&path);
    let differences = |preset: &Settings| -> Vec<String> {
        let there = leaves(&tree(preset));
        let other = wanted.iter().filter(|(path, value)| !own(path) && there.get(*path) != Some(*value));
        other.map(|(path, value)| format!(" --set {}", quoted(&format!("{path}={value}")))).collect()
    };
    let presets =
        [("", Settings::small()), (" --preset quick", Settings::quick()), (" --preset paper", Settings::paper())];
    let labels = presets.iter().map(|(preset, settings)| (preset, differences(settings)));
    labels
        .min_by_key(|(_, differences)| differences.len())
        .map_or_else(String::new, |(preset, differences)| format!("{preset}{}", differences.concat()))
}

/// Quoted for a shell where it needs to be.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,+:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
