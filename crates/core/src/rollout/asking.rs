//! The agent's ordinary actions: memory is asked first, then the model.

use super::agent::{Agent, AgentError};
use super::event::{Answer, Event, Segment, SegmentKind, Speaker, Warning};
use super::memory::{MemoryStrategy, Query, RecallInput, Recalled};
use super::policy::{Finish, GenerateRequest, Generation, Policy, Weights};
use super::state::{Action, Turn};
use crate::abort::Abort;

/// How a question outside the conversation is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskOptions {
    /// Whether the working context stands before the question.
    pub context: bool,
    /// Whether the frozen twin answers too, in the same batch.
    pub twin: bool,
}

/// A question outside the conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// What is asked, instructions included.
    pub text: String,
    /// What memory is searched with; `None` takes the whole text.
    pub searched: Option<String>,
    /// Most tokens of the answer; `None` leaves it to `rollout.answer_tokens`.
    pub max_tokens: Option<usize>,
    /// The answer ends where one of these appears; the stop text is not part of it.
    pub stop: Vec<String>,
}

impl<T: Into<String>> From<T> for Question {
    fn from(text: T) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// A question on its way.
struct Planned<'a> {
    question: &'a str,
    recalled: Recalled,
    /// What the agent asks the model; the frozen twin is asked the same.
    request: GenerateRequest,
}

impl Planned<'_> {
    /// Who asks the model.
    fn speakers(&self, twin: bool) -> impl Iterator<Item = Speaker> + use<> {
        let agent = self.recalled.answer.is_none().then_some(Speaker::Agent);
        agent.into_iter().chain(twin.then_some(Speaker::Twin))
    }
}

impl<P: Policy> Agent<P> {
    /// Asks a question that leaves the context as it is: an ordinary action of the agent and, in the same batch, of
    /// the frozen twin.
    ///
    /// # Errors
    /// [`AgentError::Empty`] or a failure of the policy.
    pub async fn ask(
        &mut self,
        question: &str,
        options: AskOptions,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<Answer, AgentError> {
        let mut answers = self.ask_each(&[question.into()], options, observe, abort).await?;
        let answer = answers.pop().ok_or(AgentError::Empty)?;
        self.state.script.push(Action::Ask { text: question.to_owned(), context: options.context });
        Ok(answer)
    }

    /// Asks many questions as one batch, each as if it were the only one. Leaves no trace in the script.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn ask_all(
        &mut self,
        questions: &[String],
        options: AskOptions,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<Vec<Answer>, AgentError> {
        let questions: Vec<Question> = questions.iter().map(|text| text.as_str().into()).collect();
        self.ask_each(&questions, options, observe, abort).await
    }

    /// Whether a question, what every prompt carries and an answer fit the model where the context is left out.
    ///
    /// # Errors
    /// A template that cannot render the question.
    pub fn fits(&self, question: &Question) -> Result<bool, AgentError> {
        let tokens = self.policy.count_tokens(&self.prompt(&[], Some(&question.text), None))?;
        Ok(tokens <= self.room_for(question))
    }

    /// As [`ask_all`](Self::ask_all), each question with limits of its own. Agent and twin of a question stand side by
    /// side in the batch. A question that memory answers by itself is told as it was found: no prompt, no sampled
    /// token, and so no segment.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn ask_each(
        &mut self,
        questions: &[Question],
        options: AskOptions,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<Vec<Answer>, AgentError> {
        let planned = self.plan(questions, options, observe).await?;
        let mut asked = Vec::new();
        let mut requests = Vec::new();
        for (index, plan) in planned.iter().enumerate() {
            if let Some(text) = &plan.recalled.answer {
                observe(Event::Token { speaker: Speaker::Agent, index, text: text.clone() });
            }
            for speaker in plan.speakers(options.twin) {
                let weights = if speaker == Speaker::Twin { Weights::Frozen } else { Weights::Fast };
                asked.push((speaker, index));
                requests.push(GenerateRequest { weights, ..plan.request.clone() });
            }
        }
        let mut generations = if requests.is_empty() {
            Vec::new()
        } else {
            let mut tell = |at: usize, text: &str| {
                let (speaker, index) = asked[at];
                observe(Event::Token { speaker, index, text: text.to_owned() });
            };
            self.policy.generate(&requests, &mut tell, abort).await?
        }
        .into_iter();
        let mut answers = Vec::with_capacity(questions.len());
        for (index, plan) in planned.into_iter().enumerate() {
            let agent = match &plan.recalled.answer {
                Some(text) => self.found(text),
                None => {
                    let Some(agent) = generations.next() else { break };
                    if let Some(reading) = &agent.gate {
                        observe(Event::Gate { index, reading: reading.clone() });
                    }
                    observe(Event::Segment(Segment::new(SegmentKind::Ordinary, &plan.request, &agent)));
                    agent
                }
            };
            let twin = if options.twin { generations.next() } else { None };
            let answer = Answer::new(plan.question, agent, twin, plan.recalled);
            observe(Event::Answer(answer.clone()));
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Asks memory about every question and makes the prompts.
    async fn plan<'a>(
        &mut self,
        questions: &'a [Question],
        options: AskOptions,
        observe: &mut dyn FnMut(Event),
    ) -> Result<Vec<Planned<'a>>, AgentError> {
        if questions.iter().any(|question| question.text.trim().is_empty()) {
            return Err(AgentError::Empty);
        }
        let (mut queries, mut contexts, mut most_left_out) = (Vec::new(), Vec::new(), 0);
        for question in questions {
            let turns = if options.context { self.state.context.as_slice() } else { &[] };
            let (left_out, tokens) = self.turns_left_out(turns, question)?;
            let before = turns.get(left_out).map_or(self.state.turns, |turn| turn.index);
            let text = question.searched.as_deref().unwrap_or(&question.text);
            queries.push(Query { text, room: self.room_for(question).saturating_sub(tokens), before });
            contexts.push(left_out);
            most_left_out = most_left_out.max(left_out);
        }
        if most_left_out > 0 {
            observe(Event::Warning(Warning::TurnsLeftOut { turns: most_left_out }));
        }
        let input = RecallInput { queries: &queries, cards: &self.state.cards, settings: &self.settings };
        let recalled = self.state.memory.recall(&mut self.policy, &input).await?;
        let turns = if options.context { self.state.context.as_slice() } else { &[] };
        let mut planned = Vec::with_capacity(questions.len());
        for (index, ((question, recalled), left_out)) in questions.iter().zip(recalled).zip(contexts).enumerate() {
            let mut sampling = self.settings.sampling.clone();
            // Neither turns nor the questions of a batch share their random numbers; agent and twin do.
            let stream = ((self.state.turns as u64) << 32) | index as u64;
            sampling.seed = sampling.seed.wrapping_add(stream.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let request = GenerateRequest {
                messages: self.prompt(&turns[left_out..], Some(&question.text), recalled.text.as_deref()),
                max_tokens: self.answer_tokens(question),
                sampling,
                weights: Weights::Fast,
                stop: question.stop.clone(),
                ..GenerateRequest::default()
            };
            planned.push(Planned { question: &question.text, recalled, request });
        }
        Ok(planned)
    }

    /// How many of the oldest turns must be left out for a question to fit the model, and the tokens of the prompt
    /// without them. A question that does not fit even alone is for the policy to refuse.
    fn turns_left_out(&self, turns: &[Turn], question: &Question) -> Result<(usize, usize), AgentError> {
        let tokens = |from: usize| self.policy.count_tokens(&self.prompt(&turns[from..], Some(&question.text), None));
        let (all, room) = (tokens(0)?, self.room_for(question));
        if all <= room || turns.is_empty() {
            return Ok((0, all));
        }
        // Without `most` it fits, or nothing does; with `least` it does not.
        let (mut least, mut most) = (0, turns.len());
        while most - least > 1 {
            let middle = (least + most) / 2;
            if tokens(middle)? <= room {
                most = middle;
            } else {
                least = middle;
            }
        }
        Ok((most, tokens(most)?))
    }

    fn answer_tokens(&self, question: &Question) -> usize {
        question.max_tokens.unwrap_or(self.settings.rollout.answer_tokens)
    }

    /// Tokens that the prompt of a question may have.
    fn room_for(&self, question: &Question) -> usize {
        self.policy.context_length().saturating_sub(self.answer_tokens(question))
    }

    /// An answer that no model gave.
    fn found(&self, text: &str) -> Generation {
        Generation {
            text: text.to_owned(),
            tokens: Vec::new(),
            log_probabilities: Vec::new(),
            prompt_tokens: 0,
            finish: Finish::Stop,
            gate: None,
            delta: self.policy.delta(),
        }
    }
}
