//! The loop. Everything in a step follows from its number and the model, so that a run can stop and go on anywhere.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tmem_core::abort::Abort;
use tmem_core::fast::peft::PeftFiles;
use tmem_core::model::HostModel;
use tmem_core::rollout::policy::{Finish, Sampling};
use tmem_core::settings::Settings;

use super::advantage::{advantages, moments};
use super::learn::{Lesson, lesson};
use super::{Episode, Outcome, PolicyGradient, RlSettings, RolloutError, Rollouts, Sampled, Sampler, Task, Tasks};
use super::{check_agent, rollouts};
use crate::LearnError;
use crate::model::{Model, Objective};
use crate::sft::Texts;
use crate::train::{Part, TrainStep};

/// Number of the first task that a run is evaluated on; none is trained on.
const EVALUATION: u64 = 1 << 40;

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum RlError {
    /// Episodes could not be had.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// The learner failed.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// Episodes come from other weights than those that are trained.
    #[error("the episodes' model has the slow adapter {found}, the learner has {expected}: nothing was changed")]
    OtherWeights {
        /// Sha-256 of the sampler's slow adapter.
        found: String,
        /// Sha-256 of the learner's.
        expected: String,
    },
    /// Sampler and learner disagree.
    #[error(
        "the learner's log-probabilities are {mean:.4} nats from those that were sampled by on average ({largest:.4} at \
         most), more than max_gap = {limit}: nothing was changed. The two compute different models, or max_gap is too \
         strict for this model's number format"
    )]
    Gap {
        /// Mean difference.
        mean: f64,
        /// Largest difference.
        largest: f64,
        /// What is allowed.
        limit: f64,
    },
    /// The gradient is too long.
    #[error(
        "the gradient's norm is {norm:.1}, more than largest_gradient = {limit}: nothing was changed. Use a smaller \
         learning rate, or raise the limit"
    )]
    Gradient {
        /// Its norm.
        norm: f64,
        /// What is allowed.
        limit: f64,
    },
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RlReport {
    /// Number of the step, from 0.
    pub step: usize,
    /// Mean reward.
    pub reward: f64,
    /// Standard deviation of the rewards.
    pub reward_deviation: f64,
    /// Groups whose rewards differ; the others teach nothing.
    pub groups_that_differ: usize,
    /// Mean outcome.
    pub outcome: Outcome,
    /// Mean number of tokens sampled in an episode.
    pub tokens: f64,
    /// Share of actions that reached their token limit.
    pub truncated: f64,
    /// Mean difference between the learner's log-probabilities and those that were sampled by, in nats.
    pub gap: f64,
    /// The largest one.
    pub largest_gap: f64,
    /// Estimate of KL(current ‖ base) at the sampled tokens, in nats; 0 where beta is.
    pub divergence: f64,
    /// The loss, before the step.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
}

/// How well the model does on tasks that it is not trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps taken before it.
    pub step: usize,
    /// Mean reward.
    pub reward: f64,
    /// Mean outcome.
    pub outcome: Outcome,
}

/// A reinforcement run.
pub struct Rl<'a> {
    step: TrainStep,
    texts: Texts<'a>,
    tasks: &'a dyn Tasks,
    agent: Settings,
    settings: RlSettings,
}

impl<'a> Rl<'a> {
    /// Prepares a run; `agent` says how the agent lives.
    ///
    /// # Errors
    /// Nothing is trained, or settings out of range.
    pub fn new(
        model: Model,
        texts: Texts<'a>,
        tasks: &'a dyn Tasks,
        mut agent: Settings,
        settings: RlSettings,
    ) -> Result<Self, LearnError> {
        settings.check()?;
        check_agent(&agent)?;
        agent.rollout.writer_tokens = settings.max_completion_length;
        agent.sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        Ok(Self { step: TrainStep::new(model, settings.train)?, texts, tasks, agent, settings })
    }

    /// The settings that the agent lives under.
    pub fn agent(&self) -> &Settings {
        &self.agent
    }

    /// The model in training.
    pub fn model(&self) -> &Model {
        self.step.model()
    }

    /// The slow adapter as it is now, as PEFT's files, and their hash.
    ///
    /// # Errors
    /// Another part of the model is trained, or a failure of the device.
    pub fn slow_adapter(&self, host: &HostModel) -> Result<(PeftFiles, String), LearnError> {
        let adapter = self.model().slow_adapter().ok_or(LearnError::NothingTrained)?;
        adapter.export(&host.config, &host.name)
    }

    /// Steps taken, each with a set of episodes of its own.
    pub fn steps(&self) -> usize {
        self.step.steps() / self.settings.num_iterations
    }

    /// One step with episodes sampled from `model`, whose weights must be those that are trained. Also returns the
    /// episodes.
    ///
    /// # Errors
    /// [`RlError`]; the trained weights are then as they were.
    pub async fn step<S: Sampler>(
        &mut self,
        model: &mut S,
        expected: &str,
        abort: &Abort,
    ) -> Result<(RlReport, Vec<Vec<Episode>>), RlError> {
        match model.slow_adapter() {
            Some(found) if found == expected => {}
            found => {
                let found = found.unwrap_or("(none)").to_owned();
                return Err(RlError::OtherWeights { found, expected: expected.to_owned() });
            }
        }
        let step = self.steps();
        let first = (step * self.settings.tasks) as u64;
        let sampled =
            self.sample(model, first, self.settings.tasks, self.settings.num_generations, &self.agent, abort).await?;
        let report = self.learn(step, &sampled)?;
        Ok((report, sampled.groups))
    }

    /// Lives through tasks that are not trained on; at temperature 0 greedily.
    ///
    /// # Errors
    /// A failure of the model, or an abort.
    pub async fn evaluate<S: Sampler>(
        &self,
        model: &mut S,
        tasks: usize,
        temperature: f32,
        abort: &Abort,
    ) -> Result<(Evaluation, Vec<Vec<Episode>>), RlError> {
        let sampling = Sampling { temperature, ..Sampling::default() };
        let agent = Settings { sampling, ..self.agent.clone() };
        let sampled = self.sample(model, EVALUATION, tasks, 1, &agent, abort).await?;
        let episodes = || sampled.groups.iter().flatten();
        let rewards: Vec<f64> = episodes().map(|episode| episode.reward).collect();
        let outcome = Outcome::mean(episodes().map(|episode| &episode.outcome));
        Ok((Evaluation { step: self.steps(), reward: moments(&rewards).0, outcome }, sampled.groups))
    }

    async fn sample<S: Sampler>(
        &self,
        model: &mut S,
        first: u64,
        tasks: usize,
        generations: usize,
        agent: &Settings,
        abort: &Abort,
    ) -> Result<Rollouts, RlError> {
        let numbers = first..first + tasks as u64;
        let tasks = numbers
            .map(|number| Ok((number, self.tasks.task(number)?)))
            .collect::<Result<Vec<(u64, Task)>, LearnError>>()?;
        let sampled = Sampled { settings: agent, reward: &self.settings.reward, generations, seed: self.settings.seed };
        Ok(rollouts(model, &tasks, sampled, abort).await?)
    }

    /// Learns from episodes.
    fn learn(&mut self, step: usize, sampled: &Rollouts) -> Result<RlReport, RlError> {
        let settings = self.settings;
        let rewards: Vec<Vec<f64>> =
            sampled.groups.iter().map(|group| group.iter().map(|episode| episode.reward).collect()).collect();
        let advantages = advantages(&rewards, settings.estimator, settings.scale_rewards);
        let differ = |group: &&Vec<f64>| group.iter().any(|reward| Some(reward) != group.first());
        let all = rewards.concat();
        let (reward, reward_deviation) = moments(&all);
        let segments = || sampled.groups.iter().flatten().flat_map(|episode| &episode.segments);
        let truncated = segments().filter(|segment| segment.finish == Finish::Length).count();
        let tokens: usize = segments().map(|segment| segment.tokens.len()).sum();
        let mut report = RlReport {
            step,
            reward,
            reward_deviation,
            groups_that_differ: rewards.iter().filter(differ).count(),
            outcome: Outcome::mean(sampled.groups.iter().flatten().map(|episode| &episode.outcome)),
            tokens: tokens as f64 / all.len().max(1) as f64,
            truncated: truncated as f64 / segments().count().max(1) as f64,
            gap: 0.0,
            largest_gap: 0.0,
            divergence: 0.0,
            loss: 0.0,
            gradient_norm: 0.0,
            learning_rate: settings.train.schedule.rate(self.step.steps()),
        };
        let lesson = lesson(self.step.model(), self.texts, sampled, &advantages, &settings)?;
        let mut old: Option<Vec<Vec<f32>>> = None;
        for iteration in 0..settings.num_iterations {
            if lesson.batches.is_empty() {
                self.step.skip();
                continue;
            }
            old = Some(self.iterate(iteration, &lesson, old, &mut report)?);
        }
        Ok(report)
    }

    /// One step of the optimizer. Returns the log-probabilities that ratios are taken to.
    fn iterate(
        &mut self,
        iteration: usize,
        lesson: &Lesson,
        old: Option<Vec<Vec<f32>>>,
        report: &mut RlReport,
    ) -> Result<Vec<Vec<f32>>, RlError> {
        let RlSettings { epsilon, epsilon_high, max_gap, largest_gradient, .. } = self.settings;
        let mut objectives = Vec::with_capacity(lesson.batches.len());
        for (at, sampled) in lesson.batches.iter().enumerate() {
            let old = old.as_ref().and_then(|old| old.get(at)).map(Vec::as_slice);
            objectives.push(PolicyGradient::new(&sampled.batch, old, epsilon, epsilon_high));
        }
        let parts = lesson.batches.iter().zip(&objectives).map(|(sampled, objective)| Part {
            batch: &sampled.batch,
            fast: lesson.fast.as_ref(),
            objective: objective as &dyn Objective,
        });
        let gradients = self.step.gradients(&parts.collect::<Vec<_>>())?;
        let first = iteration == 0;
        let mut current = Vec::with_capacity(objectives.len());
        for objective in &objectives {
            current.push(objective.log_probabilities()?);
        }
        if first {
            report.divergence = divergence(lesson, &current);
            let sampled = lesson.batches.iter().flat_map(|sampled| &sampled.log_probabilities);
            let gaps: Vec<f64> =
                current.iter().flatten().zip(sampled).map(|(now, then)| f64::from(now - then).abs()).collect();
            report.gap = moments(&gaps).0;
            report.largest_gap = gaps.iter().copied().fold(0.0, f64::max);
            if report.gap.is_nan() || report.gap > max_gap {
                return Err(RlError::Gap { mean: report.gap, largest: report.largest_gap, limit: max_gap });
            }
        }
        if gradients.norm > largest_gradient {
            return Err(RlError::Gradient { norm: gradients.norm, limit: largest_gradient });
        }
        let step = self.step.update(gradients);
        if first {
            (report.loss, report.gradient_norm) = (step.objective, step.gradient_norm);
        }
        Ok(if first { current } else { old.unwrap_or(current) })
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

/// Mean over the targets that have a reference of e^δ − δ − 1 with δ = log p_ref − log p: an estimate of
/// KL(current ‖ base). 0 without any.
fn divergence(lesson: &Lesson, current: &[Vec<f32>]) -> f64 {
    let targets = lesson.batches.iter().flat_map(|sampled| sampled.batch.targets());
    let apart = targets.zip(current.iter().flatten());
    let apart = apart.filter_map(|(target, now)| Some(f64::from(target.reference?.log_probability - now)));
    moments(&apart.map(|apart| apart.exp() - apart - 1.0).collect::<Vec<_>>()).0
}
