//! Online correction recovery: what the stream tells is fed as turns, and its questions are asked from the state at that
//! point, with the context as it is. A checkpoint's questions are the probes; they are asked in batches, and the unit is
//! saved before each checkpoint.

use serde::{Deserialize, Serialize};
use tmem_core::rollout::Question;

use super::error::RunError;
use super::record::{CORRECTIONS, ProbeLine, PromptKind, STEP};
use super::tally::{Phase, Tally};
use super::unit::{Desk, Unit, question};
use super::{Progress, spread};
use crate::bench::ocrr::{CorrectionRun, CorrectionStream, Next, RunOptions};
use crate::bench::{ACKNOWLEDGEMENT, Probe};
use crate::metrics::Scoring;
use crate::probe::Subject;

/// Most tokens of a label.
const LABEL_TOKENS: usize = 16;

/// Where in its unit a stream is: before a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    stream: CorrectionRun,
    /// Turns fed.
    fed: usize,
    /// Lines of the unit so far.
    lines: usize,
}

/// Runs a unit to its end.
pub(super) async fn run<S: Subject>(
    desk: &mut Desk<'_, S>,
    unit: &mut Unit,
    stream: &CorrectionStream,
) -> Result<(), RunError> {
    let limit = desk.run.record.probes;
    let stream = CorrectionStream {
        novel: spread(&stream.novel, limit).cloned().collect(),
        original: spread(&stream.original, limit).cloned().collect(),
        ..stream.clone()
    };
    let options = RunOptions { seed: unit.seed, ..desk.run.record.corrections.clone() };
    let mut tally = Tally::default();
    let mut place = Place { stream: CorrectionRun::new(stream, options), fed: 0, lines: 0 };
    if let Some(saved) = desk.resume(unit).await? {
        (tally, place) = saved;
    } else {
        desk.begin_episode(None, &mut tally).await?;
    }
    desk.folder.keep(unit.first_line + place.lines)?;
    loop {
        match place.stream.next_step() {
            Next::Tell(text) => {
                let wrote = desk.feed(&text, ACKNOWLEDGEMENT, &mut tally).await?;
                place.stream.told();
                place.fed += 1;
                if wrote {
                    desk.mark(place.fed, &mut tally).await?;
                }
            }
            Next::Ask(prompts) if place.stream.is_checkpoint() => {
                desk.save(unit, &tally, &place).await?;
                let answers = checkpoint(desk, unit, &place.stream, prompts, &mut tally).await?;
                place.lines += answers.len();
                place.stream.answered(&answers);
            }
            Next::Ask(prompts) => {
                let questions: Vec<Question> = prompts.into_iter().map(limited).collect();
                let answers = desk.ask(&questions, &mut tally).await?;
                for answer in &answers {
                    tally.tokens_read += answer.prompt_tokens as u64;
                    tally.tokens_generated += answer.tokens as u64;
                }
                let texts: Vec<String> = answers.into_iter().map(|answer| answer.text).collect();
                place.stream.answered(&texts);
            }
            Next::End => break,
        }
    }
    desk.mark(place.fed, &mut tally).await?;
    desk.end_episode(place.fed, &mut tally);
    desk.finish(unit, &mut tally)
}

/// Asks a checkpoint's questions; their texts in order.
async fn checkpoint<S: Subject>(
    desk: &mut Desk<'_, S>,
    unit: &Unit,
    stream: &CorrectionRun,
    prompts: Vec<String>,
    tally: &mut Tally,
) -> Result<Vec<String>, RunError> {
    let asked = stream.checkpoint_parts().zip(prompts).enumerate();
    let probes: Vec<Probe> = asked
        .map(|(at, ((part, example), prompt))| Probe {
            id: format!("after {} of the stream, {part} {at}", stream.step()),
            prompt,
            question: example.text.clone(),
            gold: vec![example.label.clone()],
            keys: Vec::new(),
            category: part.to_owned(),
            evidence: Vec::new(),
            evidence_sessions: Vec::new(),
            date: None,
            max_tokens: Some(LABEL_TOKENS),
            scoring: Scoring::Label,
        })
        .collect();
    let mut texts = Vec::with_capacity(probes.len());
    for batch in probes.chunks(desk.run.record.batch.max(1)) {
        (desk.progress)(Progress::Asking { done: texts.len(), all: probes.len() });
        let questions: Vec<Question> = batch.iter().map(|probe| question(probe, PromptKind::Official)).collect();
        let answers = desk.ask(&questions, tally).await?;
        tally.enter(Phase::Answering);
        let mut lines: Vec<ProbeLine> = Vec::with_capacity(batch.len());
        for (probe, answer) in batch.iter().zip(answers) {
            let mut line = desk.run.referee.line(unit, probe, None, &answer)?;
            line.scores.insert(CORRECTIONS.to_owned(), stream.corrections() as f64);
            line.scores.insert(STEP.to_owned(), stream.step() as f64);
            lines.push(line);
            texts.push(answer.text);
        }
        desk.folder.append(&lines)?;
        tally.enter(Phase::Reading);
    }
    (desk.progress)(Progress::Asking { done: probes.len(), all: probes.len() });
    Ok(texts)
}

fn limited(text: String) -> Question {
    Question { max_tokens: Some(LABEL_TOKENS), ..text.into() }
}
