//! Similarity of directions, and one ranking out of two.

use super::Hit;

/// Cosine of the angle between two vectors; 0 where one of them has no direction or their lengths differ.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return 0.0;
    }
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { (dot(a, b) / norms) as f32 } else { 0.0 }
}

/// Reciprocal-rank fusion's constant: how little the first ranks stand out.
const K: f32 = 60.0;

/// Places of the texts in the order of both rankings, best first: weighted reciprocal-rank fusion (Cormack, Clarke and
/// Büttcher, 2009), Σ weight / (60 + rank) with ranks from 1.
///
/// `found` is the ranking by words, `similarities` the similarity of every text (`None` where it is not known), and
/// `dense` the weight of the latter between 0 and 1. A text in neither ranking is left out; of equals the later text
/// comes first, because what was said later holds.
pub fn fuse(found: &[Hit], similarities: &[Option<f32>], dense: f32) -> Vec<usize> {
    let mut scores = vec![0.0f32; similarities.len()];
    for (rank, hit) in found.iter().enumerate() {
        if let Some(score) = scores.get_mut(hit.document) {
            *score += (1.0 - dense) / (K + 1.0 + rank as f32);
        }
    }
    let mut near: Vec<(usize, f32)> = similarities.iter().enumerate().filter_map(|(i, s)| Some((i, (*s)?))).collect();
    near.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
    for (rank, (document, _)) in near.into_iter().enumerate() {
        scores[document] += dense / (K + 1.0 + rank as f32);
    }
    let mut order: Vec<usize> = (0..scores.len()).filter(|&i| scores[i] > 0.0).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(b.cmp(&a)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(documents: &[usize]) -> Vec<Hit> {
        documents.iter().map(|&document| Hit { document, score: 1.0, coverage: 1.0 }).collect()
    }

    #[test]
    fn a_text_that_both_rankings_like_goes_before_the_favourite_of_one() {
        let near = [Some(0.9), Some(0.8), Some(0.1), Some(0.2), Some(0.3), None];
        assert_eq!(fuse(&hits(&[2, 1]), &near, 0.5), [1, 2, 0, 4, 3]);
        assert_eq!(fuse(&hits(&[2, 1]), &near, 0.0), [2, 1]);
        assert_eq!(fuse(&hits(&[2, 1]), &near, 1.0), [0, 1, 4, 3, 2]);
        assert_eq!(fuse(&hits(&[5]), &near, 0.0), [5]);
    }

    #[test]
    fn of_equals_the_later_comes_first() {
        assert_eq!(fuse(&[], &[Some(0.5), Some(0.5)], 1.0), [1, 0]);
        assert!(fuse(&[], &[], 0.5).is_empty());
    }

    #[test]
    fn cosines_are_those_of_directions() {
        assert!((cosine(&[1.0, 1.0], &[2.0, 0.0]) - 0.5f32.sqrt()).abs() < 1e-6);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]), 0.0);
    }
}
