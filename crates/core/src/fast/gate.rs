//! The gate (METHOD §7): Δ applies where a prompt is near to a learned question.
//!
//! Nearness is the cosine between the hidden state of the prompt's last token, as it enters the lowest adapted layer,
//! and that of a learned question, after the mean over neutral prompts is taken from both. That state does not depend
//! on Δ, so the gate costs nothing and can be decided before any adapted layer runs.

use crate::rollout::policy::GateReading;

/// Learned questions as directions, and the threshold above which Δ applies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    mean: Vec<f32>,
    questions: Vec<(u64, Vec<f32>)>,
    neutral: Vec<Vec<f32>>,
    threshold: f32,
}

/// How much nearness to a neutral prompt counts against nearness to a learned question. It parts "what is your
/// favourite colour?" from "what is my favourite colour?", which lie close to each other.
const CONTRAST: f32 = 0.5;

impl Gate {
    /// Builds the gate from the hidden states of neutral prompts and of every wording of every learned card.
    ///
    /// Nearness is the cosine to the nearest question less half of that to the nearest neutral prompt; the threshold is
    /// the nearness that only the share `pass` of the neutral prompts exceeds. (Holding the learned
    /// wordings out in turn would seem natural, but wordings of one card resemble each other far more than the words a
    /// person will choose later: a threshold from them shuts most of those out.)
    pub(crate) fn new(neutral: &[Vec<f32>], questions: Vec<(u64, Vec<f32>)>, pass: f32) -> Self {
        let width = questions.first().map_or(0, |(_, state)| state.len());
        let mut mean = vec![0.0f32; width];
        for state in neutral {
            for (m, s) in mean.iter_mut().zip(state) {
                *m += s / neutral.len() as f32;
            }
        }
        let questions: Vec<_> = questions.into_iter().map(|(id, state)| (id, direction(&state, &mean))).collect();
        let neutral = neutral.iter().map(|state| direction(state, &mean)).collect();
        let mut gate = Self { mean, questions, neutral, threshold: f32::INFINITY };
        let mut own: Vec<f32> = (0..gate.neutral.len()).map(|i| gate.nearness(&gate.neutral[i], Some(i)).0).collect();
        own.sort_by(f32::total_cmp);
        gate.threshold = quantile(&own, 1.0 - pass);
        gate
    }

    /// The decision for one prompt.
    pub(crate) fn read(&self, state: &[f32]) -> GateReading {
        let (similarity, nearest_card) = self.nearness(&direction(state, &self.mean), None);
        let scale = if nearest_card.is_some() && similarity > self.threshold { 1.0 } else { 0.0 };
        GateReading { similarity, nearest_card, scale }
    }

    /// The neutral prompts, nearest to the learned questions first.
    pub(crate) fn neutral_by_nearness(&self) -> Vec<usize> {
        let nearness: Vec<f32> = self.neutral.iter().map(|state| self.nearest(state).0).collect();
        let mut order: Vec<usize> = (0..nearness.len()).collect();
        order.sort_by(|&a, &b| nearness[b].total_cmp(&nearness[a]).then(a.cmp(&b)));
        order
    }

    /// Cosine to the nearest learned question, less half of that to the nearest neutral prompt (but `except`).
    fn nearness(&self, state: &[f32], except: Option<usize>) -> (f32, Option<u64>) {
        let (to_question, card) = self.nearest(state);
        let to_neutral = self
            .neutral
            .iter()
            .enumerate()
            .filter(|&(i, _)| Some(i) != except)
            .map(|(_, other)| cosine(state, other))
            .fold(-1.0, f32::max);
        (to_question - CONTRAST * to_neutral, card)
    }

    fn nearest(&self, state: &[f32]) -> (f32, Option<u64>) {
        self.questions
            .iter()
            .map(|(id, q)| (cosine(state, q), Some(*id)))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or((-1.0, None))
    }
}

/// `state` less `mean`, scaled to length 1.
fn direction(state: &[f32], mean: &[f32]) -> Vec<f32> {
    let centred: Vec<f32> = state.iter().zip(mean).map(|(s, m)| s - m).collect();
    let length = centred.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    centred.into_iter().map(|v| v / length).collect()
}

/// The value below which the share `q` of sorted `values` lies, interpolated; −1 where there are none.
fn quantile(values: &[f32], q: f32) -> f32 {
    let Some(last) = values.len().checked_sub(1) else { return -1.0 };
    let at = q.clamp(0.0, 1.0) * last as f32;
    let (below, above) = (values[at.floor() as usize], values[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Inner product of two directions.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_like_a_learned_one_opens_the_gate_and_a_neutral_prompt_does_not() {
        let neutral: Vec<Vec<f32>> = (0..8).map(|i| vec![1.0, (i as f32).sin(), (i as f32).cos(), 0.0]).collect();
        let gate = Gate::new(&neutral, vec![(7, vec![1.0, 0.0, 0.0, 5.0])], 0.1);
        let open = gate.read(&[1.0, 0.2, -0.1, 4.0]);
        assert_eq!((open.scale, open.nearest_card), (1.0, Some(7)));
        assert_eq!(gate.read(&[1.0, 0.9, 0.3, 0.0]).scale, 0.0);
    }

    #[test]
    fn without_learned_questions_the_gate_is_shut() {
        let gate = Gate::default();
        assert_eq!((gate.read(&[1.0, 2.0]).scale, gate.read(&[1.0, 2.0]).nearest_card), (0.0, None));
    }

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(quantile(&[0.0, 1.0, 2.0], 0.75), 1.5);
        assert_eq!(quantile(&[3.0], 0.9), 3.0);
        assert_eq!(quantile(&[], 0.9), -1.0);
    }
}
