//! Whether the model still knows what it knew before anything was written.

use tmem_core::abort::Abort;
use tmem_core::message::Message;
use tmem_core::rollout::Agent;
use tmem_core::rollout::policy::{GenerateRequest, Policy, PolicyError, Sampling, Weights};

use super::meter::Metered;
use crate::data::KeyedQuestion;
use crate::probe::Subject;
use crate::score::contains_key;

/// Questions of general knowledge, asked without any context; what they cost is not counted.
#[derive(Debug)]
pub(super) struct Knowledge {
    questions: Vec<KeyedQuestion>,
    /// Those that the frozen model answers rightly; found when first needed.
    known: Option<Vec<KeyedQuestion>>,
}

impl Knowledge {
    pub(super) fn new(questions: &[KeyedQuestion]) -> Self {
        Self { questions: questions.to_vec(), known: None }
    }

    /// Share of what the frozen model answers rightly that the agent's model still does; `None` where that is nothing.
    pub(super) async fn kept<S: Subject>(
        &mut self,
        agent: &mut Agent<Metered<S>>,
        batch: usize,
        abort: &Abort,
    ) -> Result<Option<f32>, PolicyError> {
        let known = match self.known.take() {
            Some(known) => known,
            None => right(agent, &self.questions, Weights::Frozen, batch, abort).await?,
        };
        // An abort leaves answers unfinished; they must not count later.
        if abort.is_aborted() {
            return Ok(None);
        }
        let kept = match known.len() {
            0 => None,
            // Without a Δ the model is the frozen one.
            _ if agent.policy().delta().version == 0 => Some(1.0),
            all => Some(right(agent, &known, Weights::Fast, batch, abort).await?.len() as f32 / all as f32),
        };
        self.known = Some(known);
        Ok(kept)
    }
}

/// The questions that are answered rightly.
async fn right<S: Subject>(
    agent: &mut Agent<Metered<S>>,
    questions: &[KeyedQuestion],
    weights: Weights,
    batch: usize,
    abort: &Abort,
) -> Result<Vec<KeyedQuestion>, PolicyError> {
    let rollout = agent.settings().rollout.clone();
    let system = Some(rollout.system_prompt).filter(|prompt| !prompt.is_empty());
    let mut right = Vec::new();
    for batch in questions.chunks(batch.max(1)) {
        let request = |question: &KeyedQuestion| GenerateRequest {
            messages: system.iter().map(Message::system).chain([Message::user(question.question.as_str())]).collect(),
            max_tokens: rollout.answer_tokens,
            sampling: Sampling::default(),
            weights,
            ..GenerateRequest::default()
        };
        let requests: Vec<_> = batch.iter().map(request).collect();
        let subject = &mut agent.policy_mut().subject;
        let generations = subject.generate(&requests, &mut |_, _| {}, abort).await?;
        let answered = batch.iter().zip(generations);
        right.extend(answered.filter(|(q, g)| contains_key(&g.text, &q.keys)).map(|(question, _)| question.clone()));
    }
    Ok(right)
}
