//! The loop. Every step draws its episodes from its own number, so that a run can stop and go on anywhere.

use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tmem_core::fast::peft::PeftAdapter;

use super::{EpisodeSettings, EpisodeTexts, Exchange, Texts};
use crate::LearnError;
use crate::model::{Batch, FastWeights, Model, Objective, WeightedLikelihood};
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SftReport {
    /// The step on θ0.
    pub step: StepReport,
    /// Mean over episodes of the first loss of the simulated write.
    pub write_begins: f64,
    /// Mean over episodes of its last loss.
    pub write_ends: f64,
}

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
        let (episodes, config) = (self.settings.episodes, self.step.model().config().clone());
        let (share, mean) = (1.0 / episodes as f32, 1.0 / episodes as f64);
        for number in 0..episodes {
            let number = (self.step.steps() * episodes + number) as u64;
            let texts = self.conversations.texts(number)?;
            let mut random = ChaCha8Rng::seed_from_u64(self.settings.seed);
            random.set_stream(number);
            let episode = texts.draw(self.texts, &self.ordinary, &self.settings.episode, share, &mut random)?;
            let written = Batch::pack(&config, &episode.written, self.settings.row_tokens)?;
            let (delta, losses) = simulate_write(self.step.model(), &self.start, &[written], &self.settings.write)?;
            write_begins += mean * losses.first().map_or(0.0, |loss| loss.total());
            write_ends += mean * losses.last().map_or(0.0, |loss| loss.total());
            batches.push(Batch::pack(&config, &episode.asked, self.settings.row_tokens)?);
            deltas.push(FastWeights::new(&config, &[delta], self.step.model().device())?);
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
