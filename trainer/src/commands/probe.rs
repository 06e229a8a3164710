//! `trainer probe`: recall and damage after each conversation.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use tmem_eval::data::{Controls, Conversation, DataFile};
use tmem_eval::probe::{ControlScores, ConversationScores, Probe, ProbeError, ProbeReport, Progress, StageReport};

use crate::cli::{Common, ProbeArguments};
use crate::events::Display;
use crate::interrupt::Stopped;
use crate::session::Session;
use crate::slow_adapter::Unless;

/// Runs the command.
pub(crate) async fn run(common: &Common, arguments: &ProbeArguments) -> Result<()> {
    let load = |file: &std::path::PathBuf| Conversation::load(file);
    let conversations = arguments.conversation.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let controls = arguments.controls.as_deref().map(Controls::load).transpose()?.unwrap_or_default();
    let mut output = arguments.json.as_deref().map(open).transpose()?;

    let mut session = Session::open(common, Unless::None).await?;
    let probe = Probe {
        conversations: &conversations,
        controls: &controls,
        cards: arguments.cards.into(),
        batch: usize::from(arguments.batch),
    };
    let mut display = Display::quiet();
    let mut progress = |progress: Progress<'_>| match progress {
        Progress::Stage { index, name } => {
            display.say(&format!("conversation {} of {}: {name}", index + 1, conversations.len()));
        }
        Progress::Rollout(event) => display.show(event),
        Progress::Asking { done, all } => display.progress("Asking", done, all),
        Progress::Measuring => display.say("measuring the distance to the frozen twin"),
    };
    let stages = match probe.run(&mut session.agent, &mut progress, &session.abort).await {
        Ok(stages) => stages,
        Err(ProbeError::Aborted) => return Err(Stopped.into()),
        Err(error) => return Err(error.into()),
    };
    let engine = session.agent.policy();
    let report = ProbeReport {
        model: format!("{} ({})", engine.model().name, engine.model().sha256),
        adapter: engine.gpu().info().name.clone(),
        preset: common.preset.clone(),
        cards: arguments.cards.into(),
        settings: session.agent.settings().clone(),
        seed: session.agent.settings().seed,
        stages,
    };
    if let Some(output) = &mut output {
        serde_json::to_writer_pretty(&mut *output, &report).context("cannot write the report")?;
        writeln!(output).and_then(|()| output.flush()).context("cannot write the report")?;
    }
    // A report on the standard output shall be the only thing there.
    let to_terminal = arguments.json.as_deref() != Some(Path::new("-"));
    for line in report.stages.iter().flat_map(summary) {
        if to_terminal { println!("{line}") } else { eprintln!("{line}") }
    }
    Ok(())
}

/// Opened before the work begins, so that a path that cannot be written does not waste it.
fn open(path: &Path) -> Result<BufWriter<Box<dyn Write>>> {
    let target: Box<dyn Write> = if path == Path::new("-") {
        Box::new(std::io::stdout())
    } else {
        Box::new(File::create(path).with_context(|| format!("cannot write to {}", path.display()))?)
    };
    Ok(BufWriter::new(target))
}

/// The figures of a stage as a table.
fn summary(stage: &StageReport) -> Vec<String> {
    let mut lines = vec![
        format!("after {}", stage.after),
        format!("  {:24} {:>10} {:>10} {:>10}", "", "fast", "ungated", "frozen"),
    ];
    let rows = stage.conversations.iter().zip(&stage.ungated.conversations).zip(&stage.frozen.conversations);
    for ((fast, ungated), frozen) in rows {
        let mut row = |what: &str, of: fn(&ConversationScores) -> Option<f64>| {
            lines.push(line(&format!("{} {what}", fast.name), [of(fast), of(ungated), of(frozen)]));
        };
        row("trained", |scores| Some(scores.trained.contains));
        row("trained F1", |scores| Some(scores.trained.f1));
        row("held out", |scores| scores.held_out.map(|held_out| held_out.contains));
        row("held out F1", |scores| scores.held_out.map(|held_out| held_out.f1));
    }
    let controls = [&stage.controls, &stage.ungated.controls, &stage.frozen.controls];
    let mut row = |what: &str, of: fn(&ControlScores) -> Option<f64>| lines.push(line(what, controls.map(of)));
    row("knowledge kept", |scores| scores.knowledge_kept);
    row("leak", |scores| scores.leak);
    row("KL to the frozen twin", |scores| scores.kl);
    let seconds = &stage.seconds;
    lines.push(format!(
        "  seconds: reading {:.1}, writing {:.1}, training {:.1}, answering {:.1}; {} tokens read, {} generated; {} MiB on the GPU at most",
        seconds.prefill,
        seconds.writing,
        seconds.training,
        seconds.answering,
        stage.tokens.read,
        stage.tokens.generated,
        stage.peak_gpu_bytes >> 20,
    ));
    lines.extend(stage.write.warnings.iter().map(|warning| format!("  warning: {warning}")));
    lines
}

fn line(what: &str, values: [Option<f64>; 3]) -> String {
    let [fast, ungated, frozen] = values.map(|value| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}")));
    format!("  {what:24} {fast:>10} {ungated:>10} {frozen:>10}")
}
