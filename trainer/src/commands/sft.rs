//! `trainer sft`: the supervised warm start of a base model.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tmem_core::fast::NEUTRAL_PROMPTS;
use tmem_core::fast::peft::{PeftAdapter, PeftFiles};
use tmem_core::message::Message;
use tmem_core::model::HostModel;
use tmem_core::rollout::policy::{GenerateRequest, Policy, Weights};
use tmem_core::settings::Settings;
use tmem_eval::run::{Disk, Storage};
use tmem_learner::Backend;
use tmem_learner::model::{Model, SlowAdapter, SlowSettings};
use tmem_learner::sft::{Exchange, Sft, SftSettings, Synthetic, SyntheticSettings, Texts};

use super::peft;
use super::run_folder::{ADAPTER, CHECKPOINTS, Lines, METRICS, begin, read_config};
use crate::cli::{Common, TrainingArguments};
use crate::interrupt::{Stopped, on_interrupt};
use crate::session::{Session, style};

/// The fast weights before any write, as a PEFT adapter: they have the A that episodes are written with.
const START: &str = "start";
/// Ordinary prompts with the base model's replies.
const ORDINARY: &str = "ordinary.json";

/// A run, as its file describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SftConfig {
    backend: Backend,
    /// Whether cheap results are computed again instead of being kept.
    #[serde(default)]
    gradient_checkpointing: bool,
    /// Steps from one checkpoint to the next.
    checkpoint_every: usize,
    /// Checkpoints that are kept.
    keep: usize,
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
        ensure!(config.checkpoint_every > 0, "checkpoint_every must be at least 1");
        ensure!(config.steps() > 0, "sft.train.schedule.max_steps must be at least 1: it is the length of the run");
        config.agent.validate()?;
        Ok(config)
    }

    /// Steps of the whole run.
    fn steps(&self) -> usize {
        self.sft.train.schedule.max_steps
    }
}

/// Runs the command.
pub(crate) async fn run(common: &Common, arguments: &TrainingArguments) -> Result<()> {
    let config = SftConfig::read(&arguments.config, common)?;
    let conversations = Synthetic::new(config.data)?;
    let device = config.backend.device(config.gradient_checkpointing)?;
    let model_file = tmem_fetch::ensure_model(common.model.as_deref())?;
    if arguments.dry_run {
        println!("{}", serde_json::to_string_pretty(&config)?);
        return Ok(());
    }
    let (abort, folder) = (on_interrupt()?, arguments.out.as_path());
    let _lock = begin(folder, &config)?;
    let (start, ordinary) = prepared(common, folder, &config).await?;

    let host = HostModel::read(File::open(&model_file)?)?;
    let slow = SlowAdapter::new(&host.config, &config.slow, &device)?;
    let (parameters, steps) = (slow.parameters(), config.steps());
    let model = Model::new(&host, &device).with_slow_adapter(slow);
    let start = PeftAdapter::import(&host.config, &start)?;
    let texts = Texts::new(&host, &config.agent.rollout);
    let mut sft = Sft::new(model, texts, &conversations, start, ordinary, config.sft)?;
    let checkpoints = folder.join(CHECKPOINTS);
    if sft.resume(&checkpoints)? {
        eprintln!("going on after step {}", sft.state().steps());
    }
    let (mut metrics, _) = Lines::open::<IgnoredAny>(folder, METRICS, sft.state().steps())?;
    eprintln!("training {parameters} values for {steps} steps on {}", config.backend.name());
    let bar = ProgressBar::new(steps as u64).with_style(style("{pos}/{len} {eta}"));
    bar.set_position(sft.state().steps() as u64);
    while sft.state().steps() < steps {
        if abort.is_aborted() {
            sft.save(&checkpoints, config.keep)?;
            return Err(Stopped.into());
        }
        let report = sft.step()?;
        metrics.put(&report)?;
        bar.inc(1);
        bar.set_message(format!("loss {:.3}", report.step.objective));
        if sft.state().steps().is_multiple_of(config.checkpoint_every) || sft.state().steps() == steps {
            sft.save(&checkpoints, config.keep)?;
        }
    }
    bar.finish_and_clear();
    let Some(adapter) = sft.state().model().slow_adapter() else { bail!("the run trained no slow adapter") };
    let (files, sha256) = adapter.export(&host.config, &host.name)?;
    peft::put(&folder.join(ADAPTER), &files)?;
    eprintln!("wrote {} ({sha256}); try it with --slow-adapter", folder.join(ADAPTER).display());
    Ok(())
}

/// What the engine gives to the run, made once: the fast weights' A, and the base model's own replies.
async fn prepared(common: &Common, folder: &Path, config: &SftConfig) -> Result<(PeftFiles, Vec<Exchange>)> {
    let (start, ordinary) = (folder.join(START), folder.join(ORDINARY));
    if !ordinary.exists() {
        let mut session = Session::with_settings(common, config.agent.clone()).await?;
        let engine = session.agent.policy_mut();
        let adapter = engine.export_peft().await?;
        let files = adapter.export(&engine.model().config, &engine.model().name)?;
        peft::put(&start, &files)?;
        let requests: Vec<_> = NEUTRAL_PROMPTS
            .iter()
            .map(|prompt| GenerateRequest {
                messages: vec![Message::user(*prompt)],
                max_tokens: config.reply_tokens,
                weights: Weights::Frozen,
                ..GenerateRequest::default()
            })
            .collect();
        let replies = engine.generate(&requests, &mut |_, _| {}, &session.abort).await?;
        if session.abort.is_aborted() {
            return Err(Stopped.into());
        }
        let exchanges: Vec<_> = NEUTRAL_PROMPTS
            .iter()
            .zip(replies)
            .map(|(prompt, reply)| Exchange { user: (*prompt).to_owned(), assistant: reply.text })
            .collect();
        // Last: its presence says that both are there.
        Disk::new(folder).replace(ORDINARY, &serde_json::to_vec_pretty(&exchanges)?)?;
    }
    let exchanges = serde_json::from_slice(&fs::read(&ordinary)?)
        .with_context(|| format!("{} is damaged: remove it", ordinary.display()))?;
    Ok((peft::files(&start)?, exchanges))
}
