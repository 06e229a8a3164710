//! Softmax and the losses on it.

pub(crate) fn softmax(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let powers: Vec<f64> = row.iter().map(|&v| f64::from(v - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// Loss, probability of the target, gradient.
pub(crate) fn cross_entropy(
    logits: &[f32],
    targets: &[u32],
    weights: &[f32],
    threshold: f64,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let vocab = logits.len() / targets.len();
    let (mut loss, mut probability, mut gradient) = (vec![], vec![], vec![]);
    for ((row, &target), &weight) in logits.chunks(vocab).zip(targets).zip(weights) {
        let p = softmax(row);
        let hit = p[target as usize];
        let weight = if hit > threshold { 0.0 } else { f64::from(weight) };
        loss.push(-weight * hit.ln());
        probability.push(hit);
        gradient.extend(p.iter().enumerate().map(|(i, p)| weight * (p - f64::from(u8::from(i == target as usize)))));
    }
    (loss, probability, gradient)
}

/// Loss and gradient, from the probabilities (not their logarithms) of the base model.
pub(crate) fn kl_divergence(logits: &[f32], base: &[f64], weights: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let vocab = logits.len() / weights.len();
    let (mut loss, mut gradient) = (vec![], vec![]);
    for ((row, q), &weight) in logits.chunks(vocab).zip(base.chunks(vocab)).zip(weights) {
        let (p, weight) = (softmax(row), f64::from(weight));
        loss.push(weight * q.iter().zip(&p).map(|(q, p)| q * (q / p).ln()).sum::<f64>());
        gradient.extend(p.iter().zip(q).map(|(p, q)| weight * (p - q)));
    }
    (loss, gradient)
}
