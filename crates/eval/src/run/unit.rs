//! One strategy on one sample with one seed, and what every kind of benchmark does in it.

use serde::{Serialize, de::DeserializeOwned};
use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::rollout::memory::MemoryStrategy;
use tmem_core::rollout::policy::{Finish, Policy};
use tmem_core::rollout::{Agent, AgentError, Answer, AskOptions, Event, Question, Recalled};
use tmem_core::settings::MemoryKind;

use super::error::RunError;
use super::folder::{Folder, Saved};
use super::knowledge::Knowledge;
use super::meter::{Metered, Tokens};
use super::record::{ProbeLine, PromptKind, TimelinePoint};
use super::tally::{Phase, Tally};
use super::{Progress, Run};
use crate::bench::{Probe, parts};
use crate::probe::Subject;

/// Which unit it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Number of the unit in the run.
    pub(super) index: usize,
    pub(super) seed: u64,
    pub(super) memory: MemoryKind,
    pub(super) sample: String,
    /// Lines of `probes.jsonl` before it.
    pub(super) first_line: usize,
}

/// Everything a unit works with.
pub(super) struct Desk<'a, S> {
    pub(super) run: &'a Run,
    pub(super) agent: Agent<Metered<S>>,
    pub(super) folder: Folder<'a>,
    pub(super) knowledge: Knowledge,
    pub(super) progress: &'a mut dyn FnMut(Progress<'_>),
    pub(super) abort: &'a Abort,
}

impl<S: Subject> Desk<'_, S> {
    /// Takes a unit up again where it was in progress: the agent as it was, and what was kept beside it.
    pub(super) async fn resume<P: DeserializeOwned>(
        &mut self,
        unit: &mut Unit,
    ) -> Result<Option<(Tally, P)>, RunError> {
        let Some(saved) = self.folder.saved::<P>(unit.index)? else { return Ok(None) };
        self.agent.restore(&saved.agent).await?;
        unit.first_line = saved.first_line;
        Ok(Some((saved.tally, saved.place)))
    }

    /// Feeds a turn; in parts where the model cannot hold it. Says whether memory was written.
    pub(super) async fn feed(&mut self, user: &str, assistant: &str, tally: &mut Tally) -> Result<bool, RunError> {
        let (writes, before) = (tally.writes, self.agent.policy().tokens);
        let mut rest = vec![(user.to_owned(), assistant.to_owned())];
        while let Some((user, assistant)) = rest.pop() {
            let fed = self.agent.feed(&user, &assistant, &mut observer(tally, self.progress), self.abort).await;
            match fed {
                Err(error @ AgentError::TurnTooLong { .. }) => {
                    let halves = parts(&user, &assistant, user.len() / 2);
                    // A single character that the model cannot hold cannot be halved.
                    if halves.len() < 2 {
                        return Err(error.into());
                    }
                    rest.extend(halves.into_iter().rev());
                }
                outcome => outcome?,
            }
            self.check_abort()?;
        }
        tally.spend(before, self.agent.policy().tokens);
        Ok(tally.writes > writes)
    }

    /// Learns an oracle's cards as one write.
    pub(super) async fn learn(&mut self, cards: &[Card], tally: &mut Tally) -> Result<(), RunError> {
        let before = self.agent.policy().tokens;
        self.agent.learn(cards, &mut observer(tally, self.progress), self.abort).await?;
        tally.writes += 1;
        tally.enter(Phase::Reading);
        tally.spend(before, self.agent.policy().tokens);
        self.check_abort()
    }

    /// The end of a history: what no trigger has written is written now and the context cleared, as if the trigger had
    /// come here. A strategy without a trigger keeps its context, and so does a write that fails.
    pub(super) async fn end_reading(&mut self, tally: &mut Tally) -> Result<(), RunError> {
        let state = self.agent.state();
        if state.context.is_empty() || !state.memory.is_triggered() {
            return Ok(());
        }
        let before = self.agent.policy().tokens;
        let written = self.agent.write_now(&mut observer(tally, self.progress), self.abort).await;
        match written {
            Ok(_) => self.agent.clear_context(&mut observer(tally, self.progress)),
            Err(AgentError::NotLearned { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        tally.spend(before, self.agent.policy().tokens);
        self.check_abort()
    }

    /// Asks a batch from the present state, context included, and leaves no trace. A question that the model cannot
    /// hold even without context is answered with nothing.
    pub(super) async fn ask(&mut self, questions: &[Question], tally: &mut Tally) -> Result<Vec<Answer>, RunError> {
        tally.enter(Phase::Answering);
        let model_free = self.agent.settings().rollout.memory == MemoryKind::Cards;
        let mut fitting = Vec::new();
        let mut fits = Vec::with_capacity(questions.len());
        for question in questions {
            let fit = model_free || self.agent.fits(question)?;
            fits.push(fit);
            if fit {
                fitting.push(question.clone());
            }
        }
        let mut given = Vec::new().into_iter();
        if !fitting.is_empty() {
            let options = AskOptions { context: true, twin: false };
            let progress = &mut *self.progress;
            let mut observe = |event| progress(Progress::Rollout(&event));
            given = self.agent.ask_each(&fitting, options, &mut observe, self.abort).await?.into_iter();
        }
        let nothing = |question: &Question| Answer {
            question: question.text.clone(),
            text: String::new(),
            prompt_tokens: 0,
            tokens: 0,
            finish: Finish::Length,
            gate: None,
            delta: self.agent.policy().delta(),
            twin: None,
            recalled: Recalled::default(),
        };
        let mut answers = Vec::with_capacity(questions.len());
        for (question, fit) in questions.iter().zip(fits) {
            let answer = if fit { given.next() } else { None };
            answers.push(answer.unwrap_or_else(|| nothing(question)));
        }
        self.check_abort()?;
        tally.enter(Phase::Reading);
        Ok(answers)
    }

    /// Asks probes as one batch and appends their lines.
    pub(super) async fn answer(
        &mut self,
        unit: &Unit,
        probes: &[(&Probe, Option<usize>)],
        tally: &mut Tally,
    ) -> Result<(), RunError> {
        let questions: Vec<Question> =
            probes.iter().map(|(probe, _)| question(probe, self.run.record.prompt)).collect();
        let answers = self.ask(&questions, tally).await?;
        tally.enter(Phase::Answering);
        let mut lines = Vec::with_capacity(probes.len());
        for ((probe, age), answer) in probes.iter().zip(&answers) {
            lines.push(self.run.referee.line(unit, probe, *age, answer)?);
        }
        self.folder.append(&lines)?;
        tally.enter(Phase::Reading);
        Ok(())
    }

    /// A point of the timeline.
    pub(super) async fn mark(&mut self, exchanges: usize, tally: &mut Tally) -> Result<(), RunError> {
        tally.enter(Phase::Answering);
        let context_tokens = self.agent.context_tokens()?;
        let knowledge_kept = self.knowledge.kept(&mut self.agent, self.run.record.batch, self.abort).await?;
        self.check_abort()?;
        tally.timeline.push(TimelinePoint { exchanges, context_tokens, delta_norm: tally.delta_norm, knowledge_kept });
        tally.enter(Phase::Reading);
        Ok(())
    }

    /// Saves the unit as it is.
    pub(super) async fn save<D: Serialize>(&mut self, unit: &Unit, tally: &Tally, place: D) -> Result<(), RunError> {
        let agent = self.agent.snapshot().await?;
        let (tally, first_line) = (tally.clone(), unit.first_line);
        self.folder.save(&Saved { unit: unit.index, first_line, tally, agent, place })
    }

    /// An agent at its beginning, within a unit.
    pub(super) async fn begin_episode(&mut self, question: Option<&str>, tally: &mut Tally) -> Result<(), RunError> {
        self.agent.reset(&mut |_| {}).await?;
        self.agent.set_question(question);
        tally.begin_episode();
        Ok(())
    }

    /// Adds what the agent's state says at the end of an episode.
    pub(super) fn end_episode(&self, exchanges: usize, tally: &mut Tally) {
        let state = self.agent.state();
        tally.exchanges += exchanges;
        tally.cards += state.cards.len() + state.superseded.len();
        tally.dropped_turns += state.dropped_turns;
    }

    /// Writes the unit's lines; it is finished then.
    pub(super) fn finish(&mut self, unit: &Unit, tally: &mut Tally) -> Result<(), RunError> {
        let spent = |sum: Tokens, line: &ProbeLine| Tokens {
            read: sum.read + line.tokens_read,
            generated: sum.generated + line.tokens_generated,
        };
        let answers = self.folder.since(unit.first_line)?.iter().fold(Tokens::default(), spent);
        let policy = self.agent.policy();
        let line = tally.unit_line(unit, answers, policy.delta());
        let timing = tally.timing_line(unit, policy.usage().peak_gpu_bytes);
        self.folder.finish(line, &timing)
    }

    fn check_abort(&self) -> Result<(), RunError> {
        if self.abort.is_aborted() { Err(RunError::Aborted) } else { Ok(()) }
    }
}

/// Counts what the rollout tells, and hands it on.
fn observer(tally: &mut Tally, progress: &mut dyn FnMut(Progress<'_>)) -> impl FnMut(Event) {
    move |event| {
        tally.record(&event);
        progress(Progress::Rollout(&event));
    }
}

/// A probe as it is asked: memory is searched with the question alone.
pub(super) fn question(probe: &Probe, prompt: PromptKind) -> Question {
    let text = match prompt {
        PromptKind::Official => &probe.prompt,
        PromptKind::Plain => &probe.question,
    };
    Question {
        text: text.clone(),
        searched: Some(probe.question.clone()),
        max_tokens: probe.max_tokens,
        stop: Vec::new(),
    }
}
