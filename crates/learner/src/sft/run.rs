//! The loop. Every step draws its episodes from its own number, so that a run can stop and go on anywhere.

use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tmem_core::fast::peft::PeftAdapter;
use tmem_eval::stats::MeanSd;

use super::episode::Episode;
use super::{EpisodeSettings, EpisodeTexts, Exchange, Texts};
use crate::LearnError;
use crate::model::{Batch, FastWeights, LossSums, Model, Objective, Sequence, State, WeightedLikelihood};
use crate::train::{Part, StepReport, TrainSettings, TrainStep, WriteSettings, simulate_write};

/// How a supervised run goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftSettings {
    /// Seeds what is drawn from a conversation.
    pub seed: u64,
    /// Episodes of a step.
    pub episodes: usize,
    /// What an episode is.
    pub episode: EpisodeSettings,
    /// The simulated write.
    pub write: WriteSettings,
    /// Optimizer and schedule.
    pub train: TrainSettings,
    /// Tokens of a packed row.
    pub row_tokens: usize,
}

impl Default for SftSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            episodes: 2,
            episode: EpisodeSettings::default(),
            write: WriteSettings::default(),
            train: TrainSettings::default(),
            row_tokens: 256,
        }
    }
}

/// Where episodes come from: the texts of conversation number `number`, the same for the same number.
pub trait Conversations {
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

/// How the model does on what it is not trained on, in nats a token. A term without any tokens is 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SftEvaluation {
    /// Steps taken before.
    pub step: usize,
    /// Mean −log p of the answers to held-out wordings of what was just written, under its Δ.
    pub held_out: f64,
    /// Mean −log p of saying that something was never told, with a Δ and without.
    pub unknown: f64,
    /// Mean −log p of the cards of pieces of a conversation.
    pub writing: f64,
    /// Mean of log p_base − log p over the base model's own replies to ordinary prompts.
    pub ordinary: f64,
}

impl SftEvaluation {
    /// One figure for all, weighed as the parts of an episode are.
    pub fn loss(&self, episode: &EpisodeSettings) -> f64 {
        let (writing, ordinary) = (f64::from(episode.transcripts_weight), f64::from(episode.ordinary_weight));
        (self.held_out + self.unknown) / 2.0 + writing * self.writing + ordinary * self.ordinary
    }
}

/// The first episode that an evaluation draws; no run is that long.
const FIRST_EVALUATED: u64 = 1 << 40;

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
        if settings.episodes == 0 {
            let (name, value) = ("episodes", "0".to_owned());
            return Err(LearnError::Setting { name, value, expected: "at least 1".into() });
        }
        start.sites.iter_mut().for_each(|site| site.b.fill(0.0));
        let step = TrainStep::new(model, settings.train)?;
        Ok(Self { step, texts, conversations, start, ordinary, settings })
    }

    /// The model in training, and the steps taken.
    pub fn state(&self) -> &TrainStep {
        &self.step
    }

    /// One step: its episodes one after the other, then one step of the optimizer.
    ///
    /// # Errors
    /// Conversations that cannot be generated, texts that do not fit the model, a loss that is not finite, or a
    /// failure of the device.
    pub fn step(&mut self) -> Result<SftReport, LearnError> {
        let (mut batches, mut deltas) = (Vec::new(), Vec::new());
        let (mut write_begins, mut write_ends) = (0.0, 0.0);
        let episodes = self.settings.episodes;
        let (share, mean) = (1.0 / episodes as f32, 1.0 / episodes as f64);
        for number in 0..episodes {
            let episode = self.episode((self.step.steps() * episodes + number) as u64)?;
            let (delta, losses) = self.write(&episode)?;
            write_begins += mean * losses.first().map_or(0.0, |loss| loss.total());
            write_ends += mean * losses.last().map_or(0.0, |loss| loss.total());
            batches.push(self.pack(&episode.lesson(&self.settings.episode, share))?);
            deltas.push(delta);
        }
        let objectives: Vec<_> = batches.iter().map(|batch| WeightedLikelihood { batch }).collect();
        let parts = batches.iter().zip(&deltas).zip(&objectives).map(|((batch, fast), objective)| Part {
            batch,
            fast: Some(fast),
            objective: objective as &dyn Objective,
        });
        let step = self.step.apply(&parts.collect::<Vec<_>>())?;
        Ok(SftReport { step, write_begins, write_ends })
    }

    /// How the model does on `episodes` episodes that are never trained on.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn evaluate(&self, episodes: usize) -> Result<SftEvaluation, LearnError> {
        let (mut held_out, mut unknown, mut writing, mut apart) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for number in 0..episodes as u64 {
            let episode = self.episode(FIRST_EVALUATED + number)?;
            let (delta, _) = self.write(&episode)?;
            for (sequences, losses) in
                [(&episode.held_out, &mut held_out), (&episode.unknown, &mut unknown), (&episode.writing, &mut writing)]
            {
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
        let (model, written) = (self.step.model(), self.pack(&episode.written())?);
        let (delta, losses) = simulate_write(model, &self.start, &[written], &self.settings.write)?;
        Ok((FastWeights::new(model.config(), &[delta], model.device())?, losses))
    }

    fn pack(&self, sequences: &[Sequence]) -> Result<Batch, LearnError> {
        Batch::pack(self.step.model().config(), sequences, self.settings.row_tokens)
    }

    /// Log-probabilities of all targets; none where there is nothing to ask.
    fn log_probabilities(
        &self,
        state: State,
        sequences: &[Sequence],
        delta: &FastWeights,
    ) -> Result<Vec<f64>, LearnError> {
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let values = self.step.model().log_probabilities(state, &self.pack(sequences)?, Some(delta))?;
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
