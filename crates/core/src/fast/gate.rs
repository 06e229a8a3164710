//! The gate (METHOD §7): Δ applies where a prompt is near to a learned question, and nearer than to any question about
//! something that was never told.
//!
//! Nearness is the cosine between the hidden state of the prompt's last token, as it enters the lowest adapted layer,
//! and that of a learned question, after the mean over neutral prompts is taken from both. That state does not depend
//! on Δ, so the gate costs nothing and can be decided before any adapted layer runs.
//!
//! The first condition keeps Δ from what has nothing to do with the user. The second keeps it from what has: "what is my
//! dog's name?" lies close to the learned "what is my cat's name?", but closer still to "what is my rabbit's name?". All
//! such questions have in common that they are about the user; so the second condition leaves the axis from the neutral
//! prompts to them out, and compares what they are about.

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
    unknown: Vec<Unknown>,
    /// From the neutral prompts to the questions of `unknown`; of length 1, or empty where there are none.
    axis: Vec<f32>,
    /// How much nearer than to any of `unknown` a prompt must be to a learned question.
    margin: f32,
}

/// What the gate lets through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Share of the neutral prompts that may exceed the threshold.
    pub(crate) pass: f32,
    /// How much nearer to a learned question than to any about something never told a prompt must be.
    pub(crate) margin: f32,
}

/// A question about something never told.
#[derive(Debug, Clone)]
struct Unknown {
    text: String,
    direction: Vec<f32>,
    /// Its component along the axis.
    along: f32,
    /// Not where a card speaks of its subject.
    counts: bool,
}

/// A learned question.
#[derive(Debug, Clone)]
struct Question {
    card: u64,
    text: String,
    direction: Vec<f32>,
    /// Its component along the axis.
    along: f32,
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
    /// questions. `unknown` are questions about things never told, with theirs.
    pub(crate) fn around(prefix: &[u32], neutral: &[Vec<f32>], unknown: Vec<(String, Vec<f32>)>) -> Self {
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
        let unknown: Vec<(String, Vec<f32>)> =
            unknown.into_iter().map(|(text, state)| (text, direction(&state, &mean))).collect();
        let axis = if unknown.is_empty() { Vec::new() } else { mean_direction(&unknown, width) };
        let unknown = unknown.into_iter().map(|(text, direction)| {
            let along = cosine(&direction, &axis);
            Unknown { text, direction, along, counts: true }
        });
        Self {
            prefix: prefix.to_vec(),
            mean,
            questions: Vec::new(),
            neutral,
            threshold: f32::INFINITY,
            unknown: unknown.collect(),
            axis,
            margin: 0.0,
        }
    }

    /// Whether it stands among neutral prompts that begin like this.
    pub(crate) fn is_around(&self, prefix: &[u32]) -> bool {
        self.prefix == prefix && !self.neutral.is_empty()
    }

    /// Whether it has questions about things never told.
    pub(crate) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
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
    pub(crate) fn set_questions(&mut self, wanted: &[(u64, &str)], states: &HashMap<String, Vec<f32>>, limits: Limits) {
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
            let along = cosine(&direction, &self.axis);
            self.questions.push(Question { card, text: text.to_owned(), direction, along });
        }
        let nearness = |neutral: &Neutral| neutral.to_question - CONTRAST * neutral.to_neutral;
        let mut own: Vec<f32> = self.neutral.iter().map(nearness).collect();
        own.sort_by(f32::total_cmp);
        self.threshold = quantile(&own, 1.0 - limits.pass);
        self.margin = limits.margin;
    }

    /// Which questions about things never told still are, by their text; the others no longer shut the gate.
    pub(crate) fn set_unknown(&mut self, still: &HashSet<&str>) {
        for unknown in &mut self.unknown {
            unknown.counts = still.contains(unknown.text.as_str());
        }
    }

    /// The decision for one prompt.
    pub(crate) fn read(&self, state: &[f32]) -> GateReading {
        let state = direction(state, &self.mean);
        let (to_question, nearest_card) = self.nearest(&state);
        let to_neutral = self.neutral.iter().map(|other| cosine(&state, &other.direction)).fold(-1.0, f32::max);
        let similarity = to_question - CONTRAST * to_neutral;
        let lead = self.lead(&state);
        let told = lead.is_none_or(|lead| lead > self.margin);
        let scale = if nearest_card.is_some() && similarity > self.threshold && told { 1.0 } else { 0.0 };
        GateReading { similarity, lead, nearest_card, scale }
    }

    /// The neutral prompts, nearest to the learned questions first.
    pub(crate) fn neutral_by_nearness(&self) -> Vec<usize> {
        let nearness = |at: usize| self.neutral[at].to_question;
        let mut order: Vec<usize> = (0..self.neutral.len()).collect();
        order.sort_by(|&a, &b| nearness(b).total_cmp(&nearness(a)).then(a.cmp(&b)));
        order
    }

    /// How much nearer to a learned question than to any about something never told, beside the axis; `None` where there
    /// is none of those.
    fn lead(&self, state: &[f32]) -> Option<f32> {
        let along = cosine(state, &self.axis);
        let nearness = |direction: &[f32], other: f32| beside(cosine(state, direction), along, other);
        let counting = self.unknown.iter().filter(|unknown| unknown.counts);
        let to_unknown = counting.map(|unknown| nearness(&unknown.direction, unknown.along)).reduce(f32::max)?;
        let to_questions = self.questions.iter().map(|question| nearness(&question.direction, question.along));
        Some(to_questions.fold(-1.0, f32::max) - to_unknown)
    }

    /// Cosine to the nearest learned question, and its card.
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

/// The mean of directions, scaled to length 1.
fn mean_direction(of: &[(String, Vec<f32>)], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for (_, direction) in of {
        sum.iter_mut().zip(direction).for_each(|(sum, value)| *sum += value);
    }
    direction(&sum, &vec![0.0; width])
}

/// The cosine between two directions once their components along an axis, `a` and `b`, are taken away.
fn beside(cosine: f32, a: f32, b: f32) -> f32 {
    let lengths = ((1.0 - a * a) * (1.0 - b * b)).max(0.0).sqrt();
    (cosine - a * b) / lengths.max(f32::MIN_POSITIVE)
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
        let mut gate = Gate::around(&[1], &neutral, Vec::new());
        gate.set_questions(&[(7, "one")], &states([("one", [1.0, 0.0, 0.0, 5.0])]), pass(0.1));
        let open = gate.read(&[1.0, 0.2, -0.1, 4.0]);
        assert_eq!((open.scale, open.nearest_card), (1.0, Some(7)));
        assert_eq!(gate.read(&[1.0, 0.9, 0.3, 0.0]).scale, 0.0);
    }

    fn pass(pass: f32) -> Limits {
        Limits { pass, margin: 0.0 }
    }

    #[test]
    fn a_question_nearer_to_something_never_told_shuts_the_gate() {
        let neutral: Vec<Vec<f32>> = (0..8).map(|i| vec![1.0, (i as f32).sin(), (i as f32).cos(), 0.0]).collect();
        let unknown = [("dog", [1.0, 1.0, 0.0, 5.0]), ("boat", [1.0, 0.0, -2.0, 5.0])];
        let unknown = unknown.map(|(text, state)| (text.to_owned(), state.to_vec())).to_vec();
        let mut gate = Gate::around(&[1], &neutral, unknown);
        gate.set_questions(&[(7, "cat")], &states([("cat", [1.0, -1.0, 0.0, 5.0])]), pass(0.1));
        let (cat, dog) = ([1.0, -0.4, 0.1, 5.0], [1.0, 0.4, 0.1, 5.0]);
        assert_eq!((gate.read(&cat).scale, gate.read(&dog).scale), (1.0, 0.0));
        assert!(gate.read(&cat).lead > Some(0.0) && gate.read(&dog).lead < Some(0.0));
        // With a margin it must be nearer by more than that; once something of the dog is told, its question shuts nothing.
        let margin = gate.read(&cat).lead.unwrap();
        gate.set_questions(&[(7, "cat")], &HashMap::new(), Limits { pass: 0.1, margin });
        assert_eq!(gate.read(&cat).scale, 0.0);
        gate.set_unknown(&HashSet::new());
        assert_eq!((gate.read(&dog).scale, gate.read(&dog).lead), (1.0, None));
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
        let mut at_once = Gate::around(&[1], &neutral, Vec::new());
        at_once.set_questions(&[(1, "a"), (1, "b"), (2, "c")], &all, pass(0.3));
        let mut by_turns = Gate::around(&[1], &neutral, Vec::new());
        by_turns.set_questions(&[(1, "a"), (3, "c")], &all, pass(0.1));
        // A question that is gone, one that changes its card, one that is new; states only of that one.
        by_turns.set_questions(&[(1, "a")], &HashMap::new(), pass(0.2));
        assert_eq!(by_turns.known(), HashSet::from(["a"]));
        by_turns.set_questions(&[(1, "a"), (1, "b")], &all, pass(0.2));
        by_turns.set_questions(&[(1, "a"), (1, "b"), (2, "c")], &states([("c", [-1.0, 0.5, 0.0, 2.0])]), pass(0.3));
        assert_eq!(reading(&by_turns), reading(&at_once));
        assert!(by_turns.is_around(&[1]) && !by_turns.is_around(&[2]) && !Gate::default().is_around(&[]));
    }

    #[test]
    fn without_learned_questions_the_gate_is_shut() {
        let gate = Gate::default();
        assert_eq!((gate.read(&[1.0, 2.0]).scale, gate.read(&[1.0, 2.0]).nearest_card), (0.0, None));
    }

    #[test]
    fn beside_an_axis_only_the_rest_counts() {
        let (axis, x, y) = ([1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.6, 0.0, 0.8]);
        let of = |a: &[f32], b: &[f32]| beside(cosine(a, b), cosine(a, &axis), cosine(b, &axis));
        assert!(of(&x, &y).abs() < 1e-6 && (of(&x, &x) - 1.0).abs() < 1e-6);
        assert!(of(&axis, &x).is_finite());
    }

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(quantile(&[0.0, 1.0, 2.0], 0.75), 1.5);
        assert_eq!(quantile(&[3.0], 0.9), 3.0);
        assert_eq!(quantile(&[], 0.9), -1.0);
    }
}
