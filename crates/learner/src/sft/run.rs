//! The loop. Every step draws its episodes from its own number, so that a run can stop and go on anywhere.

use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tmem_core::fast::peft::PeftAdapter;
use tmem_eval::stats::MeanSd;

use super::episode::Episode;
use super::{EpisodeSettings, EpisodeTexts, Exchange, Texts};
use crate::LearnError;
use crate::model::{Batch, FastWeights, LossSums, Model, Sequence, State, WeightedLikelihood};
use crate::train::{GradientSum, Part, StepReport, TrainSettings, TrainStep, WriteSettings, simulate_write};

/// How a supervised run goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftSettings {
    /// Seeds what is drawn from a conversation.
    pub seed: u64,
    /// Episodes of a step.
    pub episodes: usize,
    /// How many of them are computed side by side. Nothing but time and memory depends on it.
    pub episodes_at_once: usize,
    /// What an episode is.
    pub episode: EpisodeSettings,
    /// The simulated write.
    pub write: WriteSettings,
    /// Optimizer and schedule.
    pub train: TrainSettings,
    /// Tokens of a packed row; a sequence that is longer stands alone. Attention costs the square of it.
    pub row_tokens: usize,
}

impl Default for SftSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            episodes: 2,
            episodes_at_once: 1,
            episode: EpisodeSettings::default(),
            write: WriteSettings::default(),
            train: TrainSettings::default(),
            row_tokens: 64,
        }
    }
}

/// Where episodes come from: the texts of conversation number `number`, the same for the same number.
pub trait Conversations: Sync {
    /// What is told in a conversation and what is not.
    ///
    /// # Errors
    /// A conversation that cannot be made.
    fn texts(&self, number: u64) -> Result<EpisodeTexts, LearnError>;
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SftReport {
    /// The step on θ0.
    pub step: StepReport,
    /// Mean over episodes of the first loss of the simulated write.
    pub write_begins: f64,
    /// Mean over episodes of its last loss.
    pub write_ends: f64,
}

/// What a step learns from an episode, or from several.
#[derive(Default)]
struct Learned {
    gradients: GradientSum,
    write_begins: f64,
    write_ends: f64,
}

/// How the model does on what it is not trained on, in nats a token. A term without any tokens is 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SftEvaluation {
    /// Steps taken before.
    pub step: usize,
    /// Mean −log p of the answers to held-out wordings of what was just written, under its Δ.
    pub held_out: f64,
    /// Mean −log p of saying under Δ that what it does not hold is not known.
    pub unknown: f64,
    /// Mean −log p of saying so without Δ.
    pub before: f64,
    /// Mean −log p of answers that the context holds.
    pub reading: f64,
    /// Mean −log p of the cards of pieces of a conversation.
    pub writing: f64,
    /// Mean of log p_base − log p over the base model's own replies to ordinary prompts.
    pub ordinary: f64,
}

impl SftEvaluation {
    /// One figure for all, weighed as the parts of an episode are.
    pub fn loss(&self, episode: &EpisodeSettings) -> f64 {
        let Self { step: _, held_out, unknown, before, reading, writing, ordinary } = *self;
        let parts = [
            (episode.held_out, held_out),
            (episode.unknown, unknown),
            (episode.before, before),
            (episode.reading, reading),
            (episode.transcripts, writing),
            (episode.ordinary, ordinary),
        ];
        parts.iter().map(|(part, value)| f64::from(part.weight) * value).sum()
    }
}

/// The first episode that an evaluation draws; no run is that long.
pub(super) const FIRST_EVALUATED: u64 = 1 << 40;

/// A supervised run.
pub struct Sft<'a> {
    step: TrainStep,
    texts: Texts<'a>,
    conversations: &'a dyn Conversations,
    /// A of the fast weights, with B = 0.
    start: PeftAdapter,
    ordinary: Vec<Exchange>,
    settings: SftSettings,
}

impl<'a> Sft<'a> {
    /// Prepares a run. `start` has the A of the fast weights (the engine's
    /// [`export_peft`](tmem_core::engine::Engine::export_peft) before anything was learned); `ordinary` are prompts
    /// with the base model's own replies.
    ///
    /// # Errors
    /// Nothing is trained, or settings out of range.
    pub fn new(
        model: Model,
        texts: Texts<'a>,
        conversations: &'a dyn Conversations,
        mut start: PeftAdapter,
        ordinary: Vec<Exchange>,
        settings: SftSettings,
    ) -> Result<Self, LearnError> {
        for (name, count) in [("episodes", settings.episodes), ("episodes_at_once", settings.episodes_at_once)] {
            if count == 0 {
                return Err(LearnError::Setting { name, value: "0".to_owned(), expected: "at least 1".into() });
            }
        }
        start.sites.iter_mut().for_each(|site| site.b.fill(0.0));
        let step = TrainStep::new(model, settings.train)?;
        Ok(Self { step, texts, conversations, start, ordinary, settings })
    }

    /// The model in training, and the steps taken.
    pub fn state(&self) -> &TrainStep {
        &self.step
    }

    /// One step: its episodes, then one step of the optimizer.
    ///
    /// # Errors
    /// Conversations that cannot be generated, texts that do not fit the model, a loss that is not finite, or a
    /// failure of the device.
    pub fn step(&mut self) -> Result<SftReport, LearnError> {
        let count = self.settings.episodes;
        let first = (self.step.steps() * count) as u64;
        let episodes = (0..count as u64).map(|number| self.episode(first + number)).collect::<Result<Vec<_>, _>>()?;
        let mut learned = Learned::default();
        for together in episodes.chunks(self.settings.episodes_at_once) {
            let this = &*self;
            let results = thread::scope(|scope| {
                let threads: Vec<_> =
                    together.iter().map(|episode| scope.spawn(move || this.learn_from(episode))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
            });
            // In the order of the episodes, whichever was done first: sums of floats depend on it.
            let results: Vec<Result<Learned, LearnError>> = results;
            for result in results {
                let Learned { gradients, write_begins, write_ends } = result?;
                learned.gradients.add(gradients);
                learned.write_begins += write_begins;
                learned.write_ends += write_ends;
            }
        }
        let gradients = self.step.finish(learned.gradients)?;
        let (write_begins, write_ends) = (learned.write_begins / count as f64, learned.write_ends / count as f64);
        Ok(SftReport { step: self.step.update(gradients), write_begins, write_ends })
    }

    /// Lives through an episode of a step.
    fn learn_from(&self, episode: &Episode) -> Result<Learned, LearnError> {
        let (delta, losses) = self.write(episode)?;
        let batches = self.pack(&episode.lesson(&self.settings.episode, 1.0 / self.settings.episodes as f32))?;
        let objectives: Vec<_> = batches.iter().map(|batch| WeightedLikelihood { batch }).collect();
        let parts = batches.iter().zip(&objectives);
        let parts = parts.map(|(batch, objective)| Part { batch, fast: Some(&delta), objective });
        Ok(Learned {
            gradients: self.step.sum(&parts.collect::<Vec<_>>())?,
            write_begins: losses.first().map_or(0.0, |loss| loss.total()),
            write_ends: losses.last().map_or(0.0, |loss| loss.total()),
        })
    }

    /// How the model does on `episodes` episodes that are never trained on.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn evaluate(&self, episodes: usize) -> Result<SftEvaluation, LearnError> {
        let [mut held_out, mut unknown, mut before, mut reading, mut writing, mut apart] = [const { Vec::new() }; 6];
        for number in 0..episodes as u64 {
            let episode = self.episode(FIRST_EVALUATED + number)?;
            let (delta, _) = self.write(&episode)?;
            for (sequences, losses) in [
                (&episode.held_out, &mut held_out),
                (&episode.unknown, &mut unknown),
                (&episode.before, &mut before),
                (&episode.reading, &mut reading),
                (&episode.writing, &mut writing),
            ] {
                losses.extend(self.log_probabilities(State::Trained, sequences, &delta)?.iter().map(|p| -p));
            }
            let base = self.log_probabilities(State::Base, &episode.ordinary, &delta)?;
            let now = self.log_probabilities(State::Trained, &episode.ordinary, &delta)?;
            apart.extend(base.iter().zip(&now).map(|(base, now)| base - now));
        }
        let mean = |values: &[f64]| MeanSd::of(values).map_or(0.0, |of| of.mean);
        Ok(SftEvaluation {
            step: self.step.steps(),
            held_out: mean(&held_out),
            unknown: mean(&unknown),
            before: mean(&before),
            reading: mean(&reading),
            writing: mean(&writing),
            ordinary: mean(&apart),
        })
    }

    /// Episode number `number` of all there are.
    fn episode(&self, number: u64) -> Result<Episode, LearnError> {
        let mut random = ChaCha8Rng::seed_from_u64(self.settings.seed);
        random.set_stream(number);
        let texts = self.conversations.texts(number)?;
        texts.draw(self.texts, &self.ordinary, &self.settings.episode, &mut random)
    }

    /// Δ after an episode's write, and the write's losses.
    fn write(&self, episode: &Episode) -> Result<(FastWeights, Vec<LossSums>), LearnError> {
        let model = self.step.model();
        let config = model.config();
        if episode.written.is_empty() {
            return Ok((FastWeights::new(config, std::slice::from_ref(&self.start), model.device())?, Vec::new()));
        }
        let pack = |sequences: &Vec<Sequence>| Batch::pack(config, sequences, self.settings.row_tokens);
        let batches = episode.written().iter().map(pack).collect::<Result<Vec<_>, _>>()?;
        let (delta, losses) = simulate_write(model, &self.start, &batches, &self.settings.write)?;
        Ok((FastWeights::new(model.config(), &[delta], model.device())?, losses))
    }

    /// Short sequences in rows together, each that is longer than a row in a batch of its own: no short one is padded
    /// to a long one's length.
    fn pack(&self, sequences: &[Sequence]) -> Result<Vec<Batch>, LearnError> {
        let (config, row) = (self.step.model().config(), self.settings.row_tokens);
        let (short, long): (Vec<Sequence>, Vec<Sequence>) =
            sequences.iter().cloned().partition(|sequence| sequence.tokens.len() <= row);
        let short = Some(short.as_slice()).filter(|short| !short.is_empty());
        short.into_iter().chain(long.chunks(1)).map(|sequences| Batch::pack(config, sequences, row)).collect()
    }

    /// Log-probabilities of all targets, in any order; none where there is nothing to ask.
    fn log_probabilities(
        &self,
        state: State,
        sequences: &[Sequence],
        delta: &FastWeights,
    ) -> Result<Vec<f64>, LearnError> {
        let mut values = Vec::new();
        for batch in self.pack(sequences)? {
            values.extend(self.step.model().log_probabilities(state, &batch, Some(delta))?);
        }
        Ok(values.into_iter().map(f64::from).collect())
    }

    /// [`TrainStep::save_to`].
    ///
    /// # Errors
    /// What the operating system or the device says.
    pub fn save(&self, folder: &Path, keep: usize) -> Result<(), LearnError> {
        self.step.save_to(folder, keep)
    }

    /// [`TrainStep::resume_from`].
    ///
    /// # Errors
    /// A checkpoint that cannot be read or is not of this run.
    pub fn resume(&mut self, folder: &Path) -> Result<bool, LearnError> {
        self.step.resume_from(folder)
    }
}
