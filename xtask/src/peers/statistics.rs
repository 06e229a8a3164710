//! Medians, spreads and pairwise ratios.

use serde::Serialize;

/// The unit of a figure, and with it which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Unit {
    /// More is faster.
    #[serde(rename = "tokens/s")]
    TokensPerSecond,
    /// Less is faster.
    #[serde(rename = "s")]
    Seconds,
}

impl Unit {
    /// As it stands in a table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TokensPerSecond => "tokens/s",
            Self::Seconds => "s",
        }
    }
}

/// The middle of some figures and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) minimum: f64,
    pub(super) maximum: f64,
}

impl Spread {
    /// Of at least one figure; of none there is no spread.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (minimum, maximum) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) { *sorted.get(middle - 1)? } else { upper };
        Some(Self { median: f64::midpoint(lower, upper), minimum, maximum })
    }
}

/// How many times as fast as the peer we are, pair by pair: what two neighbours in time share (a warm machine, another
/// process) drops out of their ratio, but not out of the ratio of two medians.
pub(super) fn ratios(ours: &[f64], peer: &[f64], unit: Unit) -> Vec<f64> {
    let pairs = ours.iter().zip(peer);
    match unit {
        Unit::TokensPerSecond => pairs.map(|(ours, peer)| ours / peer).collect(),
        Unit::Seconds => pairs.map(|(ours, peer)| peer / ours).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let spread = |values: &[f64]| Spread::of(values).map(|s| (s.median, s.minimum, s.maximum));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[4.0]), Some((4.0, 4.0, 4.0)));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some((2.0, 1.0, 9.0)));
        assert_eq!(spread(&[4.0, 1.0, 9.0, 2.0]), Some((3.0, 1.0, 9.0)));
    }

    #[test]
    fn a_ratio_above_one_means_that_we_are_faster_in_either_unit() {
        assert_eq!(ratios(&[20.0, 30.0], &[10.0, 10.0], Unit::TokensPerSecond), [2.0, 3.0]);
        assert_eq!(ratios(&[2.0, 4.0], &[4.0, 2.0], Unit::Seconds), [2.0, 0.5]);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        // The machine was half as fast in the second pair. The ratio of the medians would be the same by chance only.
        let ratios = ratios(&[100.0, 50.0, 90.0], &[10.0, 5.0, 10.0], Unit::TokensPerSecond);
        assert_eq!(ratios, [10.0, 10.0, 9.0]);
        assert_eq!(Spread::of(&ratios).map(|spread| spread.median), Some(10.0));
    }
}
