//! How well evidence was found: ranked ids (sessions, turns) against those that hold the answer.

/// Share of the relevant ids among the first `k`. `None` where nothing is relevant (a question without an answer).
pub fn recall_at<T: PartialEq>(k: usize, ranked: &[T], relevant: &[T]) -> Option<f64> {
    let first = &ranked[..k.min(ranked.len())];
    let found = relevant.iter().filter(|id| first.contains(id)).count();
    (!relevant.is_empty()).then(|| found as f64 / relevant.len() as f64)
}

/// Normalised discounted cumulative gain of the first `k`, each relevant id counting 1. `None` where nothing is relevant.
pub fn ndcg_at<T: PartialEq>(k: usize, ranked: &[T], relevant: &[T]) -> Option<f64> {
    let discount = |place: usize| 1.0 / ((place + 2) as f64).log2();
    let ideal: f64 = (0..relevant.len().min(k)).map(discount).sum();
    let hits = ranked.iter().take(k).enumerate().filter(|(_, id)| relevant.contains(id));
    let gain: f64 = hits.map(|(place, _)| discount(place)).sum();
    (ideal > 0.0).then(|| gain / ideal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_hits_count_more() {
        let ranked = ["a", "b", "c", "d"];
        assert_eq!(recall_at(2, &ranked, &["b", "d"]), Some(0.5));
        assert_eq!(recall_at(9, &ranked, &["b", "d"]), Some(1.0));
        assert_eq!(recall_at(2, &ranked, &[]), None);
        assert_eq!(ndcg_at(4, &ranked, &["a", "b"]), Some(1.0));
        let late = ndcg_at(4, &ranked, &["b"]).unwrap();
        assert!((late - 1.0 / 3f64.log2()).abs() < 1e-12);
        assert_eq!(ndcg_at(0, &ranked, &["a"]), None);
    }
}
