//! The agent with what the page shows of it.

use std::collections::BTreeMap;

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::fast::{DeltaId, SiteNorm};
use tmem_core::message::Message;
use tmem_core::rollout::memory::{CardUse, MemoryStrategy as _};
use tmem_core::rollout::policy::{Policy, ScoreRequest, Weights};
use tmem_core::rollout::{Agent, AgentError, AgentSnapshot, Event};
use tmem_gpu::Gpu;

use super::reporter::Reporter;
use crate::format::sentence;
use crate::log::Log;
use crate::protocol::{Activity, CardState, Failure, News, Status};
use crate::saved::Saved;
use crate::scribe::Scribe;

/// The agent, its log, and how well it knows each card.
pub(crate) struct Conversation<P> {
    pub(super) agent: Agent<P>,
    pub(super) scribe: Scribe,
    known: BTreeMap<u64, u8>,
    /// The Δ that `known` was found out with.
    known_at: DeltaId,
    gpu: Gpu,
    pub(super) reporter: Reporter,
    pub(super) abort: Abort,
}

/// Runs one of the agent's actions with the scribe listening.
macro_rules! observed {
    ($self:ident, $run:expr, |$agent:ident, $observe:ident, $abort:ident| $action:expr) => {{
        let Conversation { agent: $agent, scribe, reporter, abort, .. } = &mut *$self;
        let $abort: &tmem_core::abort::Abort = abort;
        let run = $run;
        let $observe: &mut dyn FnMut(tmem_core::rollout::Event) =
            &mut |event| $crate::worker::conversation::tell(scribe, reporter, run, event);
        $action
    }};
}
pub(super) use observed;

pub(super) fn tell(scribe: &mut Scribe, reporter: &Reporter, run: u64, event: Event) {
    for news in scribe.observe(event, js_sys::Date::now() / 1000.0) {
        reporter.send(run, news);
    }
}

impl<P: Policy> Conversation<P> {
    /// A conversation that has not begun. `norms` names every site, at zero.
    pub(crate) fn new(agent: Agent<P>, norms: Vec<SiteNorm>, gpu: Gpu, reporter: Reporter, abort: Abort) -> Self {
        let known_at = agent.policy().delta();
        let scribe = Scribe::new(Log::default(), norms);
        Self { agent, scribe, known: BTreeMap::new(), known_at, gpu, reporter, abort }
    }

    /// Goes on with a conversation of an earlier visit.
    ///
    /// # Errors
    /// Fast weights of other settings, or a failure of the model; nothing is changed then.
    pub(crate) async fn resume(&mut self, saved: Saved) -> Result<(), Failure> {
        self.agent.restore(&saved.agent).await?;
        self.known = saved.known;
        self.known_at = self.agent.policy().delta();
        self.scribe = Scribe::new(saved.log, saved.norms);
        Ok(())
    }

    /// Everything to be kept for the next visit.
    ///
    /// # Errors
    /// A failure of the model.
    pub(crate) async fn save(&mut self, model_sha256: &str) -> Result<Saved, Failure> {
        let agent: AgentSnapshot = self.agent.snapshot().await?;
        Ok(Saved {
            model_sha256: model_sha256.to_owned(),
            settings: self.agent.settings().clone(),
            log: self.scribe.log().clone(),
            norms: self.scribe.norms().to_vec(),
            known: self.known.clone(),
            agent,
        })
    }

    /// A user turn.
    pub(crate) async fn say(&mut self, run: u64, text: &str, twin: bool) -> Result<(), Failure> {
        self.agent.set_twin(twin);
        let result = observed!(self, run, |agent, observe, abort| agent.turn(text, observe, abort).await);
        self.settle(run, result.map(drop)).await
    }

    /// A memory-writing action now.
    pub(crate) async fn write(&mut self, run: u64) -> Result<(), Failure> {
        let result = observed!(self, run, |agent, observe, abort| agent.write_now(observe, abort).await);
        self.settle(run, result.map(drop)).await
    }

    /// h ← ∅.
    pub(crate) async fn clear_context(&mut self, run: u64) -> Result<(), Failure> {
        observed!(self, run, |agent, observe, _abort| agent.clear_context(observe));
        self.settle(run, Ok(())).await
    }

    /// Forgets a card.
    pub(crate) async fn forget(&mut self, run: u64, id: u64) -> Result<(), Failure> {
        let result = observed!(self, run, |agent, observe, abort| agent.forget(id, observe, abort).await);
        self.settle(run, result).await
    }

    /// Changes a card.
    pub(crate) async fn edit(&mut self, run: u64, card: Card) -> Result<(), Failure> {
        let result = observed!(self, run, |agent, observe, abort| agent.edit(card, observe, abort).await);
        self.settle(run, result).await
    }

    /// Trains Δ anew by the cards there are.
    pub(crate) async fn relearn(&mut self, run: u64) -> Result<(), Failure> {
        let result = observed!(self, run, |agent, observe, abort| agent.relearn(observe, abort).await);
        self.settle(run, result).await
    }

    /// Forgets everything. `norms` names every site, at zero.
    pub(crate) async fn forget_everything(&mut self, run: u64, norms: Vec<SiteNorm>) -> Result<(), Failure> {
        let result = observed!(self, run, |agent, observe, _abort| agent.reset(observe).await);
        if result.is_ok() {
            self.scribe = Scribe::new(Log::default(), norms);
            self.reporter.send(run, News::Restored { log: Log::default() });
        }
        self.settle(run, result).await
    }

    /// Sets what is shown as the size of Δ at each site.
    pub(crate) fn set_norms(&mut self, norms: Vec<SiteNorm>) {
        self.scribe.set_norms(norms);
    }

    /// Adds a line of its own to the log.
    pub(crate) fn note(&mut self, run: u64, text: String) {
        let news = self.scribe.note(text);
        self.reporter.send(run, news);
    }

    /// Shows the log and the state as they are.
    pub(crate) async fn show(&mut self, run: u64) -> Result<(), Failure> {
        self.reporter.send(run, News::Restored { log: self.scribe.log().clone() });
        self.settle(run, Ok(())).await
    }

    /// After an action, whether it went well or not: closes what is open and tells the state.
    pub(super) async fn settle(&mut self, run: u64, result: Result<(), AgentError>) -> Result<(), Failure> {
        self.scribe.end_run();
        let checked = match result {
            Ok(()) => self.check_cards(run).await,
            // The person asked for it: that is news, not a failure.
            Err(stopped @ AgentError::Aborted) => {
                self.reporter.send(run, News::Notice { text: sentence(&stopped.to_string()) });
                Ok(())
            }
            Err(error) => Err(error),
        };
        let status = self.status()?;
        self.reporter.send(run, News::Status(Box::new(status)));
        Ok(checked?)
    }

    /// Asks how well each card is known, where Δ or the cards have changed since.
    async fn check_cards(&mut self, run: u64) -> Result<(), AgentError> {
        if self.agent.state().memory.card_use() != CardUse::Learned {
            // Nobody taught the model these cards.
            self.known.clear();
            return Ok(());
        }
        let cards = self.agent.cards();
        let same = self.known.len() == cards.len() && cards.iter().all(|card| self.known.contains_key(&card.id));
        if same && self.known_at == self.agent.policy().delta() {
            return Ok(());
        }
        self.reporter.send(run, News::Doing { activity: Activity::Working });
        let requests: Vec<ScoreRequest> = cards
            .iter()
            .map(|card| ScoreRequest {
                messages: vec![Message::user(card.question.clone())],
                assistant_prefix: String::new(),
                continuation: card.answer.clone(),
                weights: Weights::Fast,
            })
            .collect();
        let ids: Vec<u64> = cards.iter().map(|card| card.id).collect();
        let scores = if requests.is_empty() { Vec::new() } else { self.agent.policy_mut().score(&requests).await? };
        let percent = |lp: f32, tokens: usize| ((lp / tokens.max(1) as f32).exp() * 100.0).round() as u8;
        self.known = ids.into_iter().zip(scores).map(|(id, s)| (id, percent(s.log_probability, s.tokens))).collect();
        self.known_at = self.agent.policy().delta();
        Ok(())
    }

    fn status(&self) -> Result<Status, Failure> {
        let cards = self.agent.cards().iter();
        let cards = cards.map(|card| CardState { card: card.clone(), percent: self.known.get(&card.id).copied() });
        Ok(Status {
            context_tokens: self.agent.context_tokens()?,
            budget: self.agent.budget(),
            cards: cards.collect(),
            passages: self.agent.passages(),
            delta: self.agent.policy().delta(),
            norms: self.scribe.norms().to_vec(),
            settings: Box::new(self.agent.settings().clone()),
            gpu_bytes: self.gpu.memory().live(),
        })
    }
}
