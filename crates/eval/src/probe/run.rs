//! Runs a probe, stage by stage.

use std::time::Instant;

use tmem_core::abort::Abort;
use tmem_core::rollout::policy::Weights;
use tmem_core::rollout::{Agent, AgentError, Event};
use tmem_core::settings::Settings;

use super::ask::{Asker, Question, without_context};
use super::record::Recorder;
use super::score::figures;
use super::{Asked, CardSource, Kind, ProbeError, Seconds, StageReport, Subject, Tokens, WriteSummary};
use crate::data::{Controls, Conversation};

/// What a probe is about. The settings are those of its agent.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// The conversations, in the order they are written.
    pub conversations: &'a [Conversation],
    /// The controls, asked after each conversation.
    pub controls: &'a Controls,
    /// Who writes the cards.
    pub cards: CardSource,
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
    /// The rollout has news.
    Rollout(&'a Event),
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
    /// Resets the agent, then writes each conversation and asks after each.
    ///
    /// # Errors
    /// [`ProbeError`]. A write that fails is no error: the stage says how it ended and what is known nevertheless.
    pub async fn run<S: Subject>(
        &self,
        agent: &mut Agent<S>,
        progress: &mut dyn FnMut(Progress<'_>),
        abort: &Abort,
    ) -> Result<Vec<StageReport>, ProbeError> {
        agent.reset(&mut |_| {}).await?;
        let settings = agent.settings().clone();
        let mut asker = Asker::default();
        let mut stages = Vec::new();
        for (index, conversation) in self.conversations.iter().enumerate() {
            progress(Progress::Stage { index, name: &conversation.name });
            let before = agent.policy().usage();
            let mut recorder = Recorder::default();
            let mut observe = |event: Event| {
                recorder.record(&event);
                progress(Progress::Rollout(&event));
            };
            match self.write(agent, conversation, &mut observe, abort).await {
                Err(ProbeError::Agent(AgentError::NotLearned { reason })) => recorder.warn(&reason),
                outcome => outcome?,
            }
            let (write, mut seconds) = recorder.finish(agent.policy().delta());

            let began = Instant::now();
            let written = &self.conversations[..=index];
            let questions = questions(written, self.controls);
            let mut asking = |done, all| progress(Progress::Asking { done, all });
            let subject = agent.policy_mut();
            let answers = asker.ask(subject, &settings, questions, self.batch, &mut asking, abort).await?;
            progress(Progress::Measuring);
            let kl = self.kl(subject, &settings, Weights::Fast).await?;
            let kl_ungated =
                if settings.fast.gate { self.kl(subject, &settings, Weights::FastUngated).await? } else { kl };
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

    /// Writes a conversation into the fast weights and leaves the context empty.
    async fn write<S: Subject>(
        &self,
        agent: &mut Agent<S>,
        conversation: &Conversation,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<(), ProbeError> {
        match self.cards {
            CardSource::Oracle => {
                agent.learn(&conversation.oracle_cards(0), observe, abort).await?;
            }
            CardSource::Own => {
                let mut turns = conversation.turns().peekable();
                if turns.peek().is_none() {
                    return Err(ProbeError::NoTranscript(conversation.name.clone()));
                }
                for (user, assistant) in turns {
                    agent.feed(user, assistant, observe, abort).await?;
                }
                // What the budget has not yet triggered.
                if !agent.state().context.is_empty() {
                    agent.write_now(observe, abort).await?;
                }
            }
        }
        agent.clear_context(observe);
        Ok(())
    }

    /// Mean KL to the frozen twin over the neutral prompts; `None` where there are none.
    async fn kl<S: Subject>(
        &self,
        subject: &mut S,
        settings: &Settings,
        weights: Weights,
    ) -> Result<Option<f64>, ProbeError> {
        let prompts = &self.controls.neutral_prompts;
        if prompts.is_empty() {
            return Ok(None);
        }
        let prompts: Vec<_> = prompts.iter().map(|prompt| without_context(settings, prompt)).collect();
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
