//! Scores by the age of the fact and by the corrections told, and how an episode goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bench::ocrr::{NOVEL, ORIGINAL};
use crate::run::record::{CORRECTIONS, ProbeLine, STEP, TimelinePoint, UnitLine};
use crate::stats::MeanSd;

/// Scores of facts of a certain age.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgeBin {
    /// Youngest, in sessions since the fact was told.
    pub from: usize,
    /// Oldest.
    pub to: usize,
    /// Headline score, mean ± s.d. over seeds.
    pub score: MeanSd,
    /// Probes, over all seeds.
    pub probes: usize,
}

/// The bin of an age: 0, 1, 2-3, 4-7, 8-15, …; each twice as wide as the one before, since old facts are many and alike.
fn bin(age: usize) -> (usize, usize) {
    match age.checked_ilog2() {
        None => (0, 0),
        Some(power) => (1 << power, (2usize << power) - 1),
    }
}

/// Mean and spread over seeds of each seed's mean score.
fn over_seeds(scores: &BTreeMap<u64, Vec<f64>>) -> Option<MeanSd> {
    let means: Vec<f64> = scores.values().filter_map(|scores| Some(MeanSd::of(scores)?.mean)).collect();
    MeanSd::of(&means)
}

/// Retention: the headline score by the age of the fact. Probes of unknown age are left out.
pub(super) fn retention<'a>(probes: impl Iterator<Item = &'a ProbeLine>) -> Vec<AgeBin> {
    let mut bins: BTreeMap<(usize, usize), BTreeMap<u64, Vec<f64>>> = BTreeMap::new();
    for probe in probes {
        if let (Some(age), Some(score)) = (probe.age, probe.score()) {
            bins.entry(bin(age)).or_default().entry(probe.seed).or_default().push(score);
        }
    }
    let of = |((from, to), seeds): (_, BTreeMap<u64, Vec<f64>>)| {
        let probes = seeds.values().map(Vec::len).sum();
        Some(AgeBin { from, to, score: over_seeds(&seeds)?, probes })
    };
    bins.into_iter().filter_map(of).collect()
}

/// A checkpoint of a stream of corrections (OCRR).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorrectionPoint {
    /// Examples of the stream before it.
    pub step: usize,
    /// Corrections told by then, mean over streams and seeds.
    pub corrections: f64,
    /// Accuracy on classes that were new, mean ± s.d. over seeds.
    pub novel: Option<MeanSd>,
    /// Accuracy on classes that were known before: retention.
    pub original: Option<MeanSd>,
}

/// Accuracy at each checkpoint of the streams; empty for benchmarks without.
pub(super) fn corrections<'a>(probes: impl Iterator<Item = &'a ProbeLine>) -> Vec<CorrectionPoint> {
    let mut steps: BTreeMap<usize, Vec<(&ProbeLine, f64)>> = BTreeMap::new();
    for probe in probes {
        if let (Some(step), Some(told)) = (probe.scores.get(STEP), probe.scores.get(CORRECTIONS)) {
            steps.entry(*step as usize).or_default().push((probe, *told));
        }
    }
    let of = |(step, probes): (usize, Vec<(&ProbeLine, f64)>)| {
        let accuracy = |part: &str| {
            let mut seeds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
            for (probe, _) in probes.iter().filter(|(probe, _)| probe.category == part) {
                seeds.entry(probe.seed).or_default().extend(probe.score());
            }
            over_seeds(&seeds)
        };
        let corrections = MeanSd::of(&probes.iter().map(|(_, told)| *told).collect::<Vec<_>>())?.mean;
        Some(CorrectionPoint { step, corrections, novel: accuracy(NOVEL), original: accuracy(ORIGINAL) })
    };
    steps.into_iter().filter_map(of).collect()
}

/// All units of a strategy at one moment of the episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpisodePoint {
    /// Turns fed so far.
    pub exchanges: usize,
    /// Units that have come this far.
    pub units: usize,
    /// Mean over them of the mean ‖ΔW‖_F / ‖W‖_F over the adapted sites.
    pub delta_norm: f64,
    /// Mean over those that have one of the share of general knowledge that is kept.
    pub knowledge_kept: Option<f64>,
}

/// Moments that an episode is cut into at most.
const MOMENTS: usize = 24;

/// How the mean episode of some units goes. Between two points of a unit its values stay; a unit that has come to its
/// end leaves the mean.
pub(super) fn episode(units: &[UnitLine]) -> Vec<EpisodePoint> {
    let last = units.iter().filter_map(end).max().unwrap_or_default();
    let moments = MOMENTS.min(last);
    (1..=moments).filter_map(|moment| at(units, (last * moment).div_ceil(moments))).collect()
}

/// Turns fed when a unit came to its end.
fn end(unit: &UnitLine) -> Option<usize> {
    unit.timeline.last().map(|point| point.exchanges)
}

fn at(units: &[UnitLine], exchanges: usize) -> Option<EpisodePoint> {
    let reached: Vec<&UnitLine> = units.iter().filter(|unit| end(unit).is_some_and(|end| end >= exchanges)).collect();
    let now: Vec<Option<&TimelinePoint>> =
        reached.iter().map(|unit| unit.timeline.iter().rev().find(|point| point.exchanges <= exchanges)).collect();
    // Before its first write a unit is as the frozen model is: Δ = 0, and all is kept.
    let norms: Vec<f64> = now.iter().map(|point| point.map_or(0.0, |point| f64::from(point.delta_norm))).collect();
    let measured = reached.iter().any(|unit| unit.timeline.iter().any(|point| point.knowledge_kept.is_some()));
    let untouched = measured.then_some(1.0);
    let kept: Vec<f64> =
        now.iter().filter_map(|point| point.map_or(untouched, |point| point.knowledge_kept.map(f64::from))).collect();
    Some(EpisodePoint {
        exchanges,
        units: reached.len(),
        delta_norm: MeanSd::of(&norms)?.mean,
        knowledge_kept: MeanSd::of(&kept).map(|kept| kept.mean),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_double() {
        let bins: Vec<_> = [0, 1, 2, 3, 4, 7, 8, 40].into_iter().map(bin).collect();
        assert_eq!(bins, [(0, 0), (1, 1), (2, 3), (2, 3), (4, 7), (4, 7), (8, 15), (32, 63)]);
    }
}
