//! Runs a probe, stage by stage.

use std::time::Instant;

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::fast::{StepReport, WriteOutcome, WriteReport};
use tmem_core::rollout::policy::Weights;
use tmem_core::settings::Settings;

use super::ask::{Asker, Question, without_context};
use super::score::figures;
use super::{Asked, Kind, ProbeError, Seconds, StageReport, Subject, Tokens, WriteSummary};
use crate::data::{Controls, Conversation};

/// What a probe is about.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// The conversations, in the order they are written.
    pub conversations: &'a [Conversation],
    /// The controls, asked after each conversation.
    pub controls: &'a Controls,
    /// All settings.
    pub settings: &'a Settings,
    /// Questions asked at once.
    pub batch: usize,
}

/// What a probe is doing.
#[derive(Debug, Clone)]
pub enum Progress<'a> {
    /// A conversation begins.
    Stage {
        /// Its index, from 0.
        index: usize,
        /// Its name.
        name: &'a str,
    },
    /// One training step was taken.
    Step(&'a StepReport),
    /// Answers to questions, counting each choice of weights.
    Asking {
        /// Answers given.
        done: usize,
        /// Answers planned.
        all: usize,
    },
    /// The distance to the frozen twin is being measured.
    Measuring,
}

impl Probe<'_> {
    /// Writes each conversation and asks after each. Starts from Δ = 0.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub async fn run<S: Subject>(
        &self,
        subject: &mut S,
        progress: &mut dyn FnMut(Progress<'_>),
        abort: &Abort,
    ) -> Result<Vec<StageReport>, ProbeError> {
        subject.reset().await?;
        let mut asker = Asker::default();
        let mut learned: Vec<Card> = Vec::new();
        let mut stages = Vec::new();
        for (index, conversation) in self.conversations.iter().enumerate() {
            progress(Progress::Stage { index, name: &conversation.name });
            let before = subject.usage();
            let mut seconds = Seconds::default();
            let cards = conversation.oracle_cards(learned.len() as u64);
            let began = Instant::now();
            let report = subject.learn(&cards, &learned, &mut |step| progress(Progress::Step(step)), abort).await?;
            seconds.training = began.elapsed().as_secs_f64();
            if report.outcome == WriteOutcome::Aborted {
                return Err(ProbeError::Aborted);
            }
            learned.extend(cards.iter().cloned());
            let write = WriteSummary { cards, ..summary(std::slice::from_ref(&report)) };

            let began = Instant::now();
            let written = &self.conversations[..=index];
            let questions = questions(written, self.controls);
            let answers = asker
                .ask(
                    subject,
                    self.settings,
                    questions,
                    self.batch,
                    &mut |done, all| progress(Progress::Asking { done, all }),
                    abort,
                )
                .await?;
            progress(Progress::Measuring);
            let kl = self.kl(subject, Weights::Fast).await?;
            let kl_ungated = if self.settings.fast.gate { self.kl(subject, Weights::FastUngated).await? } else { kl };
            seconds.answering = began.elapsed().as_secs_f64();
            let after = subject.usage();
            let tokens = Tokens {
                read: after.tokens_read.saturating_sub(before.tokens_read),
                generated: after.tokens_generated.saturating_sub(before.tokens_generated),
            };
            stages.push(stage(written, write, seconds, tokens, after.peak_gpu_bytes, answers, (kl, kl_ungated)));
        }
        Ok(stages)
    }

    /// Mean KL to the frozen twin over the neutral prompts; `None` where there are none.
    async fn kl<S: Subject>(&self, subject: &mut S, weights: Weights) -> Result<Option<f64>, ProbeError> {
        let prompts = &self.controls.neutral_prompts;
        if prompts.is_empty() {
            return Ok(None);
        }
        let prompts: Vec<_> = prompts.iter().map(|prompt| without_context(self.settings, prompt)).collect();
        let values = subject.kl_to_frozen(&prompts, weights).await?;
        Ok(Some(values.iter().map(|&kl| f64::from(kl)).sum::<f64>() / values.len().max(1) as f64))
    }
}

fn stage(
    written: &[Conversation],
    write: WriteSummary,
    seconds: Seconds,
    tokens: Tokens,
    peak_gpu_bytes: u64,
    answers: Vec<Asked>,
    (kl, kl_ungated): (Option<f64>, Option<f64>),
) -> StageReport {
    let names: Vec<&str> = written.iter().map(|c| c.name.as_str()).collect();
    let fast = figures(&names, &answers, |asked| &asked.fast, kl);
    StageReport {
        after: names.last().copied().unwrap_or_default().to_owned(),
        conversations: fast.conversations,
        controls: fast.controls,
        ungated: figures(&names, &answers, |asked| &asked.ungated, kl_ungated),
        frozen: figures(&names, &answers, |asked| &asked.frozen, kl.map(|_| 0.0)),
        write,
        seconds,
        tokens,
        peak_gpu_bytes,
        answers,
    }
}

/// All writes of a stage in one.
fn summary(reports: &[WriteReport]) -> WriteSummary {
    let steps = || reports.iter().flat_map(|report| &report.steps);
    WriteSummary {
        outcomes: reports.iter().map(|report| report.outcome.clone()).collect(),
        losses: steps().map(|step| step.loss).collect(),
        kl: steps().map(|step| step.kl).collect(),
        norms: reports.last().map(|report| report.norms.clone()).unwrap_or_default(),
        pairs: reports.iter().map(|report| report.pairs).sum(),
        trust_region_hits: reports.iter().map(|report| report.trust_region_hits).sum(),
        delta: reports.last().map(|report| report.delta.clone()).unwrap_or_default(),
        ..WriteSummary::default()
    }
}

/// Every question about the conversations written so far, then the controls.
fn questions(written: &[Conversation], controls: &Controls) -> Vec<Question> {
    let facts = || written.iter().flat_map(|c| c.facts.iter().map(move |fact| (c, fact)));
    let about = |(conversation, fact): (&Conversation, &crate::data::Fact), kind, text: &String| Question {
        kind,
        conversation: Some(conversation.name.clone()),
        fact: Some(fact.id.clone()),
        text: text.clone(),
        reference: Some(fact.answer.clone()),
        keys: fact.keys.clone(),
    };
    let control = |kind, text: &String, keys: Vec<String>| Question {
        kind,
        conversation: None,
        fact: None,
        text: text.clone(),
        reference: None,
        keys,
    };
    let trained = facts().map(|told| about(told, Kind::Trained, &told.1.question));
    let held_out = facts().flat_map(|told| told.1.held_out.iter().map(move |text| about(told, Kind::HeldOut, text)));
    let knowledge = controls
        .general_knowledge
        .iter()
        .map(|item| control(Kind::GeneralKnowledge, &item.question, item.keys.clone()));
    let learned_keys: Vec<String> = facts().flat_map(|(_, fact)| fact.keys.iter().cloned()).collect();
    let unknown = controls.unknown_questions.iter().map(|text| control(Kind::Unknown, text, learned_keys.clone()));
    trained.chain(held_out).chain(knowledge).chain(unknown).collect()
}
