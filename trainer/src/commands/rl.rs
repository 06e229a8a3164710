//! `trainer rl`: reinforcement learning of a base model.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use tmem_core::abort::Abort;
use tmem_core::engine::{BatchRoom, Engine};
use tmem_core::fast::peft::PeftFiles;
use tmem_core::model::HostModel;
use tmem_core::settings::Settings;
use tmem_gpu::Gpu;
use tmem_learner::Backend;
use tmem_learner::model::{Model, Precision, SlowAdapter, SlowSettings};
use tmem_learner::rl::{Episode, Evaluation, Rl, RlError, RlReport, RlSettings, RolloutError, TaskSettings, Tasks};
use tmem_learner::sft::Texts;

use super::episodes;
use super::peft;
use super::run_folder::{ADAPTER, BEST, CHECKPOINTS, Lines, METRICS, TENSORBOARD, begin, read_config};
use crate::cli::{Common, TrainingArguments};
use crate::interrupt::{Stopped, on_interrupt};
use crate::session::{check_kernels, load_model, open_gpu, style, tune};
use crate::slow_adapter::SlowChoice;
use crate::tensorboard::EventFile;

/// A line for each evaluation.
pub(super) const EVALUATIONS: &str = "evaluations.jsonl";

/// A run, as its file describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RlConfig {
    backend: Backend,
    /// In what the layers' frozen matrices are held.
    #[serde(default)]
    precision: Precision,
    /// Whether cheap results are computed again instead of being kept.
    #[serde(default)]
    gradient_checkpointing: bool,
    /// Steps of the run, each with episodes of its own.
    steps: usize,
    /// Steps from one checkpoint to the next.
    checkpoint_every: usize,
    /// Checkpoints that are kept.
    keep: usize,
    /// Steps from one evaluation to the next; there is one before the first step and one after the last.
    evaluate_every: usize,
    /// Tasks of an evaluation; none is trained on.
    evaluation_tasks: usize,
    /// Temperature of an evaluation; 0 is greedy, as the agent answers people.
    #[serde(default)]
    evaluation_temperature: f32,
    /// Steps from one whose episodes are written down to the next; 0 = none.
    #[serde(default)]
    episodes_every: usize,
    /// Tokens of all episodes' sequences that the cache holds at once; 0 = two of the longest prompts. With more, more
    /// episodes are one batch.
    #[serde(default, skip_serializing_if = "is_zero")]
    cache_tokens: usize,
    /// How the agent lives.
    #[serde(default)]
    agent: Settings,
    #[serde(default)]
    slow: SlowSettings,
    tasks: TaskSettings,
    rl: RlSettings,
}

/// What is not set is not written, so that runs from before it was there go on.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl RlConfig {
    fn read(path: &Path, common: &Common) -> Result<Self> {
        let mut config: Self = read_config(path, &common.set)?;
        if let Some(seed) = common.seed {
            (config.rl.seed, config.slow.seed) = (seed, seed);
        }
        let counts = [
            ("steps", config.steps),
            ("checkpoint_every", config.checkpoint_every),
            ("evaluate_every", config.evaluate_every),
            ("evaluation_tasks", config.evaluation_tasks),
        ];
        for (name, count) in counts {
            ensure!(count > 0, "{name} must be at least 1");
        }
        config.agent.validate()?;
        config.rl.check()?;
        Ok(config)
    }
}

/// What a run is, for a folder that is gone on with.
#[derive(Serialize)]
struct Record<'a> {
    config: &'a RlConfig,
    /// Sha-256 of the model file.
    model: &'a str,
    /// Sha-256 of the adapter that the run begins with.
    slow_adapter: Option<&'a str>,
}

/// Runs the command.
pub(crate) async fn run(common: &Common, arguments: &TrainingArguments) -> Result<()> {
    let config = RlConfig::read(&arguments.config, common)?;
    let tasks = config.tasks.open()?;
    let device = config.backend.device(config.gradient_checkpointing)?;
    let model_file = tmem_fetch::ensure_model(common.model.as_deref())?;
    if arguments.dry_run {
        println!("{}", serde_json::to_string_pretty(&config)?);
        return Ok(());
    }
    let (abort, folder) = (on_interrupt()?, arguments.folder("rl"));
    let folder = folder.as_path();
    let host = HostModel::read(File::open(&model_file)?)?;
    let begins_with = common.slow_adapter.as_ref().map_or(Ok(None), SlowChoice::files)?;
    let sha256 = begins_with.as_ref().map(PeftFiles::sha256);
    let _lock = begin(folder, &Record { config: &config, model: &host.sha256, slow_adapter: sha256.as_deref() })?;
    let slow = SlowAdapter::begin(begins_with.as_ref(), &host.config, &config.slow, &device)?;
    eprintln!("training {} values for {} steps on {}", slow.parameters(), config.steps, config.backend.name());
    let model = Model::new(&host, &device).with_precision(config.precision).with_slow_adapter(slow);
    let texts = Texts::new(&host, &config.agent.rollout);
    let mut rl = Rl::new(model, texts, tasks.as_ref(), config.agent.clone(), config.rl)?;
    if rl.resume(&folder.join(CHECKPOINTS))? {
        eprintln!("going on after step {}", rl.steps());
    }
    let gpu = open_gpu(common).await?;
    check_kernels(&gpu).await?;
    let mut run = Run::open(&config, folder, rl.steps(), tasks.as_ref())?;
    let sampler = Sampler { gpu, model_file, host: &host, cache_tokens: config.cache_tokens, abort };
    let outcome = train(&mut rl, &sampler, &mut run).await;
    if outcome.as_ref().is_err_and(|error| error.is::<Stopped>()) {
        // Ctrl-C loses the step under way and nothing else.
        rl.save(&folder.join(CHECKPOINTS), config.keep)?;
    }
    outcome
}

/// Takes steps until the run is at its end.
async fn train(rl: &mut Rl<'_>, sampler: &Sampler<'_>, run: &mut Run<'_>) -> Result<()> {
    let (config, abort) = (run.config, &sampler.abort);
    loop {
        let (files, sha256) = rl.slow_adapter(sampler.host)?;
        let mut engine = sampler.engine(files.clone(), rl.agent()).await?;
        if rl.steps().is_multiple_of(config.evaluate_every) || rl.steps() == config.steps {
            let (tasks, temperature) = (config.evaluation_tasks, config.evaluation_temperature);
            let (evaluation, episodes) = unless_stopped(rl.evaluate(&mut engine, tasks, temperature, abort).await)?;
            run.evaluated(&evaluation, &episodes, &files)?;
        }
        if rl.steps() == config.steps {
            run.bar.finish_and_clear();
            let folder = run.folder.join(ADAPTER);
            peft::put(&folder, &files)?;
            eprintln!("wrote {} ({sha256}); try it with --slow-adapter", folder.display());
            return Ok(());
        }
        let began = Instant::now();
        let (report, episodes) = unless_stopped(rl.step(&mut engine, &sha256, abort).await)?;
        run.stepped(&report, &episodes, began, sampler.gpu.memory().peak() >> 20)?;
        if rl.steps().is_multiple_of(config.checkpoint_every) || rl.steps() == config.steps {
            rl.save(&run.folder.join(CHECKPOINTS), config.keep)?;
        }
        run.check_collapse()?;
    }
}

/// What makes the models that live through episodes.
struct Sampler<'a> {
    gpu: Gpu,
    model_file: PathBuf,
    host: &'a HostModel,
    cache_tokens: usize,
    abort: Abort,
}

impl Sampler<'_> {
    /// The model with a slow adapter merged into it.
    async fn engine(&self, slow: PeftFiles, agent: &Settings) -> Result<Engine> {
        let loaded = load_model(&self.gpu, &self.model_file, Some(slow), &ProgressBar::hidden(), &self.abort);
        let model = loaded.with_context(|| format!("cannot load {}", self.model_file.display()))?;
        tune(&self.gpu, &model).await?;
        let mut engine = Engine::new(&self.gpu, model, agent).await?;
        engine.reserve(BatchRoom { tokens: self.cache_tokens, ..BatchRoom::default() })?;
        Ok(engine)
    }
}

/// Being stopped is no failure.
fn unless_stopped<T>(outcome: Result<T, RlError>) -> Result<T> {
    match outcome {
        Err(RlError::Rollout(RolloutError::Aborted)) => Err(Stopped.into()),
        outcome => Ok(outcome?),
    }
}

/// What a run leaves in its folder.
struct Run<'a> {
    config: &'a RlConfig,
    folder: PathBuf,
    tasks: &'a dyn Tasks,
    metrics: Lines,
    evaluations: Lines,
    tensorboard: EventFile,
    bar: ProgressBar,
    /// Reward of the best evaluation so far.
    best: Option<f64>,
    /// Latest steps in a row in which no group's rewards differed.
    flat: usize,
}

impl<'a> Run<'a> {
    /// Goes on after `steps` steps.
    fn open(config: &'a RlConfig, folder: &Path, steps: usize, tasks: &'a dyn Tasks) -> Result<Self> {
        let (metrics, reports) = Lines::open::<RlReport>(folder, METRICS, steps)?;
        let evaluated = steps.div_ceil(config.evaluate_every);
        let (evaluations, earlier) = Lines::open::<Evaluation>(folder, EVALUATIONS, evaluated)?;
        let bar = ProgressBar::new(config.steps as u64).with_style(style("{pos}/{len} {eta}"));
        bar.set_position(steps as u64);
        let tensorboard = EventFile::create(&folder.join(TENSORBOARD))?;
        let (folder, best, flat) = (folder.to_owned(), None, 0);
        let mut run = Self { config, folder, tasks, metrics, evaluations, tensorboard, bar, best, flat };
        for evaluation in &earlier {
            run.count_evaluation(evaluation)?;
        }
        for report in &reports {
            run.count_step(report)?;
        }
        Ok(run)
    }

    fn evaluated(&mut self, evaluation: &Evaluation, episodes: &[Vec<Episode>], files: &PeftFiles) -> Result<()> {
        let name = format!("evaluation-{:06}", evaluation.step);
        episodes::write(&self.folder, &name, self.tasks, episodes)?;
        if self.best.is_none_or(|best| evaluation.reward > best) {
            peft::put(&self.folder.join(BEST), files)?;
        }
        self.evaluations.put(evaluation)?;
        let Evaluation { step, reward, outcome } = evaluation;
        self.bar.println(format!(
            "evaluation after {step} steps: reward {reward:.3}, F1 {:.3}, leak {:.2}, {:.1} cards",
            outcome.f1, outcome.leak, outcome.cards
        ));
        self.count_evaluation(evaluation)
    }

    fn count_evaluation(&mut self, evaluation: &Evaluation) -> Result<()> {
        self.best = Some(self.best.map_or(evaluation.reward, |best| best.max(evaluation.reward)));
        let outcome = &evaluation.outcome;
        let values = [
            ("evaluation/reward", evaluation.reward),
            ("evaluation/f1", outcome.f1),
            ("evaluation/contains", outcome.contains),
            ("evaluation/rubric", outcome.rubric),
            ("evaluation/leak", outcome.leak),
        ];
        self.tensorboard.put(evaluation.step, &values)
    }

    fn stepped(&mut self, report: &RlReport, groups: &[Vec<Episode>], began: Instant, mebibytes: u64) -> Result<()> {
        if self.config.episodes_every > 0 && report.step.is_multiple_of(self.config.episodes_every) {
            episodes::write(&self.folder, &format!("step-{:06}", report.step), self.tasks, groups)?;
        }
        self.metrics.put(report)?;
        self.count_step(report)?;
        let tokens = report.tokens * groups.iter().map(Vec::len).sum::<usize>() as f64;
        let rate = tokens / began.elapsed().as_secs_f64();
        self.bar.inc(1);
        self.bar.set_message(format!(
            "reward {:.3} ± {:.3}, {:.0} tokens an episode, KL {:.4}, gap {:.5}, gradient {:.3}, {rate:.0} tokens/s, \
             {mebibytes} MiB of the GPU",
            report.reward, report.reward_deviation, report.tokens, report.divergence, report.gap, report.gradient_norm
        ));
        Ok(())
    }

    fn count_step(&mut self, report: &RlReport) -> Result<()> {
        self.flat = if report.groups_that_differ == 0 { self.flat + 1 } else { 0 };
        let values = [
            ("train/reward", report.reward),
            ("train/reward_deviation", report.reward_deviation),
            ("train/f1", report.outcome.f1),
            ("train/leak", report.outcome.leak),
            ("train/cards", report.outcome.cards),
            ("train/tokens", report.tokens),
            ("train/truncated", report.truncated),
            ("train/divergence", report.divergence),
            ("train/gap", report.gap),
            ("train/loss", report.loss),
            ("train/gradient_norm", report.gradient_norm),
            ("train/learning_rate", report.learning_rate),
        ];
        self.tensorboard.put(report.step, &values)
    }

    /// Stops a run in which all episodes come to the same.
    fn check_collapse(&self) -> Result<()> {
        let limit = self.config.rl.flat_steps;
        if limit > 0 && self.flat >= limit {
            bail!(
                "in the last {limit} steps no task's episodes differed in their reward, so nothing was learned: the \
                 policy has collapsed, or the tasks are all solved or all too hard. See the episodes in {}",
                self.folder.join(episodes::FOLDER).display()
            );
        }
        Ok(())
    }
}
