//! The agent: ordinary actions, the trigger, and the state around them.

use super::asking::AskOptions;
use super::event::{Answer, Event, Warning};
use super::memory::{CardUse, Memory, MemoryStrategy, Passage};
use super::policy::{Finish, Policy, PolicyError};
use super::state::{Action, AgentSnapshot, AgentState, Turn};
use super::writer::conversation;
use crate::abort::Abort;
use crate::card::Card;
use crate::message::Message;
use crate::settings::Settings;

/// Why the agent could not do something. Its state is then what it was before.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The model behind it failed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Nothing was said.
    #[error("there is nothing to answer: the text is empty")]
    Empty,
    /// The turn does not fit the model even with an empty context.
    #[error("this turn needs {tokens} tokens and the model takes {limit}: send it in parts")]
    TurnTooLong {
        /// Tokens of the turn alone, its answer included.
        tokens: usize,
        /// Tokens the model can hold.
        limit: usize,
    },
    /// No card with this id.
    #[error("there is no card {0}: list the cards to see their numbers")]
    UnknownCard(u64),
    /// A card without a question or an answer.
    #[error("a card needs a question and an answer")]
    EmptyCard,
    /// Stopped from outside before there was a result.
    #[error("stopped; nothing was changed")]
    Aborted,
    /// Training failed on these cards; Δ and the cards are what they were before.
    #[error("the fast weights could not be trained ({reason}): lower fast.learning_rate or fast.steps and try again")]
    NotLearned {
        /// What happened.
        reason: String,
    },
}

/// An agent with working context h, explicit memory m and fast weights Δ (arXiv 2606.04536).
///
/// The context is measured at two places: before an answer, so that the prompt stays within L_max wherever a turn
/// leaves room for that, and after it, so that writing happens while the person reads. An answer that was stopped
/// stays in the context as far as it got and triggers nothing.
#[derive(Debug)]
pub struct Agent<P> {
    pub(super) policy: P,
    pub(super) settings: Settings,
    pub(super) state: AgentState,
    twin: bool,
}

impl<P: Policy> Agent<P> {
    /// An agent at the start of a rollout. The policy must have been made with the same settings and Δ = 0.
    pub fn new(policy: P, settings: Settings) -> Self {
        let state = AgentState { memory: Memory::new(&settings.rollout), ..AgentState::default() };
        Self { policy, settings, state, twin: false }
    }

    /// The state: context, cards, counters.
    pub fn state(&self) -> &AgentState {
        &self.state
    }

    /// Cards learned, oldest first.
    pub fn cards(&self) -> &[Card] {
        &self.state.cards
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The model.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The model, for what is no part of a rollout (statistics, exports).
    pub fn policy_mut(&mut self) -> &mut P {
        &mut self.policy
    }

    /// Gives the model back.
    pub fn into_policy(self) -> P {
        self.policy
    }

    /// Whether the frozen twin answers every turn too, in the same batch. It never changes the state.
    pub fn set_twin(&mut self, twin: bool) {
        self.twin = twin;
    }

    /// Takes new settings into use; the policy must have been given them too. Another memory strategy begins with an
    /// empty m; the cards stay. Where sites, rank or start of the fast weights changed, or
    /// [`needs_relearning`](Self::needs_relearning) says so, call [`relearn`](Self::relearn) to have the Δ that
    /// belongs to cards and strategy.
    pub fn set_settings(&mut self, settings: Settings) {
        if !self.state.memory.fits(&settings.rollout) {
            self.state.memory = Memory::new(&settings.rollout);
        }
        self.state.off_script |= self.settings != settings && !self.state.script.is_empty();
        self.settings = settings;
    }

    /// Whether Δ and the strategy do not go together: cards that it would have learned and Δ has not, or a Δ that it
    /// would not have. So it is after another strategy was chosen.
    pub fn needs_relearning(&self) -> bool {
        let learned = self.policy.delta().version > 0;
        match self.state.memory.card_use() {
            CardUse::Learned => !learned && !self.state.cards.is_empty(),
            CardUse::Kept | CardUse::None => learned,
        }
    }

    /// What the explicit memory m holds, for people; empty for a strategy without one.
    pub fn passages(&self) -> Vec<Passage> {
        self.state.memory.passages()
    }

    /// The question that the memory is for (the paper's one episode for each question), or none. The writer is told it
    /// where the setting `rollout.question_aware` is on. It stays until the next reset.
    pub fn set_question(&mut self, question: Option<&str>) {
        let question = question.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        if question != self.state.question {
            self.state.script.push(Action::Purpose { question: question.clone() });
            self.state.question = question;
        }
    }

    /// ℓ(h) + ℓ(m): tokens of the rendered context with the system message, and the most that may be brought back into
    /// a prompt.
    ///
    /// # Errors
    /// A template that cannot render the context.
    pub fn context_tokens(&self) -> Result<usize, AgentError> {
        self.count(None)
    }

    /// L_max as it can be kept: the setting, or less where the model itself cannot hold that and an answer.
    pub fn budget(&self) -> usize {
        self.settings.rollout.budget.min(self.room())
    }

    /// Tokens a prompt may have.
    pub(super) fn room(&self) -> usize {
        self.policy.context_length().saturating_sub(self.settings.rollout.answer_tokens)
    }

    /// The system message in force: system prompt, explicit memory m, and what was brought back for one question.
    pub(super) fn system(&self, recalled: Option<&str>) -> Option<String> {
        let prompt = Some(self.settings.rollout.system_prompt.as_str()).filter(|prompt| !prompt.is_empty());
        let carried = self.state.memory.carried();
        let parts: Vec<&str> = [prompt, carried.as_deref(), recalled].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("\n\n"))
    }

    /// The conversation of `turns` and a question behind them.
    pub(super) fn prompt(&self, turns: &[Turn], query: Option<&str>, recalled: Option<&str>) -> Vec<Message> {
        let mut messages = conversation(self.system(recalled).as_deref(), turns);
        messages.extend(query.map(Message::user));
        messages
    }

    fn count(&self, query: Option<&str>) -> Result<usize, AgentError> {
        let messages = self.prompt(&self.state.context, query, None);
        let reserve = self.state.memory.reserve(&self.settings.rollout);
        Ok(reserve + if messages.is_empty() { 0 } else { self.policy.count_tokens(&messages)? })
    }

    /// A user turn: memory is written first where the turn would pass the budget, then the agent answers (and the
    /// twin, if it is on), then memory is written where the answer passed the budget.
    ///
    /// # Errors
    /// [`AgentError::Empty`], [`AgentError::TurnTooLong`], [`AgentError::Aborted`] where it was stopped before the
    /// answer began, or a failure of the policy.
    pub async fn turn(
        &mut self,
        text: &str,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<Answer, AgentError> {
        self.begin_turn(text, observe, abort).await?;
        let mut answers =
            self.ask_each(&[text.into()], AskOptions { context: true, twin: self.twin }, observe, abort).await?;
        let answer = answers.pop().ok_or(AgentError::Empty)?;
        let action = if answer.finish == Finish::Aborted {
            // A replay cannot stop at the same token; it is given the answer instead.
            Action::Feed { text: text.to_owned(), answer: answer.text.clone() }
        } else {
            Action::Turn { text: text.to_owned() }
        };
        let stopped = answer.finish == Finish::Aborted;
        self.end_turn(action, text, &answer.text, stopped, observe, abort).await?;
        Ok(answer)
    }

    /// A user turn whose answer is already known (a transcript being read in): like [`turn`](Self::turn), triggers
    /// included, but nothing is generated for it.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub async fn feed(
        &mut self,
        text: &str,
        answer: &str,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<(), AgentError> {
        self.begin_turn(text, observe, abort).await?;
        let action = Action::Feed { text: text.to_owned(), answer: answer.to_owned() };
        self.end_turn(action, text, answer, false, observe, abort).await
    }

    async fn begin_turn(
        &mut self,
        text: &str,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<(), AgentError> {
        if text.trim().is_empty() {
            return Err(AgentError::Empty);
        }
        let alone = self.policy.count_tokens(&self.prompt(&[], Some(text), None))?;
        if alone > self.room() {
            let tokens = alone + self.settings.rollout.answer_tokens;
            return Err(AgentError::TurnTooLong { tokens, limit: self.policy.context_length() });
        }
        observe(Event::TurnStarted { turn: self.state.turns, text: text.to_owned() });
        if !self.state.context.is_empty() {
            self.trigger(Some(text), observe, abort).await?;
        }
        if abort.is_aborted() {
            return Err(AgentError::Aborted);
        }
        self.make_room(text, observe)
    }

    async fn end_turn(
        &mut self,
        action: Action,
        user: &str,
        assistant: &str,
        stopped: bool,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<(), AgentError> {
        let turn = self.state.turns;
        self.state.context.push(Turn { index: turn, user: user.to_owned(), assistant: assistant.to_owned() });
        self.state.turns += 1;
        self.state.script.push(action);
        observe(Event::TurnFinished { turn, tokens: self.context_tokens()?, budget: self.budget() });
        if !stopped {
            self.trigger(None, observe, abort).await?;
        }
        Ok(())
    }

    /// Writes memory and clears the context where ℓ(h) + ℓ(m), with the turn about to be answered, is above L_max.
    async fn trigger(
        &mut self,
        query: Option<&str>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<(), AgentError> {
        let (tokens, budget) = (self.count(query)?, self.budget());
        if !self.state.memory.is_triggered() || tokens <= budget.max(self.state.trigger_above) {
            return Ok(());
        }
        observe(Event::Trigger { tokens, budget });
        match self.write(observe, abort).await? {
            Some(_) => self.clear(observe),
            None => {
                // Trying again at every turn would stall the conversation on the same failure.
                self.state.trigger_above = tokens + budget / 4;
                self.state.off_script = true;
            }
        }
        Ok(())
    }

    /// Lets the oldest turns fall out until the prompt and an answer fit the model.
    fn make_room(&mut self, text: &str, observe: &mut dyn FnMut(Event)) -> Result<(), AgentError> {
        let mut turns = 0;
        while !self.state.context.is_empty() && self.count(Some(text))? > self.room() {
            self.state.context.remove(0);
            self.state.written = self.state.written.saturating_sub(1);
            turns += 1;
        }
        if turns > 0 {
            self.state.dropped_turns += turns;
            observe(Event::Warning(Warning::TurnsDropped { turns, total: self.state.dropped_turns }));
        }
        Ok(())
    }

    /// h ← ∅, without writing. The explicit memory and Δ stay.
    pub fn clear_context(&mut self, observe: &mut dyn FnMut(Event)) {
        self.clear(observe);
        self.state.script.push(Action::Clear {});
    }

    fn clear(&mut self, observe: &mut dyn FnMut(Event)) {
        let turns = self.state.context.len();
        self.state.context.clear();
        self.state.written = 0;
        self.state.trigger_above = 0;
        observe(Event::ContextCleared { turns });
    }

    /// Back to the start of a rollout: h, m and the cards empty, Δ = 0.
    ///
    /// # Errors
    /// A failure of the policy.
    pub async fn reset(&mut self, observe: &mut dyn FnMut(Event)) -> Result<(), AgentError> {
        self.policy.reset().await?;
        self.state = AgentState { memory: Memory::new(&self.settings.rollout), ..AgentState::default() };
        observe(Event::Reset);
        Ok(())
    }

    /// Saves everything but the settings.
    ///
    /// # Errors
    /// A failure of the policy.
    pub async fn snapshot(&mut self) -> Result<AgentSnapshot, AgentError> {
        Ok(AgentSnapshot { state: self.state.clone(), fast: self.policy.snapshot().await? })
    }

    /// Puts a saved state back.
    ///
    /// # Errors
    /// A snapshot of other sites or another rank, or a failure of the policy; the state is then unchanged.
    pub async fn restore(&mut self, snapshot: &AgentSnapshot) -> Result<(), AgentError> {
        self.policy.restore(&snapshot.fast).await?;
        self.state = snapshot.state.clone();
        Ok(())
    }
}
