//! `trainer sft`: the supervised warm start of a base model.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use tmem_core::fast::NEUTRAL_PROMPTS;
use tmem_core::fast::peft::{PeftAdapter, PeftFiles};
use tmem_core::message::Message;
use tmem_core::model::HostModel;
use tmem_core::rollout::policy::{GenerateRequest, Generation, Policy, Weights};
use tmem_core::settings::Settings;
use tmem_eval::data::{Conversation, DataFile as _};
use tmem_eval::run::{Disk, Storage};
use tmem_learner::Backend;
use tmem_learner::model::{Model, Precision, SlowAdapter, SlowSettings};
use tmem_learner::sft::{
    Conversations, Exchange, Sft, SftEvaluation, SftReport, SftSettings, Synthetic, SyntheticSettings, Texts, Told,
};

use super::peft;
use super::run_folder::{ADAPTER, BEST, CHECKPOINTS, Lines, METRICS, TENSORBOARD, begin, read_config};
use crate::cli::{Common, SftArguments};
use crate::interrupt::{Stopped, on_interrupt};
use crate::session::{Session, style};
use crate::slow_adapter::{SlowChoice, Unless};
use crate::tensorboard::EventFile;

/// The fast weights before any write, as a PEFT adapter: they have the A that episodes are written with.
const START: &str = "start";
/// Ordinary prompts with the base model's replies.
const ORDINARY: &str = "ordinary.json";
/// A line for each evaluation on episodes that are not trained on.
const VALIDATION: &str = "validation.jsonl";

/// A run, as its file describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SftConfig {
    backend: Backend,
    /// In what the layers' frozen matrices are held.
    #[serde(default)]
    precision: Precision,
    /// Whether cheap results are computed again instead of being kept.
    #[serde(default)]
    gradient_checkpointing: bool,
    /// Steps from one checkpoint to the next.
    checkpoint_every: usize,
    /// Checkpoints that are kept.
    keep: usize,
    /// Steps from one evaluation to the next; there is one before the first step and one after the last.
    evaluate_every: usize,
    /// Episodes of an evaluation; none is trained on.
    evaluation_episodes: usize,
    /// Ordinary prompts beside the built-in ones: what is said in invented conversations and tells nothing.
    #[serde(default)]
    ordinary_prompts: usize,
    /// Longest reply of the base model to an ordinary prompt.
    reply_tokens: usize,
    /// The agent whose writes are simulated.
    #[serde(default)]
    agent: Settings,
    #[serde(default)]
    slow: SlowSettings,
    #[serde(default)]
    data: SyntheticSettings,
    sft: SftSettings,
}

impl SftConfig {
    fn read(path: &Path, common: &Common) -> Result<Self> {
        let mut config: Self = read_config(path, &common.set)?;
        if let Some(seed) = common.seed {
            (config.sft.seed, config.slow.seed) = (seed, seed);
        }
        let counts = [
            ("checkpoint_every", config.checkpoint_every),
            ("evaluate_every", config.evaluate_every),
            ("evaluation_episodes", config.evaluation_episodes),
            ("sft.train.schedule.max_steps", config.steps()),
        ];
        for (name, count) in counts {
            ensure!(count > 0, "{name} must be at least 1");
        }
        config.agent.validate()?;
        Ok(config)
    }

    /// Steps of the whole run.
    fn steps(&self) -> usize {
        self.sft.train.schedule.max_steps
    }
}

/// What a run is, for a folder that is gone on with.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    config: &'a SftConfig,
    /// Sha-256 of the conversations' files; none where they are invented.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    data_sha256: Vec<String>,
    /// Sha-256 of the adapter that the run begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_adapter: Option<&'a str>,
}

/// Runs the command.
pub(crate) async fn run(common: &Common, SftArguments { data, training: arguments }: &SftArguments) -> Result<()> {
    let config = SftConfig::read(&arguments.config, common)?;
    let invented = Synthetic::new(config.data)?;
    let told = if is_synthetic(data) { None } else { Some(read_told(data, config.data.window)?) };
    let conversations: &dyn Conversations = match &told {
        Some(told) => told,
        None => &invented,
    };
    let device = config.backend.device(config.gradient_checkpointing)?;
    let model_file = tmem_fetch::ensure_model(common.model.as_deref())?;
    if arguments.dry_run {
        println!("{}", serde_json::to_string_pretty(&config)?);
        return Ok(());
    }
    let (abort, folder) = (on_interrupt()?, arguments.folder("sft"));
    let folder = folder.as_path();
    let begins_with = common.slow_adapter.as_ref().map_or(Ok(None), SlowChoice::files)?;
    let sha256 = begins_with.as_ref().map(PeftFiles::sha256);
    let files = if told.is_some() { data.as_slice() } else { &[] };
    let sha256_of = |file: &PathBuf| Ok(tmem_fetch::fingerprint(file)?.sha256_hex());
    let data_sha256 = files.iter().map(sha256_of).collect::<Result<_>>()?;
    let _lock = begin(folder, &Record { config: &config, data_sha256, slow_adapter: sha256.as_deref() })?;
    let (start, ordinary) = prepared(common, folder, &config, &invented).await?;

    let host = HostModel::read(File::open(&model_file)?)?;
    let slow = SlowAdapter::begin(begins_with.as_ref(), &host.config, &config.slow, &device)?;
    let (parameters, steps) = (slow.parameters(), config.steps());
    let model = Model::new(&host, &device).with_precision(config.precision).with_slow_adapter(slow);
    let start = PeftAdapter::import(&host.config, &start)?;
    let texts = Texts::new(&host, &config.agent.rollout);
    let mut sft = Sft::new(model, texts, conversations, start, ordinary, config.sft)?;
    let checkpoints = folder.join(CHECKPOINTS);
    if sft.resume(&checkpoints)? {
        eprintln!("going on after step {}", sft.state().steps());
    }
    eprintln!("training {parameters} values for {steps} steps on {}", config.backend.name());
    let mut run = Run::open(&config, folder, sft.state().steps())?;
    loop {
        let step = sft.state().steps();
        if step.is_multiple_of(config.evaluate_every) || step == steps {
            run.evaluated(&sft.evaluate(config.evaluation_episodes)?, || export(&sft, &host))?;
        }
        if step == steps {
            break;
        }
        if abort.is_aborted() {
            sft.save(&checkpoints, config.keep)?;
            return Err(Stopped.into());
        }
        run.stepped(&sft.step()?)?;
        if sft.state().steps().is_multiple_of(config.checkpoint_every) || sft.state().steps() == steps {
            sft.save(&checkpoints, config.keep)?;
        }
    }
    run.bar.finish_and_clear();
    let files = export(&sft, &host)?;
    peft::put(&folder.join(ADAPTER), &files)?;
    eprintln!("wrote {} ({}); try it with --slow-adapter", folder.join(ADAPTER).display(), files.sha256());
    Ok(())
}

fn is_synthetic(data: &[PathBuf]) -> bool {
    data == [Path::new("synthetic")]
}

/// Conversations of one's own.
fn read_told(files: &[PathBuf], window: usize) -> Result<Told> {
    let read = |file: &PathBuf| -> Result<Conversation> {
        let hint = "--data takes `synthetic` alone, or files of conversations as `probe --conversation` reads them";
        Conversation::load(file).context(hint)
    };
    let told = Told::new(&files.iter().map(read).collect::<Result<Vec<_>>>()?, window)?;
    match told.evaluated() {
        0 => eprintln!("a single conversation: it is evaluated on as well, so that gains are those of repetition"),
        kept => eprintln!("the last {kept} of {} conversations are for evaluation alone", files.len()),
    }
    Ok(told)
}

/// What is trained, as it is now.
fn export(sft: &Sft<'_>, host: &HostModel) -> Result<PeftFiles> {
    let Some(adapter) = sft.state().model().slow_adapter() else { bail!("the run trains no slow adapter") };
    Ok(adapter.export(&host.config, &host.name)?.0)
}

/// What a run leaves in its folder.
struct Run<'a> {
    config: &'a SftConfig,
    folder: &'a Path,
    metrics: Lines,
    validation: Lines,
    tensorboard: EventFile,
    bar: ProgressBar,
    /// Loss of the best evaluation so far.
    best: Option<f64>,
}

impl<'a> Run<'a> {
    /// Goes on after `steps` steps.
    fn open(config: &'a SftConfig, folder: &'a Path, steps: usize) -> Result<Self> {
        let (metrics, reports) = Lines::open::<SftReport>(folder, METRICS, steps)?;
        let evaluated = steps.div_ceil(config.evaluate_every);
        let (validation, earlier) = Lines::open::<SftEvaluation>(folder, VALIDATION, evaluated)?;
        let bar = ProgressBar::new(config.steps() as u64).with_style(style("{pos}/{len} {eta}"));
        bar.set_position(steps as u64);
        let tensorboard = EventFile::create(&folder.join(TENSORBOARD))?;
        let mut run = Self { config, folder, metrics, validation, tensorboard, bar, best: None };
        earlier.iter().try_for_each(|evaluation| run.count_evaluation(evaluation))?;
        reports.iter().try_for_each(|report| run.count_step(report))?;
        Ok(run)
    }

    /// Writes an evaluation down, and the adapter where it is the best so far.
    fn evaluated(&mut self, evaluation: &SftEvaluation, adapter: impl FnOnce() -> Result<PeftFiles>) -> Result<()> {
        let loss = evaluation.loss(&self.config.sft.episode);
        if self.best.is_none_or(|best| loss < best) {
            peft::put(&self.folder.join(BEST), &adapter()?)?;
        }
        self.validation.put(evaluation)?;
        let SftEvaluation { step, held_out, unknown, before, reading, writing, ordinary } = evaluation;
        self.bar.println(format!(
            "after {step} steps, nats a token: held-out {held_out:.3}, never told {unknown:.3}, without Δ {before:.3}, in \
             context {reading:.3}, cards {writing:.3}, ordinary replies {ordinary:+.3}"
        ));
        self.count_evaluation(evaluation)
    }

    fn count_evaluation(&mut self, evaluation: &SftEvaluation) -> Result<()> {
        let loss = evaluation.loss(&self.config.sft.episode);
        self.best = Some(self.best.map_or(loss, |best| best.min(loss)));
        let values = [
            ("validation/loss", loss),
            ("validation/held_out", evaluation.held_out),
            ("validation/unknown", evaluation.unknown),
            ("validation/before", evaluation.before),
            ("validation/reading", evaluation.reading),
            ("validation/writing", evaluation.writing),
            ("validation/ordinary", evaluation.ordinary),
        ];
        self.tensorboard.put(evaluation.step, &values)
    }

    fn stepped(&mut self, report: &SftReport) -> Result<()> {
        self.metrics.put(report)?;
        self.count_step(report)?;
        self.bar.inc(1);
        self.bar.set_message(format!(
            "loss {:.3}, KL {:.4}, write {:.2} -> {:.2}, gradient {:.3}",
            report.step.objective,
            report.step.anchors,
            report.write_begins,
            report.write_ends,
            report.step.gradient_norm
        ));
        Ok(())
    }

    fn count_step(&mut self, report: &SftReport) -> Result<()> {
        let values = [
            ("train/loss", report.step.objective),
            ("train/anchors", report.step.anchors),
            ("train/write_begins", report.write_begins),
            ("train/write_ends", report.write_ends),
            ("train/gradient_norm", report.step.gradient_norm),
            ("train/learning_rate", report.step.learning_rate),
        ];
        self.tensorboard.put(report.step.step, &values)
    }
}

/// What the engine gives to the run, made once: the fast weights' A, and the base model's own replies.
async fn prepared(
    common: &Common,
    folder: &Path,
    config: &SftConfig,
    conversations: &Synthetic,
) -> Result<(PeftFiles, Vec<Exchange>)> {
    let (start, ordinary) = (folder.join(START), folder.join(ORDINARY));
    if !ordinary.exists() {
        // Of the model as published, whatever the run begins with: replies are held to that one's.
        let published = Common { slow_adapter: None, ..common.clone() };
        let mut session = Session::with_settings(&published, config.agent.clone(), Unless::None).await?;
        let engine = session.agent.policy_mut();
        let adapter = engine.export_peft().await?;
        let files = adapter.export(&engine.model().config, &engine.model().name)?;
        peft::put(&start, &files)?;
        let mut prompts: Vec<String> = NEUTRAL_PROMPTS.iter().map(|&prompt| prompt.to_owned()).collect();
        prompts.extend(conversations.ordinary_prompts(config.ordinary_prompts)?);
        let requests: Vec<_> = prompts
            .iter()
            .map(|prompt| GenerateRequest {
                messages: vec![Message::user(prompt.as_str())],
                max_tokens: config.reply_tokens,
                weights: Weights::Frozen,
                ..GenerateRequest::default()
            })
            .collect();
        let replies = engine.generate(&requests, &mut |_, _| {}, &session.abort).await?;
        if session.abort.is_aborted() {
            return Err(Stopped.into());
        }
        let exchange = |(user, reply): (String, Generation)| Exchange { user, assistant: reply.text };
        let exchanges: Vec<_> = prompts.into_iter().zip(replies).map(exchange).collect();
        // Last: its presence says that both are there.
        Disk::new(folder).replace(ORDINARY, &serde_json::to_vec_pretty(&exchanges)?)?;
    }
    let exchanges = serde_json::from_slice(&fs::read(&ordinary)?)
        .with_context(|| format!("{} is damaged: remove it", ordinary.display()))?;
    Ok((peft::files(&start)?, exchanges))
}
