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
    threshold: f32,
}

impl Gate {
    /// Builds the gate from the hidden states of neutral prompts and of every wording of every learned card.
    ///
    /// The threshold is the similarity that lets the share `recall` of the wordings through when each is held out in
    /// turn, but never so low that a neutral prompt would pass: a gate that opens for everything is no gate.
    pub(crate) fn new(neutral: &[Vec<f32>], questions: Vec<(u64, Vec<f32>)>, recall: f32) -> Self {
        let width = questions.first().map_or(0, |(_, state)| state.len());
        let mut mean = vec![0.0f32; width];
        for state in neutral {
            for (m, s) in mean.iter_mut().zip(state) {
                *m += s / neutral.len() as f32;
            }
        }
        let questions: Vec<_> = questions.into_iter().map(|(id, state)| (id, direction(&state, &mean))).collect();
        let mut held_out: Vec<f32> = (0..questions.len())
            .filter_map(|i| {
                questions
                    .iter()
                    .enumerate()
                    .filter(|&(j, (id, _))| j != i && *id == questions[i].0)
                    .map(|(_, (_, q))| cosine(&questions[i].1, q))
                    .reduce(f32::max)
            })
            .collect();
        held_out.sort_by(f32::total_cmp);
        let mut gate = Self { mean, questions, threshold: -1.0 };
        let nearest_neutral = neutral.iter().map(|state| gate.nearest(state).0).max_by(f32::total_cmp).unwrap_or(-1.0);
        let wanted = held_out.get(((1.0 - recall) * held_out.len() as f32) as usize).copied();
        gate.threshold = wanted.unwrap_or(nearest_neutral).max(nearest_neutral);
        gate
    }

    /// The decision for one prompt.
    pub(crate) fn read(&self, state: &[f32]) -> GateReading {
        let (similarity, nearest_card) = self.nearest(state);
        let scale = if nearest_card.is_some() && similarity >= self.threshold { 1.0 } else { 0.0 };
        GateReading { similarity, nearest_card, scale }
    }

    fn nearest(&self, state: &[f32]) -> (f32, Option<u64>) {
        let state = direction(state, &self.mean);
        self.questions
            .iter()
            .map(|(id, q)| (cosine(&state, q), Some(*id)))
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

/// Inner product of two directions.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
