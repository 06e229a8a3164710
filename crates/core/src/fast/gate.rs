//! The gate: Δ applies where a prompt is near to a learned question, and nearer than to any question about
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
use std::sync::Arc;

use super::background::{Background, Beside};
use crate::rollout::policy::GateReading;

/// Learned questions as directions, and the threshold above which Δ applies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    background: Arc<Background>,
    questions: Vec<Question>,
    /// Cosine of each neutral prompt to the nearest learned question; −1 where there is none.
    neutral_to_question: Vec<f32>,
    threshold: f32,
    /// Which of the questions about things never told still are; empty where the gate is not to ask.
    untold: Vec<bool>,
    /// How much nearer than to any of those a prompt must be to a learned question.
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

/// A learned question.
#[derive(Debug, Clone)]
struct Question {
    card: u64,
    text: String,
    place: Beside,
}

/// How much nearness to a neutral prompt counts against nearness to a learned question. It parts "what is your
/// favourite colour?" from "what is my favourite colour?", which lie close to each other.
const CONTRAST: f32 = 0.5;

impl Gate {
    /// A gate among neutral prompts and questions about things never told; shut as long as it has no questions.
    pub(crate) fn among(background: Arc<Background>) -> Self {
        let neutral_to_question = vec![-1.0; background.neutral()];
        Self { background, neutral_to_question, threshold: f32::INFINITY, ..Self::default() }
    }

    /// Whether it stands among these.
    pub(crate) fn is_among(&self, background: &Arc<Background>) -> bool {
        Arc::ptr_eq(&self.background, background)
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
        let mut old: HashMap<String, Beside> = HashMap::new();
        if self.questions.len() > wanted.len() || !self.questions.iter().zip(wanted).all(stays) {
            old.extend(self.questions.drain(..).map(|question| (question.text, question.place)));
            self.neutral_to_question.fill(-1.0);
        }
        for &(card, text) in &wanted[self.questions.len()..] {
            let new = || states.get(text).map(|state| self.background.place(state));
            let Some(place) = old.get(text).cloned().or_else(new) else { continue };
            self.background.approach(&mut self.neutral_to_question, &place);
            self.questions.push(Question { card, text: text.to_owned(), place });
        }
        let others = self.background.among_neutral();
        let mut own: Vec<f32> =
            self.neutral_to_question.iter().zip(others).map(|(to, other)| to - CONTRAST * other).collect();
        own.sort_by(f32::total_cmp);
        self.threshold = quantile(&own, 1.0 - limits.pass);
        self.margin = limits.margin;
    }

    /// Which of the questions about things never told still are, in their order; the others do not shut the gate. None at
    /// all where it is not to ask.
    pub(crate) fn set_untold(&mut self, untold: Vec<bool>) {
        self.untold = untold;
    }

    /// The decision for one prompt.
    pub(crate) fn read(&self, state: &[f32]) -> GateReading {
        let place = self.background.place(state);
        let (to_question, nearest_card) = self.nearest(&place);
        let similarity = to_question - CONTRAST * self.background.nearest_neutral(&place);
        let lead = self.lead(&place);
        let told = lead.is_none_or(|lead| lead > self.margin);
        let scale = if nearest_card.is_some() && similarity > self.threshold && told { 1.0 } else { 0.0 };
        GateReading { similarity, lead, nearest_card, scale }
    }

    /// How much nearer to a learned question than to any about something never told, beside the axis; `None` where there
    /// is none of those.
    fn lead(&self, place: &Beside) -> Option<f32> {
        let to_unknown = self.background.nearest_unknown(place, &self.untold)?;
        let to_questions = self.questions.iter().map(|question| place.nearness_to(&question.place));
        Some(to_questions.fold(-1.0, f32::max) - to_unknown)
    }

    /// Cosine to the nearest learned question, and its card.
    fn nearest(&self, place: &Beside) -> (f32, Option<u64>) {
        self.questions
            .iter()
            .map(|question| (place.cosine(&question.place), Some(question.card)))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or((-1.0, None))
    }
}

/// The value below which the share `q` of sorted `values` lies, interpolated; −1 where there are none.
fn quantile(values: &[f32], q: f32) -> f32 {
    let Some(last) = values.len().checked_sub(1) else { return -1.0 };
    let at = q.clamp(0.0, 1.0) * last as f32;
    let (below, above) = (values[at.floor() as usize], values[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_like_a_learned_one_opens_the_gate_and_a_neutral_prompt_does_not() {
        let neutral: Vec<Vec<f32>> = (0..8).map(|i| vec![1.0, (i as f32).sin(), (i as f32).cos(), 0.0]).collect();
        let mut gate = among(&neutral, &[]);
        gate.set_questions(&[(7, "one")], &states([("one", [1.0, 0.0, 0.0, 5.0])]), pass(0.1));
        let open = gate.read(&[1.0, 0.2, -0.1, 4.0]);
        assert_eq!((open.scale, open.nearest_card), (1.0, Some(7)));
        assert_eq!(gate.read(&[1.0, 0.9, 0.3, 0.0]).scale, 0.0);
    }

    fn among(neutral: &[Vec<f32>], unknown: &[Vec<f32>]) -> Gate {
        Gate::among(Arc::new(Background::around(neutral).with_unknown(unknown)))
    }

    fn pass(pass: f32) -> Limits {
        Limits { pass, margin: 0.0 }
    }

    #[test]
    fn a_question_nearer_to_something_never_told_shuts_the_gate() {
        let neutral: Vec<Vec<f32>> = (0..8).map(|i| vec![1.0, (i as f32).sin(), (i as f32).cos(), 0.0]).collect();
        // "dog" and "boat".
        let mut gate = among(&neutral, &[vec![1.0, 1.0, 0.0, 5.0], vec![1.0, 0.0, -2.0, 5.0]]);
        gate.set_questions(&[(7, "cat")], &states([("cat", [1.0, -1.0, 0.0, 5.0])]), pass(0.1));
        gate.set_untold(vec![true, true]);
        let (cat, dog) = ([1.0, -0.4, 0.1, 5.0], [1.0, 0.4, 0.1, 5.0]);
        assert_eq!((gate.read(&cat).scale, gate.read(&dog).scale), (1.0, 0.0));
        assert!(gate.read(&cat).lead > Some(0.0) && gate.read(&dog).lead < Some(0.0));
        // With a margin it must be nearer by more than that; once something of the dog is told, its question shuts nothing.
        let margin = gate.read(&cat).lead.unwrap();
        gate.set_questions(&[(7, "cat")], &HashMap::new(), Limits { pass: 0.1, margin });
        assert_eq!(gate.read(&cat).scale, 0.0);
        gate.set_untold(vec![false, true]);
        assert!(gate.read(&dog).lead > Some(margin));
        assert_eq!(gate.read(&dog).scale, 1.0);
        gate.set_untold(Vec::new());
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
        let mut at_once = among(&neutral, &[]);
        at_once.set_questions(&[(1, "a"), (1, "b"), (2, "c")], &all, pass(0.3));
        let mut by_turns = among(&neutral, &[]);
        by_turns.set_questions(&[(1, "a"), (3, "c")], &all, pass(0.1));
        // A question that is gone, one that changes its card, one that is new; states only of that one.
        by_turns.set_questions(&[(1, "a")], &HashMap::new(), pass(0.2));
        assert_eq!(by_turns.known(), HashSet::from(["a"]));
        by_turns.set_questions(&[(1, "a"), (1, "b")], &all, pass(0.2));
        by_turns.set_questions(&[(1, "a"), (1, "b"), (2, "c")], &states([("c", [-1.0, 0.5, 0.0, 2.0])]), pass(0.3));
        assert_eq!(reading(&by_turns), reading(&at_once));
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
