//! The summary of some runs: every figure that the tables and plots show.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tmem_core::settings::MemoryKind;

use super::label::command;
use super::{
    AgeBin, Comparison, CorrectionPoint, Cost, EpisodePoint, Merged, RunFolder, Strategy, curves, memory_name,
};
use crate::bench::BenchmarkKind;
use crate::bench::longmemeval::CANONICAL_CATEGORY;
use crate::probe::CardSource;
use crate::run::record::{Mode, OracleWrites, ProbeLine, PromptKind};
use crate::stats::{MeanSd, Scored, Summary};

/// Version of `summary.json`.
const VERSION: u32 = 1;

/// Strategies that others are compared with: text in the prompt, or no model at all.
const BASELINES: [MemoryKind; 4] = [MemoryKind::None, MemoryKind::Summary, MemoryKind::Retrieval, MemoryKind::Cards];

/// A whole report, as `summary.json` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this file.
    pub version: u32,
    /// The benchmark.
    pub bench: BenchmarkKind,
    /// The runs it is made from, in the order given.
    pub runs: Vec<RunDescription>,
    /// One row a strategy and variant.
    pub rows: Vec<Row>,
}

/// One of the runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunDescription {
    /// Name of its folder.
    pub folder: String,
    /// The command that makes such a run.
    pub command: String,
    /// The model's name and the first digits of its hash.
    pub model: String,
    /// The GPU.
    pub adapter: String,
    /// Whether the writer knew the questions.
    pub mode: Mode,
    /// How questions about a history were put.
    pub prompt: PromptKind,
    /// Who wrote the cards.
    pub cards: CardSource,
    /// How an oracle's cards were learned.
    #[serde(default)]
    pub oracle_writes: OracleWrites,
    /// Who says whether an answer is right.
    pub judge: String,
    /// Name and version of the program.
    pub program: String,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Finished units.
    pub units: usize,
    /// Answered probes of finished units.
    pub probes: usize,
    /// Answered probes of an unfinished unit, which are in no figure.
    pub unfinished: usize,
}

/// Everything about one strategy under one variant of the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What sets the variant apart from the others; empty where there is only one.
    pub variant: String,
    /// As `variant`, without the token budget.
    pub variant_without_budget: String,
    /// L_max, in tokens.
    pub budget: usize,
    /// The strategy.
    pub memory: MemoryKind,
    /// The seeds that there are scores of.
    pub seeds: BTreeSet<u64>,
    /// Samples that there are scores of.
    pub samples: usize,
    /// Scores. LoCoMo: categories 1-4 and category 5, never mixed; generated questions in a card's wording apart from the
    /// others; otherwise one entry. The plots show the first.
    pub scores: Vec<GroupScores>,
    /// What it cost.
    pub cost: Cost,
    /// The first group's score by the age of the fact.
    pub retention: Vec<AgeBin>,
    /// The mean episode.
    pub episode: Vec<EpisodePoint>,
    /// Streams of corrections: accuracy at each checkpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrections: Vec<CorrectionPoint>,
}

/// Scores of probes that may be averaged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupScores {
    /// Which probes.
    pub group: String,
    /// Names of the headline scores among them.
    pub headline: BTreeSet<String>,
    /// The headline score: overall, of each category, and their macro average; mean ± s.d. over seeds.
    #[serde(flatten)]
    pub summary: Summary,
    /// Every score by name; mean ± s.d. over seeds, of the probes that have it.
    pub every_score: BTreeMap<String, MeanSd>,
    /// Probes without a headline score (a judge was needed and none was given); they are in no mean.
    pub unscored: usize,
    /// Against the best baseline of the same variant, or of all variants where it has none; `None` for that baseline.
    pub against_baseline: Option<Comparison>,
    /// Fast weights: against each baseline of the same variant.
    pub against_each: Vec<Comparison>,
    /// Against the same strategy under the first variant; `None` for the first.
    pub against_first_variant: Option<Comparison>,
}

/// The group that a category belongs to.
fn group_of(bench: BenchmarkKind, category: &str) -> &'static str {
    match bench {
        BenchmarkKind::Locomo if category == "adversarial" => "category 5",
        BenchmarkKind::Locomo => "categories 1-4",
        _ if category.starts_with(CANONICAL_CATEGORY) => "in a card's wording",
        _ => "all",
    }
}

/// A strategy's probes of one group.
struct Part<'a> {
    group: &'static str,
    probes: Vec<&'a ProbeLine>,
    scored: Vec<Scored>,
    summary: Option<Summary>,
}

fn scored(probe: &ProbeLine, score: f64) -> Scored {
    Scored {
        seed: probe.seed,
        sample: probe.sample.clone(),
        probe: probe.probe.clone(),
        category: probe.category.clone(),
        score,
    }
}

fn parts<'a>(bench: BenchmarkKind, strategy: &'a Strategy) -> Vec<Part<'a>> {
    let mut groups: BTreeMap<&'static str, Vec<&'a ProbeLine>> = BTreeMap::new();
    for probe in &strategy.probes {
        groups.entry(group_of(bench, &probe.category)).or_default().push(probe);
    }
    let part = |(group, probes): (&'static str, Vec<&'a ProbeLine>)| {
        let scored: Vec<Scored> = probes.iter().filter_map(|probe| Some(scored(probe, probe.score()?))).collect();
        Part { group, summary: Summary::of(&scored), probes, scored }
    };
    groups.into_iter().map(part).collect()
}

impl Report {
    /// The report of merged runs.
    pub fn from_merged(merged: &Merged) -> Self {
        let all: Vec<Vec<Part<'_>>> = merged.strategies.iter().map(|strategy| parts(merged.bench, strategy)).collect();
        let table = Table { strategies: &merged.strategies, parts: &all };
        let runs = merged.runs.iter().zip(&merged.counts).map(|(run, &(units, probes))| describe(run, units, probes));
        let rows = (0..merged.strategies.len()).map(|row| table.row(row));
        Self { version: VERSION, bench: merged.bench, runs: runs.collect(), rows: rows.collect() }
    }

    /// Names of the groups of scores, the most important first.
    pub fn groups(&self) -> BTreeSet<&str> {
        self.rows.iter().flat_map(|row| &row.scores).map(|scores| scores.group.as_str()).collect()
    }

    /// The name of a row, as short as tells it from the others.
    pub fn row_name(&self, row: &Row) -> String {
        row_name(&row.variant, row.memory, self.rows.iter().all(|other| other.memory == row.memory))
    }
}

impl Row {
    /// Its scores of a group.
    pub fn group(&self, group: &str) -> Option<&GroupScores> {
        self.scores.iter().find(|scores| scores.group == group)
    }
}

/// The name of a strategy under a variant; the variant alone where there is but one strategy.
pub(super) fn row_name(variant: &str, memory: MemoryKind, one_memory: bool) -> String {
    match (variant, one_memory) {
        ("", _) => memory_name(memory).to_owned(),
        (variant, true) => variant.to_owned(),
        (variant, false) => format!("{} ({variant})", memory_name(memory)),
    }
}

fn describe(run: &RunFolder, units: usize, probes: usize) -> RunDescription {
    let record = &run.run;
    let hash: String = record.model.sha256.chars().take(12).collect();
    RunDescription {
        folder: run.name(),
        command: command(record),
        model: format!("{} ({hash})", record.model.name),
        adapter: record.adapter.clone(),
        mode: record.mode,
        prompt: record.prompt,
        cards: record.cards,
        oracle_writes: record.oracle_writes,
        judge: record.judge.clone(),
        program: record.program.clone(),
        seeds: record.seeds.clone(),
        units,
        probes,
        unfinished: run.unfinished,
    }
}

/// All strategies beside each other.
struct Table<'a> {
    strategies: &'a [Strategy],
    parts: &'a [Vec<Part<'a>>],
}

impl Table<'_> {
    fn row(&self, row: usize) -> Row {
        let strategy = &self.strategies[row];
        let first = self.parts[row].first();
        Row {
            variant: strategy.variant.clone(),
            variant_without_budget: strategy.variant_without_budget.clone(),
            budget: strategy.budget,
            memory: strategy.memory,
            seeds: strategy.probes.iter().map(|probe| probe.seed).collect(),
            samples: strategy.probes.iter().map(|probe| &probe.sample).collect::<BTreeSet<_>>().len(),
            scores: self.parts[row].iter().filter_map(|part| self.scores(row, part)).collect(),
            cost: Cost::of(strategy),
            retention: curves::retention(first.into_iter().flat_map(|part| &part.probes).copied()),
            episode: curves::episode(&strategy.units),
            corrections: curves::corrections(strategy.probes.iter()),
        }
    }

    fn scores(&self, row: usize, part: &Part<'_>) -> Option<GroupScores> {
        let names: BTreeSet<&String> = part.probes.iter().flat_map(|probe| probe.scores.keys()).collect();
        let mean = |name: &str| {
            let items = part.probes.iter().filter_map(|probe| Some(scored(probe, *probe.scores.get(name)?)));
            Some((name.to_owned(), Summary::of(&items.collect::<Vec<_>>())?.overall))
        };
        let against = |other: Option<usize>| {
            let other = other.filter(|other| *other != row)?;
            let baseline = self.part(other, part.group)?;
            Comparison::of(&part.scored, &baseline.scored, self.name(other))
        };
        Some(GroupScores {
            group: part.group.to_owned(),
            headline: part.probes.iter().map(|probe| probe.headline.clone()).collect(),
            summary: part.summary.clone()?,
            every_score: names.into_iter().filter_map(|name| mean(name)).collect(),
            unscored: part.probes.len() - part.scored.len(),
            against_baseline: against(self.best_baseline(row, part.group)),
            against_each: self.baselines(row).into_iter().filter_map(|other| against(Some(other))).collect(),
            against_first_variant: against(self.first_variant(row)),
        })
    }

    /// The baselines that fast weights are compared with one by one.
    fn baselines(&self, row: usize) -> Vec<usize> {
        let strategy = &self.strategies[row];
        let is_one = |other: &Strategy| BASELINES.contains(&other.memory) && other.variant == strategy.variant;
        let all = (0..self.strategies.len()).filter(|other| is_one(&self.strategies[*other]));
        if BASELINES.contains(&strategy.memory) { Vec::new() } else { all.collect() }
    }

    fn part(&self, row: usize, group: &str) -> Option<&Part<'_>> {
        self.parts[row].iter().find(|part| part.group == group)
    }

    fn name(&self, row: usize) -> String {
        let strategy = &self.strategies[row];
        let one_memory = self.strategies.iter().all(|other| other.memory == strategy.memory);
        row_name(&strategy.variant, strategy.memory, one_memory)
    }

    /// The baseline with the best mean in a group, of the row's variant or else of any; of equals the first.
    fn best_baseline(&self, row: usize, group: &str) -> Option<usize> {
        let variant = &self.strategies[row].variant;
        let best = |any_variant: bool| {
            let mut best: Option<(usize, f64)> = None;
            for (index, strategy) in self.strategies.iter().enumerate() {
                let candidate = BASELINES.contains(&strategy.memory) && (any_variant || strategy.variant == *variant);
                let Some(part) = self.part(index, group).filter(|_| candidate) else { continue };
                let Some(mean) = part.summary.as_ref().map(|summary| summary.overall.mean) else { continue };
                if best.is_none_or(|(_, known)| mean > known) {
                    best = Some((index, mean));
                }
            }
            best.map(|(index, _)| index)
        };
        best(false).or_else(|| best(true))
    }

    /// The same strategy under the first variant that has it.
    fn first_variant(&self, row: usize) -> Option<usize> {
        self.strategies.iter().position(|strategy| strategy.memory == self.strategies[row].memory)
    }
}
