//! The gate (METHOD §7): Δ applies where a prompt is near to a learned question.
//!
//! Nearness is the cosine between the hidden state of the prompt's last token, as it enters the lowest adapted layer,
//! and that of a learned question, after the mean over neutral prompts is taken from both. That state does not depend
//! on Δ, so the gate costs nothing and can be decided before any adapted layer runs.

use std::collections::{HashMap, HashSet};

use crate::rollout::policy::GateReading;

/// Learned questions as directions, and the threshold above which Δ applies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    /// The tokens that all prompts begin with; the states depend on them.
    prefix: Vec<u32>,
    mean: Vec<f32>,
    questions: Vec<Question>,
    neutral: Vec<Neutral>,
    threshold: f32,
}

/// A learned question.
#[derive(Debug, Clone)]
struct Question {
    card: u64,
    text: String,
    direction: Vec<f32>,
}

/// A neutral prompt.
#[derive(Debug, Clone)]
struct Neutral {
    direction: Vec<f32>,
    /// Cosine to the nearest of the other neutral prompts.
    to_neutral: f32,
    /// Cosine to the nearest question; −1 where there is none.
    to_question: f32,
}

/// How much nearness to a neutral prompt counts against nearness to a learned question. It parts "what is your
/// favourite colour?" from "what is my favourite colour?", which lie close to each other.
const CONTRAST: f32 = 0.5;

impl Gate {
    /// A gate around the hidden states of neutral prompts, which all begin with `prefix`; shut as long as it has no
    /// questions.
    pub(crate) fn around(prefix: &[u32], neutral: &[Vec<f32>]) -> Self {
        let width = neutral.first().map_or(0, Vec::len);
        let mut mean = vec![0.0f32; width];
        for state in neutral {
            for (m, s) in mean.iter_mut().zip(state) {
                *m += s / neutral.len() as f32;
            }
        }
        let directions: Vec<Vec<f32>> = neutral.iter().map(|state| direction(state, &mean)).collect();
        let neutral = directions.iter().enumerate().map(|(i, own)| {
            let others = directions.iter().enumerate().filter(|&(other, _)| other != i);
            let to_neutral = others.map(|(_, other)| cosine(own, other)).fold(-1.0, f32::max);
            Neutral { direction: own.clone(), to_neutral, to_question: -1.0 }
        });
        let neutral = neutral.collect();
        Self { prefix: prefix.to_vec(), mean, questions: Vec::new(), neutral, threshold: f32::INFINITY }
    }

    /// Whether it stands among neutral prompts that begin like this.
    pub(crate) fn is_around(&self, prefix: &[u32]) -> bool {
        self.prefix == prefix && !self.neutral.is_empty()
    }

    /// The questions whose hidden states it has.
    pub(crate) fn known(&self) -> HashSet<&str> {
        self.questions.iter().map(|question| question.text.as_str()).collect()
    }

    /// Sets the learned questions: every wording of every card, in order. `states` has the hidden states of those that
    /// are not [known](Self::known) yet; one without a state is left out. What was there stays as it is, so that a write
    /// costs what is new.
    ///
    /// Nearness is the cosine to the nearest question less half of that to the nearest neutral prompt; the threshold is
    /// the nearness that only the share `pass` of the neutral prompts exceeds. (Holding the learned
    /// wordings out in turn would seem natural, but wordings of one card resemble each other far more than the words a
    /// person will choose later: a threshold from them shuts most of those out.)
    pub(crate) fn set_questions(&mut self, wanted: &[(u64, &str)], states: &HashMap<String, Vec<f32>>, pass: f32) {
        let stays = |(had, (card, text)): (&Question, &(u64, &str))| had.card == *card && had.text == *text;
        let mut old: HashMap<String, Vec<f32>> = HashMap::new();
        if self.questions.len() > wanted.len() || !self.questions.iter().zip(wanted).all(stays) {
            old.extend(self.questions.drain(..).map(|question| (question.text, question.direction)));
            self.neutral.iter_mut().for_each(|neutral| neutral.to_question = -1.0);
        }
        for &(card, text) in &wanted[self.questions.len()..] {
            let new = || states.get(text).map(|state| direction(state, &self.mean));
            let Some(direction) = old.get(text).cloned().or_else(new) else { continue };
            for neutral in &mut self.neutral {
                neutral.to_question = neutral.to_question.max(cosine(&neutral.direction, &direction));
            }
            self.questions.push(Question { card, text: text.to_owned(), direction });
        }
        let nearness = |neutral: &Neutral| neutral.to_question - CONTRAST * neutral.to_neutral;
        let mut own: Vec<f32> = self.neutral.iter().map(nearness).collect();
        own.sort_by(f32::total_cmp);
        self.threshold = quantile(&own, 1.0 - pass);
    }

    /// The decision for one prompt.
    pub(crate) fn read(&self, state: &[f32]) -> GateReading {
        let (similarity, nearest_card) = self.nearness(&direction(state, &self.mean));
        let scale = if nearest_card.is_some() && similarity > self.threshold { 1.0 } else { 0.0 };
        GateReading { similarity, nearest_card, scale }
    }

    /// The neutral prompts, nearest to the learned questions first.
    pub(crate) fn neutral_by_nearness(&self) -> Vec<usize> {
        let nearness = |at: usize| self.neutral[at].to_question;
        let mut order: Vec<usize> = (0..self.neutral.len()).collect();
        order.sort_by(|&a, &b| nearness(b).total_cmp(&nearness(a)).then(a.cmp(&b)));
        order
    }

    /// Cosine to the nearest learned question, less half of that to the nearest neutral prompt.
    fn nearness(&self, state: &[f32]) -> (f32, Option<u64>) {
        let (to_question, card) = self.nearest(state);
        let to_neutral = self.neutral.iter().map(|other| cosine(state, &other.direction)).fold(-1.0, f32::max);
        (to_question - CONTRAST * to_neutral, card)
    }

    fn nearest(&self, state: &[f32]) -> (f32, Option<u64>) {
        self.questions
            .iter()
            .map(|question| (cosine(state, &question.direction), Some(question.card)))
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
        let mut gate = Gate::around(&[1], &neutral);
        gate.set_questions(&[(7, "one")], &states([("one", [1.0, 0.0, 0.0, 5.0])]), 0.1);
        let open = gate.read(&[1.0, 0.2, -0.1, 4.0]);
        assert_eq!((open.scale, open.nearest_card), (1.0, Some(7)));
        assert_eq!(gate.read(&[1.0, 0.9, 0.3, 0.0]).scale, 0.0);
    }

    fn states<const N: usize>(of: [(&str, [f32; 4]); N]) -> HashMap<String, Vec<f32>> {
        of.into_iter().map(|(text, state)| (text.to_owned(), state.to_vec())).collect()
    }

    #[test]
    fn questions_added_later_give_the_same_gate_as_all_at_once() {
        let neutral: Vec<Vec<f32>> = (0..8).map(|i| vec![1.0, (i as f32).sin(), (i as f32).cos(), 0.0]).collect();
        let all = states([("a", [1.0, 0.0, 0.0, 5.0]), ("b", [0.0, 2.0, 1.0, 1.0]), ("c", [-1.0, 0.5, 0.0, 2.0])]);
        let reading = |gate: &Gate| {
            let prompts = [[1.0, 0.2, -0.1, 4.0], [0.0, 2.0, 1.0, 0.5], [1.0, 0.9, 0.3, 0.0]];
            prompts.map(|prompt| gate.read(&prompt))
        };
        let mut at_once = Gate::around(&[1], &neutral);
        at_once.set_questions(&[(1, "a"), (1, "b"), (2, "c")], &all, 0.3);
        let mut by_turns = Gate::around(&[1], &neutral);
        by_turns.set_questions(&[(1, "a"), (3, "c")], &all, 0.1);
        // A question that is gone, one that changes its card, one that is new; states only of that one.
        by_turns.set_questions(&[(1, "a")], &HashMap::new(), 0.2);
        assert_eq!(by_turns.known(), HashSet::from(["a"]));
        by_turns.set_questions(&[(1, "a"), (1, "b")], &all, 0.2);
        by_turns.set_questions(&[(1, "a"), (1, "b"), (2, "c")], &states([("c", [-1.0, 0.5, 0.0, 2.0])]), 0.3);
        assert_eq!(reading(&by_turns), reading(&at_once));
        assert!(by_turns.is_around(&[1]) && !by_turns.is_around(&[2]) && !Gate::default().is_around(&[]));
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
