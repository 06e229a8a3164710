//! An agent's way through a stream, as a state machine that asks and is answered.

use std::collections::BTreeSet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{CorrectionStream, Example};
use crate::metrics::recall::is_label;

/// The part of a checkpoint that asks about classes that were new.
pub const NOVEL: &str = "novel";
/// The part that asks about classes that were known before.
pub const ORIGINAL: &str = "original";

/// How a stream is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// Share of wrong answers that are corrected: 1 is the oracle, less a person who does not always bother.
    pub corrected: f64,
    /// Examples of the stream between checkpoints.
    pub checkpoint_every: usize,
    /// Whether a question lists the labels told so far.
    pub list_labels: bool,
    /// Seeds which answers are corrected.
    pub seed: u64,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { corrected: 1.0, checkpoint_every: 50, list_labels: true, seed: 0 }
    }
}

/// What was measured at one point of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Examples of the stream asked so far.
    pub step: usize,
    /// Corrections told so far.
    pub corrections: usize,
    /// Accuracy on classes that were new at the start.
    pub novel: f64,
    /// Accuracy on classes that were known.
    pub original: f64,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Feed this to the agent, with the fixed acknowledgement; then [`CorrectionRun::told`].
    Tell(String),
    /// Ask all of this from the present state, leaving it unchanged; then [`CorrectionRun::answered`]. One question from
    /// the stream, or those of a checkpoint.
    Ask(Vec<String>),
    /// The stream is over.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Telling known example number n.
    Known(usize),
    Checkpoint,
    Stream,
    /// Telling the correction of the last example.
    Correct,
    End,
}

/// A run through a stream. Holds text only, so it can be saved and resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorrectionRun {
    stream: CorrectionStream,
    options: RunOptions,
    phase: Phase,
    step: usize,
    corrections: usize,
    labels: BTreeSet<String>,
    checkpoints: Vec<Checkpoint>,
}

impl CorrectionRun {
    /// A run at its beginning.
    pub fn new(stream: CorrectionStream, options: RunOptions) -> Self {
        let mut run = Self {
            stream,
            options,
            phase: Phase::Known(0),
            step: 0,
            corrections: 0,
            labels: BTreeSet::new(),
            checkpoints: Vec::new(),
        };
        run.skip_known();
        run
    }

    /// The checkpoints so far; the first is before the stream.
    pub fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    /// Examples of the stream asked so far.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Corrections told so far.
    pub fn corrections(&self) -> usize {
        self.corrections
    }

    /// Whether [`Next::Ask`] asks a checkpoint's questions.
    pub fn is_checkpoint(&self) -> bool {
        self.phase == Phase::Checkpoint
    }

    /// The examples of a checkpoint in the order they are asked, each with its part: [`NOVEL`] or [`ORIGINAL`].
    pub fn checkpoint_parts(&self) -> impl Iterator<Item = (&'static str, &Example)> {
        let novel = self.stream.novel.iter().map(|example| (NOVEL, example));
        novel.chain(self.stream.original.iter().map(|example| (ORIGINAL, example)))
    }

    /// Fewest corrections after which the accuracy on new classes had reached `target`; `None` if it never did.
    pub fn corrections_to(&self, target: f64) -> Option<usize> {
        self.checkpoints.iter().find(|checkpoint| checkpoint.novel >= target).map(|checkpoint| checkpoint.corrections)
    }

    /// What comes next; stays the same until it is done.
    pub fn next_step(&self) -> Next {
        match self.phase {
            Phase::Known(at) => self.stream.known.get(at).map_or(Next::End, |example| Next::Tell(told(example))),
            Phase::Correct => match self.last() {
                Some(example) => Next::Tell(format!("That was wrong. {}", told(example))),
                None => Next::End,
            },
            Phase::Stream => {
                let asked = self.stream.stream.get(self.step).map(|example| self.question(example));
                asked.map_or(Next::End, |question| Next::Ask(vec![question]))
            }
            Phase::Checkpoint => Next::Ask(self.checkpoint_examples().map(|example| self.question(example)).collect()),
            Phase::End => Next::End,
        }
    }

    /// The text of [`Next::Tell`] was fed.
    pub fn told(&mut self) {
        match self.phase {
            Phase::Known(at) => {
                self.labels.extend(self.stream.known.get(at).map(|example| example.label.clone()));
                self.phase = Phase::Known(at + 1);
                self.skip_known();
            }
            Phase::Correct => {
                self.labels.extend(self.last().map(|example| example.label.clone()));
                self.corrections += 1;
                self.go_on();
            }
            Phase::Stream | Phase::Checkpoint | Phase::End => {}
        }
    }

    /// The questions of [`Next::Ask`] were answered, in their order; what is missing counts as wrong.
    pub fn answered<S: AsRef<str>>(&mut self, answers: &[S]) {
        let right =
            |example: &Example, at: usize| answers.get(at).is_some_and(|a| is_label(a.as_ref(), &example.label));
        match self.phase {
            Phase::Stream => {
                let Some(example) = self.stream.stream.get(self.step) else { return };
                let wrong = !right(example, 0);
                self.step += 1;
                if wrong && self.is_corrected() {
                    self.phase = Phase::Correct;
                } else {
                    self.go_on();
                }
            }
            Phase::Checkpoint => {
                let share = |examples: &[Example], from: usize| {
                    let hits = examples.iter().enumerate().filter(|(at, example)| right(example, from + at)).count();
                    hits as f64 / examples.len().max(1) as f64
                };
                let novel = share(&self.stream.novel, 0);
                let original = share(&self.stream.original, self.stream.novel.len());
                let (step, corrections) = (self.step, self.corrections);
                self.checkpoints.push(Checkpoint { step, corrections, novel, original });
                self.phase = if self.step < self.stream.stream.len() { Phase::Stream } else { Phase::End };
            }
            Phase::Known(_) | Phase::Correct | Phase::End => {}
        }
    }

    fn last(&self) -> Option<&Example> {
        self.stream.stream.get(self.step.checked_sub(1)?)
    }

    fn checkpoint_examples(&self) -> impl Iterator<Item = &Example> {
        self.stream.novel.iter().chain(&self.stream.original)
    }

    /// Where every known example is told, the first checkpoint comes.
    fn skip_known(&mut self) {
        if matches!(self.phase, Phase::Known(at) if at >= self.stream.known.len()) {
            self.phase = Phase::Checkpoint;
        }
    }

    fn go_on(&mut self) {
        let over = self.step >= self.stream.stream.len();
        let due = self.step.is_multiple_of(self.options.checkpoint_every.max(1));
        self.phase = if over || due { Phase::Checkpoint } else { Phase::Stream };
    }

    /// Drawn for each step by itself, so that a resumed run draws the same.
    fn is_corrected(&self) -> bool {
        let mut random = ChaCha8Rng::seed_from_u64(self.options.seed);
        random.set_stream(self.step as u64);
        random.random_bool(self.options.corrected.clamp(0.0, 1.0))
    }

    fn question(&self, example: &Example) -> String {
        let labels = match (self.options.list_labels, self.labels.is_empty()) {
            (true, false) => {
                let labels: Vec<&str> = self.labels.iter().map(String::as_str).collect();
                format!(" Labels so far: {}.", labels.join(", "))
            }
            _ => String::new(),
        };
        format!(
            "Which label has this message? Answer with the label alone.{labels}\n\nMessage: {}\nLabel:",
            example.text
        )
    }
}

fn told(example: &Example) -> String {
    format!("The label of the message \"{}\" is {}.", example.text, example.label)
}
