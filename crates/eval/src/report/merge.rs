//! Several runs as one: which belong together, and whether they may.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tmem_core::settings::MemoryKind;

use super::label::{method, variant_labels};
use super::{ReportError, RunFolder, memory_name};
use crate::bench::BenchmarkKind;
use crate::run::record::{ProbeLine, TimingLine, UnitLine};

/// Runs of one benchmark, merged.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The benchmark.
    pub bench: BenchmarkKind,
    /// The runs, without their lines.
    pub runs: Vec<RunFolder>,
    /// Units and probes of each run.
    pub counts: Vec<(usize, usize)>,
    /// Strategies of each variant, variants in the order of the runs, strategies in the order of their runs.
    pub strategies: Vec<Strategy>,
}

/// Everything that one strategy did under one variant of the settings.
#[derive(Debug, Clone)]
pub struct Strategy {
    /// What sets the variant apart from the others, as `name=value, …`; empty where there is only one.
    pub variant: String,
    /// As `variant`, without the token budget.
    pub variant_without_budget: String,
    /// L_max, in tokens.
    pub budget: usize,
    /// The strategy.
    pub memory: MemoryKind,
    /// Its probes, by (seed, sample), in the order of the files.
    pub probes: Vec<ProbeLine>,
    /// Its units, likewise.
    pub units: Vec<UnitLine>,
    /// Its clock times, as far as there are any.
    pub timings: Vec<TimingLine>,
}

impl Merged {
    /// Merges runs; those of the same method (see [`super`]) become one variant.
    ///
    /// # Errors
    /// [`ReportError::NoRuns`], [`ReportError::Benchmarks`], [`ReportError::Twice`].
    pub fn of(mut runs: Vec<RunFolder>) -> Result<Self, ReportError> {
        let first = runs.first().ok_or(ReportError::NoRuns)?;
        let bench = first.run.bench;
        if let Some(other) = runs.iter().find(|run| run.run.bench != bench) {
            return Err(ReportError::Benchmarks {
                first_folder: first.folder.clone(),
                first: bench,
                second_folder: other.folder.clone(),
                second: other.run.bench,
            });
        }
        let methods: Vec<Value> = runs.iter().map(|run| method(&run.run)).collect();
        let mut variants: Vec<&Value> = Vec::new();
        let variant_of: Vec<usize> = methods
            .iter()
            .map(|method| {
                variants.iter().position(|known| *known == method).unwrap_or_else(|| {
                    variants.push(method);
                    variants.len() - 1
                })
            })
            .collect();
        refuse_repetition(&runs, &variant_of)?;
        let labels = variant_labels(&variants);
        let counts = runs.iter().map(|run| (run.units.len(), run.probes.len())).collect();
        let mut strategies = Vec::new();
        for (variant, label) in labels.into_iter().enumerate() {
            let mut members: Vec<&mut RunFolder> =
                runs.iter_mut().zip(&variant_of).filter(|(_, of)| **of == variant).map(|(run, _)| run).collect();
            let budget = members.first().map_or(0, |run| run.run.settings.rollout.budget);
            for memory in memories(&members) {
                strategies.push(Strategy {
                    variant: label.whole.clone(),
                    variant_without_budget: label.without_budget.clone(),
                    budget,
                    memory,
                    probes: take(
                        &mut members,
                        |run| &mut run.probes,
                        |p| p.memory == memory,
                        |p| (p.seed, p.sample.clone()),
                    ),
                    units: take(
                        &mut members,
                        |run| &mut run.units,
                        |u| u.memory == memory,
                        |u| (u.seed, u.sample.clone()),
                    ),
                    timings: take(
                        &mut members,
                        |run| &mut run.timings,
                        |t| t.memory == memory,
                        |t| (t.seed, t.sample.clone()),
                    ),
                });
            }
        }
        Ok(Self { bench, runs, counts, strategies })
    }
}

/// The strategies of some runs that have lines, in the order they are named.
fn memories(runs: &[&mut RunFolder]) -> Vec<MemoryKind> {
    let mut found: Vec<MemoryKind> = Vec::new();
    for run in runs {
        for &memory in &run.run.memories {
            if !found.contains(&memory) && run.units.iter().any(|unit| unit.memory == memory) {
                found.push(memory);
            }
        }
    }
    found
}

/// Moves the lines that belong to a strategy out of its runs. Sorted by seed and sample, so that the order of the
/// folders changes no figure.
fn take<T>(
    runs: &mut [&mut RunFolder],
    lines: impl Fn(&mut RunFolder) -> &mut Vec<T>,
    belongs: impl Fn(&T) -> bool,
    place: impl Fn(&T) -> (u64, String),
) -> Vec<T> {
    let mut taken: Vec<T> =
        runs.iter_mut().flat_map(|run| lines(run).extract_if(.., |line| belongs(line)).collect::<Vec<_>>()).collect();
    taken.sort_by_cached_key(place);
    taken
}

fn refuse_repetition(runs: &[RunFolder], variant_of: &[usize]) -> Result<(), ReportError> {
    let mut seen: BTreeMap<(usize, u64, &'static str, &str, &str), &Path> = BTreeMap::new();
    for (run, &variant) in runs.iter().zip(variant_of) {
        for probe in &run.probes {
            let key = (variant, probe.seed, memory_name(probe.memory), probe.sample.as_str(), probe.probe.as_str());
            if let Some(first) = seen.insert(key, &run.folder) {
                return Err(ReportError::Twice {
                    probe: probe.probe.clone(),
                    sample: probe.sample.clone(),
                    memory: memory_name(probe.memory),
                    seed: probe.seed,
                    first_folder: first.to_owned(),
                    second_folder: run.folder.clone(),
                });
            }
        }
    }
    Ok(())
}
