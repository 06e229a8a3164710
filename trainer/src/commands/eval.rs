//! `trainer eval`: every memory strategy on the same samples of a benchmark.

use anyhow::{Context, Result};
use tmem_core::engine::Engine;
use tmem_core::rollout::policy::Policy;
use tmem_eval::bench::search::EpisodeOptions;
use tmem_eval::bench::{FeedOptions, OpenOptions};
use tmem_eval::data::{Controls, DataFile};
use tmem_eval::judge::{Endpoint, EndpointOptions, LocalJudge};
use tmem_eval::report::memory_name;
use tmem_eval::run::record::{FORMAT, FileRecord, ModelRecord, RunRecord, SearchRecord};
use tmem_eval::run::{Disk, Progress, Referee, Run, RunError};

use super::report;
use crate::cli::{Common, EvalArguments, JudgeName};
use crate::events::Display;
use crate::folder_lock::FolderLock;
use crate::interrupt::Stopped;
use crate::session::Session;
use crate::slow_adapter::Unless;

/// Most tokens of a turn in a search, thoughts included.
const ACTION_TOKENS: usize = 256;
/// Questions of general knowledge asked after a write: enough to see damage, few enough for every write.
const KNOWLEDGE_QUESTIONS: usize = 16;

/// Runs the command.
pub(crate) async fn run(common: &Common, arguments: &EvalArguments) -> Result<()> {
    // Whatever is wrong with names and files is told before the model is loaded.
    for memory in &arguments.memory {
        arguments.bench.permits(*memory)?;
    }
    let controls = arguments.controls.as_deref().map(Controls::load).transpose()?.unwrap_or_default();
    let open = open_options(arguments);
    arguments.bench.open(&arguments.data, &open)?;
    let referee = referee(arguments)?;

    let _lock = FolderLock::take(&arguments.out)?;
    let session = Session::open(common, Unless::None).await?;
    let record = record(common, arguments, session.agent.policy(), &referee)?;
    let knowledge = controls.general_knowledge.into_iter().take(KNOWLEDGE_QUESTIONS).collect();
    let run = Run { record, data: arguments.data.clone(), open, referee, knowledge };
    let mut display = Display::quiet();
    let mut progress = |news: Progress<'_>| match news {
        Progress::Resumed { units, answers } => {
            display.say(&format!("going on: {units} unit(s) finished, {answers} answer(s) kept"));
        }
        Progress::Unit { seed, memory, sample } => {
            display.say(&format!("seed {seed}, {}: {sample}", memory_name(memory)))
        }
        Progress::Reading { done, all } => display.progress("Reading", done, all),
        Progress::Asking { done, all } => display.progress("Asking", done, all),
        Progress::Rollout(event) => display.show(event),
    };
    let mut disk = Disk::new(&arguments.out);
    match run.execute(session.agent.into_policy(), &mut disk, &mut progress, &session.abort).await {
        Ok(_) => report::write(&[&arguments.out], &arguments.out),
        Err(RunError::Aborted) => {
            eprintln!("the same command goes on from here");
            Err(Stopped.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn open_options(arguments: &EvalArguments) -> OpenOptions {
    OpenOptions {
        gold: arguments.gold.clone(),
        corpus: arguments.corpus.clone(),
        objectives: usize::from(arguments.objectives),
        source: arguments.source.clone(),
        division: arguments.corrections.division(),
        ..OpenOptions::default()
    }
}

fn referee(arguments: &EvalArguments) -> Result<Referee> {
    let local = match arguments.judge {
        JudgeName::Official => LocalJudge::Official,
        JudgeName::Exact => LocalJudge::Exact,
        JudgeName::F1 => LocalJudge::F1,
        JudgeName::Contains => LocalJudge::Contains,
        JudgeName::Endpoint => {
            let (url, model) = (arguments.judge_url.as_deref(), arguments.judge_model.as_deref());
            let (url, model) = url.zip(model).context("the judge endpoint needs --judge-url and --judge-model")?;
            let options = EndpointOptions::new(url, model);
            let cache = Some(arguments.out.join("judge"));
            return Ok(Referee::Model(Box::new(Endpoint::new(EndpointOptions { cache, ..options }))));
        }
    };
    Ok(Referee::Local(local))
}

fn record(common: &Common, arguments: &EvalArguments, engine: &Engine, referee: &Referee) -> Result<RunRecord> {
    let settings = common.settings()?;
    let files = |paths: &[std::path::PathBuf]| paths.iter().map(|path| FileRecord::of(path)).collect::<Result<_, _>>();
    let file = |path: &Option<std::path::PathBuf>| path.as_deref().map(FileRecord::of).transpose();
    let turn_bytes = Run::turn_bytes(&settings, engine.context_length());
    // What a search finds is read as one turn.
    let episode = EpisodeOptions::default();
    let passage_bytes = episode.passage_bytes.min(turn_bytes / episode.top_k.max(1));
    Ok(RunRecord {
        version: FORMAT,
        bench: arguments.bench,
        data: files(&arguments.data)?,
        gold: file(&arguments.gold)?,
        corpus: files(&arguments.corpus)?,
        controls: file(&arguments.controls)?,
        model: ModelRecord { name: engine.model().name.clone(), sha256: engine.model().identity() },
        adapter: engine.gpu().info().name.clone(),
        mode: arguments.mode.into(),
        prompt: arguments.prompt.into(),
        cards: arguments.cards.into(),
        oracle_writes: arguments.oracle_writes.into(),
        memories: arguments.memory.clone(),
        seeds: (0..u64::from(arguments.seeds)).map(|number| settings.seed.wrapping_add(number)).collect(),
        limit: arguments.limit,
        probes: arguments.probes,
        batch: usize::from(arguments.batch),
        feed: FeedOptions { dates: arguments.dates.into(), max_bytes: Some(turn_bytes) },
        search: SearchRecord {
            objectives: usize::from(arguments.objectives),
            action_tokens: ACTION_TOKENS,
            episode: EpisodeOptions { passage_bytes, ..episode },
        },
        division: arguments.corrections.division(),
        corrections: arguments.corrections.options(),
        source: arguments.source.clone(),
        judge: referee.name(),
        program: format!("trainer {}", env!("CARGO_PKG_VERSION")),
        settings,
    })
}
