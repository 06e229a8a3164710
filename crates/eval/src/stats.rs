//! From scores to statements: means over seeds, categories, and paired comparison with a baseline.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A mean with its spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanSd {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation (n − 1); `None` of fewer than two values.
    pub sd: Option<f64>,
    /// How many values.
    pub n: usize,
}

impl MeanSd {
    /// Of some values; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self { mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()), n })
    }
}

/// One score of one probe in one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The run's seed.
    pub seed: u64,
    /// The sample the probe belongs to: probes of one sample are not independent.
    pub sample: String,
    /// The probe.
    pub probe: String,
    /// The probe's category.
    pub category: String,
    /// The score.
    pub score: f64,
}

/// Scores of one strategy, summed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean over all probes, its spread over seeds.
    pub overall: MeanSd,
    /// As `overall`, of each category.
    pub categories: BTreeMap<String, MeanSd>,
    /// Mean of the categories' means, each category counting the same (LongMemEval's task-averaged accuracy); spread over
    /// seeds.
    pub macro_average: MeanSd,
    /// Probes of each category, over all seeds.
    pub counts: BTreeMap<String, usize>,
}

impl Summary {
    /// Sums up; `None` without scores. A value is first averaged within its seed, then over seeds: mean ± s.d. over runs.
    pub fn of(scored: &[Scored]) -> Option<Self> {
        let mut by_seed: BTreeMap<u64, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for item in scored {
            by_seed.entry(item.seed).or_default().entry(&item.category).or_default().push(item.score);
            *counts.entry(item.category.clone()).or_default() += 1;
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let (mut overall, mut macros) = (Vec::new(), Vec::new());
        let mut categories: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for seed in by_seed.values() {
            overall.push(mean(&seed.values().flatten().copied().collect::<Vec<_>>()));
            let means: Vec<(&str, f64)> = seed.iter().map(|(name, values)| (*name, mean(values))).collect();
            macros.push(mean(&means.iter().map(|(_, value)| *value).collect::<Vec<_>>()));
            for (name, value) in means {
                categories.entry(name.to_owned()).or_default().push(value);
            }
        }
        Some(Self {
            overall: MeanSd::of(&overall)?,
            categories: categories.into_iter().filter_map(|(name, v)| Some((name, MeanSd::of(&v)?))).collect(),
            macro_average: MeanSd::of(&macros)?,
            counts,
        })
    }
}

/// Why two strategies cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// They have no probe in common.
    #[error("the two runs have no probe of the same seed in common: run both on the same samples and seeds")]
    NothingInCommon,
    /// No resampling was asked for.
    #[error("a bootstrap needs at least one resample")]
    NoResamples,
}

/// A paired comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Mean of (treatment − baseline).
    pub difference: f64,
    /// Lower end of the 95 % percentile interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p value of "no difference": twice the smaller share of resampled differences on either side of 0, with
    /// the observed one counted in, so never 0.
    pub p: f64,
    /// Pairs compared.
    pub pairs: usize,
    /// Units resampled.
    pub units: usize,
}

/// What is drawn with replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Probes, each with all its seeds: right where every probe has a history of its own.
    Probe,
    /// Samples with all their probes and seeds: right where many probes share a history, as in LoCoMo.
    Sample,
}

/// Seeded paired bootstrap of the mean difference between two strategies. Pairs are made by (seed, sample, probe); what
/// only one side has is left out.
///
/// # Errors
/// [`StatsError`].
pub fn paired_bootstrap(
    treatment: &[Scored],
    baseline: &[Scored],
    unit: Unit,
    resamples: usize,
    seed: u64,
) -> Result<Paired, StatsError> {
    if resamples == 0 {
        return Err(StatsError::NoResamples);
    }
    let key = |item: &Scored| (item.seed, item.sample.clone(), item.probe.clone());
    let against: BTreeMap<_, f64> = baseline.iter().map(|item| (key(item), item.score)).collect();
    // (sum of differences, number of pairs) per unit, in a fixed order.
    let mut units: BTreeMap<(&str, &str), (f64, usize)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for item in treatment {
        let Some(score) = against.get(&key(item)).filter(|_| seen.insert(key(item))) else { continue };
        let probe = if unit == Unit::Probe { item.probe.as_str() } else { "" };
        let entry = units.entry((item.sample.as_str(), probe)).or_default();
        entry.0 += item.score - score;
        entry.1 += 1;
    }
    let units: Vec<(f64, usize)> = units.into_values().collect();
    if units.is_empty() {
        return Err(StatsError::NothingInCommon);
    }
    let mean = |(sum, pairs): (f64, usize)| sum / pairs.max(1) as f64;
    let add = |a: (f64, usize), b: &(f64, usize)| (a.0 + b.0, a.1 + b.1);
    let whole = units.iter().fold((0.0, 0), add);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut differences: Vec<f64> = (0..resamples)
        .map(|_| mean((0..units.len()).map(|_| &units[random.random_range(0..units.len())]).fold((0.0, 0), add)))
        .collect();
    differences.sort_by(f64::total_cmp);
    let at = |share: f64| differences[((resamples - 1) as f64 * share).round() as usize];
    let tail = |beyond: &dyn Fn(f64) -> bool| {
        (differences.iter().filter(|d| beyond(**d)).count() + 1) as f64 / (resamples + 1) as f64
    };
    let p = 2.0 * tail(&|d| d <= 0.0).min(tail(&|d| d >= 0.0));
    Ok(Paired {
        difference: mean(whole),
        low: at(0.025),
        high: at(0.975),
        p: p.min(1.0),
        pairs: whole.1,
        units: units.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(seed: u64, probe: usize, category: &str, score: f64) -> Scored {
        let sample = format!("s{}", probe / 10);
        Scored { seed, sample, probe: format!("p{probe}"), category: category.to_owned(), score }
    }

    #[test]
    fn means_are_taken_within_seeds_first() {
        let items = [scored(1, 0, "a", 1.0), scored(1, 1, "b", 0.0), scored(2, 0, "a", 1.0), scored(2, 1, "b", 1.0)];
        let summary = Summary::of(&items).unwrap();
        assert_eq!(summary.overall.mean, 0.75);
        assert!((summary.overall.sd.unwrap() - 0.125f64.sqrt()).abs() < 1e-12);
        assert_eq!(summary.categories["b"].mean, 0.5);
        assert_eq!((summary.macro_average.mean, summary.counts["a"]), (0.75, 2));
        assert_eq!(MeanSd::of(&[3.0]).unwrap().sd, None);
        assert!(Summary::of(&[]).is_none());
    }

    #[test]
    fn a_clear_difference_is_seen_and_none_is_not() {
        let run = |score: fn(usize) -> f64| (0..60).map(|i| scored(1, i, "a", score(i))).collect::<Vec<_>>();
        let (good, bad) = (run(|i| f64::from(i % 5 != 0)), run(|i| f64::from(i % 5 == 1)));
        for unit in [Unit::Probe, Unit::Sample] {
            let clear = paired_bootstrap(&good, &bad, unit, 2000, 7).unwrap();
            assert!((clear.difference - 0.6).abs() < 1e-12 && clear.low > 0.3 && clear.p < 0.01, "{clear:?}");
            assert_eq!(clear, paired_bootstrap(&good, &bad, unit, 2000, 7).unwrap());
            let none = paired_bootstrap(&good, &good, unit, 2000, 7).unwrap();
            assert_eq!((none.difference, none.low, none.high, none.p), (0.0, 0.0, 0.0, 1.0));
        }
        let units = paired_bootstrap(&good, &bad, Unit::Sample, 10, 7).unwrap();
        assert_eq!((units.pairs, units.units), (60, 6));
    }

    #[test]
    fn runs_on_other_probes_are_not_compared() {
        let (a, b) = ([scored(1, 0, "a", 1.0)], [scored(2, 0, "a", 1.0)]);
        assert_eq!(paired_bootstrap(&a, &b, Unit::Probe, 10, 1), Err(StatsError::NothingInCommon));
        assert_eq!(paired_bootstrap(&a, &a, Unit::Probe, 0, 1), Err(StatsError::NoResamples));
    }
}
