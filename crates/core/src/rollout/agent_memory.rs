//! The agent's memory-writing action and everything that trains Δ. Each of these happens whole or not at all.

use std::collections::HashSet;

use super::agent::{Agent, AgentError};
use super::event::{Event, Warning};
use super::memory::{CardUse, Memory, MemoryStrategy, Passage};
use super::policy::Policy;
use super::state::Action;
use super::writer::grounding::supersedes;
use super::writer::{Draft, Dropped, WriterInput};
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::{WriteOutcome, WriteReport};

/// A memory-writing action that came to an end.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Cards learned, or kept by a strategy that trains nothing; empty where there was nothing to remember.
    pub cards: Vec<Card>,
    /// What the writer wrote that was not learned.
    pub dropped: Vec<Dropped>,
    /// What is new in the explicit memory m.
    pub passages: Vec<Passage>,
    /// The training; `None` where there was nothing to train, or the strategy trains nothing.
    pub report: Option<WriteReport>,
}

/// How training ended.
enum Learned {
    /// It went well; without a report where there was nothing to train.
    Yes(Option<WriteReport>),
    No(String),
}

impl<P: Policy> Agent<P> {
    /// Writes memory from the turns not yet written, now. The context stays; its turns are not written again.
    ///
    /// # Errors
    /// [`AgentError::Aborted`], [`AgentError::NotLearned`] or a failure of the policy: then context, cards and Δ are
    /// what they were before.
    pub async fn write_now(&mut self, observe: &mut dyn FnMut(Event), abort: &Abort) -> Result<Written, AgentError> {
        match self.write(observe, abort).await? {
            Some(written) => {
                self.state.written = self.state.context.len();
                self.state.script.push(Action::Write {});
                Ok(written)
            }
            None if abort.is_aborted() => Err(AgentError::Aborted),
            None => Err(AgentError::NotLearned { reason: "see the warning before".to_owned() }),
        }
    }

    /// The memory-writing action a and T(Δ, a). `None` where it was given up; all is then as before.
    pub(super) async fn write(
        &mut self,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<Option<Written>, AgentError> {
        let system = self.system(None);
        let turns = self.state.context.get(self.state.written..).unwrap_or_default();
        observe(Event::WritingStarted { turns: turns.len() });
        let question = self.state.question.as_deref().filter(|_| self.settings.rollout.question_aware);
        let input = WriterInput {
            turns,
            system: system.as_deref(),
            known: &self.state.cards,
            question,
            settings: &self.settings,
        };
        // The strategy works on a copy, so that an error or an abort leaves m as it was.
        let mut memory = self.state.memory.clone();
        let output = memory.write(&mut self.policy, &input, observe, abort).await?;
        if output.aborted || abort.is_aborted() {
            observe(Event::Warning(Warning::WriteAbandoned { reason: "stopped".to_owned() }));
            return Ok(None);
        }
        let rollout = &self.settings.rollout;
        if output.truncated {
            observe(Event::Warning(Warning::WriterTruncated { limit: rollout.writer_tokens }));
        }
        if output.summary_truncated {
            observe(Event::Warning(Warning::SummaryTruncated { limit: rollout.summary_tokens }));
        }
        let cards = self.number(output.drafts);
        if memory.card_use() != CardUse::None {
            observe(Event::CardsWritten { cards: cards.clone(), dropped: output.dropped.clone() });
        }
        let passages = self.new_passages(&memory);
        let mut written = Written { cards, dropped: output.dropped, passages, report: None };
        if !written.cards.is_empty() {
            let earlier = self.state.cards.clone();
            match self.train(&[&written.cards], &earlier, false, observe, abort).await? {
                Learned::Yes(report) => written.report = report,
                Learned::No(reason) => {
                    observe(Event::Warning(Warning::WriteAbandoned { reason }));
                    return Ok(None);
                }
            }
            self.commit(&written.cards, observe);
        } else if written.passages.is_empty() && memory.is_triggered() {
            observe(Event::Warning(Warning::NothingWritten { dropped: written.dropped.len() }));
        }
        if !written.passages.is_empty() {
            observe(Event::MemoryWritten { passages: written.passages.clone() });
        }
        self.state.memory = memory;
        Ok(Some(written))
    }

    /// What is new in a memory that was written to.
    fn new_passages(&self, memory: &Memory) -> Vec<Passage> {
        let old: HashSet<Passage> = self.state.memory.passages().into_iter().collect();
        memory.passages().into_iter().filter(|passage| !old.contains(passage)).collect()
    }

    /// Learns cards from outside as one write; a strategy that trains nothing keeps them. They are given new ids; the cards as learned come back.
    ///
    /// # Errors
    /// As [`write_now`](Self::write_now), and [`AgentError::EmptyCard`].
    pub async fn learn(
        &mut self,
        cards: &[Card],
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<Written, AgentError> {
        if cards.iter().any(is_empty) {
            return Err(AgentError::EmptyCard);
        }
        let first = self.state.next_card;
        let cards: Vec<Card> = cards.iter().cloned().zip(first..).map(|(card, id)| Card { id, ..card }).collect();
        let mut written = Written { cards, dropped: Vec::new(), passages: Vec::new(), report: None };
        if !written.cards.is_empty() {
            observe(Event::CardsWritten { cards: written.cards.clone(), dropped: Vec::new() });
            let earlier = self.state.cards.clone();
            let learned = self.train(&[&written.cards], &earlier, false, observe, abort).await?;
            written.report = require(learned, abort)?;
            self.commit(&written.cards, observe);
            self.state.script.push(Action::Learn { cards: written.cards.clone() });
        }
        Ok(written)
    }

    /// Takes cards as already learned: Δ was put in place from outside (an import).
    pub fn adopt(&mut self, cards: &[Card]) {
        let first = self.state.next_card;
        let cards: Vec<Card> = cards.iter().cloned().zip(first..).map(|(card, id)| Card { id, ..card }).collect();
        self.commit(&cards, &mut |_| {});
        self.state.off_script = true;
    }

    /// Forgets a card: Δ is trained from zero by the same writes without it, as if it had never been written. A card
    /// that it had taken the place of is back then.
    ///
    /// # Errors
    /// [`AgentError::UnknownCard`]; otherwise as [`write_now`](Self::write_now).
    pub async fn forget(&mut self, id: u64, observe: &mut dyn FnMut(Event), abort: &Abort) -> Result<(), AgentError> {
        self.require_card(id)?;
        let mut writes = self.state.written_cards();
        writes.iter_mut().for_each(|cards| cards.retain(|c| c.id != id));
        self.retrain(writes, observe, abort).await?;
        self.state.script.push(Action::Forget { id });
        observe(Event::CardForgotten { id });
        Ok(())
    }

    /// Replaces the card with the same id: Δ is trained from zero as if it had been written that way.
    ///
    /// # Errors
    /// [`AgentError::UnknownCard`], [`AgentError::EmptyCard`]; otherwise as [`write_now`](Self::write_now).
    pub async fn edit(&mut self, card: Card, observe: &mut dyn FnMut(Event), abort: &Abort) -> Result<(), AgentError> {
        if is_empty(&card) {
            return Err(AgentError::EmptyCard);
        }
        self.require_card(card.id)?;
        let mut writes = self.state.written_cards();
        writes.iter_mut().flatten().filter(|c| c.id == card.id).for_each(|c| *c = card.clone());
        self.retrain(writes, observe, abort).await?;
        self.state.script.push(Action::Edit { card: card.clone() });
        observe(Event::CardEdited { card });
        Ok(())
    }

    fn require_card(&self, id: u64) -> Result<(), AgentError> {
        if self.state.cards.iter().any(|c| c.id == id) { Ok(()) } else { Err(AgentError::UnknownCard(id)) }
    }

    /// Trains Δ from zero by the same writes: after other settings of the fast weights or another strategy, or to check
    /// a Δ. Under a strategy that trains nothing Δ becomes 0.
    ///
    /// # Errors
    /// As [`write_now`](Self::write_now).
    pub async fn relearn(&mut self, observe: &mut dyn FnMut(Event), abort: &Abort) -> Result<(), AgentError> {
        self.retrain(self.state.written_cards(), observe, abort).await
    }

    async fn retrain(
        &mut self,
        mut writes: Vec<Vec<Card>>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<(), AgentError> {
        writes.retain(|cards| !cards.is_empty());
        let batches: Vec<&[Card]> = writes.iter().map(Vec::as_slice).collect();
        let learned = self.train(&batches, &[], true, observe, abort).await?;
        require(learned, abort)?;
        self.state.cards.clear();
        self.state.superseded.clear();
        self.state.writes.clear();
        for cards in &writes {
            self.commit(cards, &mut |_| {});
        }
        Ok(())
    }

    /// Trains the writes one after the other, from zero or from the current Δ; each replays all that came before it and
    /// that it does not contradict. On anything but success Δ is put back. A strategy that does not learn its cards has
    /// Δ = 0 from zero, and else the Δ there is.
    async fn train(
        &mut self,
        writes: &[&[Card]],
        earlier: &[Card],
        from_zero: bool,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<Learned, AgentError> {
        if self.state.memory.card_use() != CardUse::Learned {
            if from_zero && self.policy.delta().version > 0 {
                self.policy.reset().await?;
            } else if !from_zero {
                observe(Event::CardsKept { cards: writes.iter().map(|cards| cards.len()).sum() });
            }
            return Ok(Learned::Yes(None));
        }
        let before = self.policy.snapshot().await?;
        if from_zero {
            self.policy.reset().await?;
        }
        let mut replay = earlier.to_vec();
        let mut last = None;
        for cards in writes {
            replay.retain(|old| !cards.iter().any(|new| supersedes(new, old)));
            observe(Event::LearningStarted { cards: cards.len(), replay: replay.len(), from_zero });
            let mut tell = |step: &crate::fast::StepReport| observe(Event::Step(step.clone()));
            let result = self.policy.learn(cards, &replay, &mut tell, abort).await;
            let report = match result {
                Ok(report) => report,
                Err(error) => {
                    // The first error is the one to tell; after a lost device the second says nothing new.
                    let _ = self.policy.restore(&before).await;
                    return Err(error.into());
                }
            };
            observe(Event::WriteFinished(report.clone()));
            let failure = match &report.outcome {
                WriteOutcome::Completed | WriteOutcome::StoppedEarly => None,
                WriteOutcome::Aborted => Some("stopped".to_owned()),
                WriteOutcome::RolledBack { reason } => Some(reason.clone()),
                WriteOutcome::Nothing => Some("no card fits the model's training batch".to_owned()),
            };
            if let Some(reason) = failure {
                self.policy.restore(&before).await?;
                return Ok(Learned::No(reason));
            }
            replay.extend_from_slice(cards);
            last = Some(report);
        }
        Ok(Learned::Yes(last))
    }

    /// Gives drafts the next ids. They count as used once the cards are learned, so that a write that was given up
    /// leaves no trace in what a replay sees.
    fn number(&self, drafts: Vec<Draft>) -> Vec<Card> {
        drafts.into_iter().zip(self.state.next_card..).map(|(draft, id)| draft.into_card(id)).collect()
    }

    /// Takes trained cards into the state.
    fn commit(&mut self, cards: &[Card], observe: &mut dyn FnMut(Event)) {
        let next = cards.iter().map(|c| c.id + 1).max().unwrap_or(0);
        self.state.next_card = self.state.next_card.max(next);
        self.state.writes.push(cards.iter().map(|c| c.id).collect());
        let held = |old: &Card| !cards.iter().any(|new| supersedes(new, old));
        let (held, superseded): (Vec<_>, Vec<_>) = self.state.cards.drain(..).partition(held);
        if !superseded.is_empty() {
            let ids = superseded.iter().map(|c| c.id).collect();
            observe(Event::Warning(Warning::CardsSuperseded { ids }));
        }
        self.state.superseded.extend(superseded);
        self.state.cards = held;
        self.state.cards.extend_from_slice(cards);
    }
}

fn is_empty(card: &Card) -> bool {
    card.question.trim().is_empty() || card.answer.trim().is_empty()
}

/// Turns a failed training into an error.
fn require(learned: Learned, abort: &Abort) -> Result<Option<WriteReport>, AgentError> {
    match learned {
        Learned::Yes(report) => Ok(report),
        Learned::No(_) if abort.is_aborted() => Err(AgentError::Aborted),
        Learned::No(reason) => Err(AgentError::NotLearned { reason }),
    }
}
