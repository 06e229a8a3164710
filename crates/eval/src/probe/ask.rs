//! Asking questions without context, each with the fast weights, with them ungated, and of the frozen twin.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use tmem_core::abort::Abort;
use tmem_core::message::Message;
use tmem_core::rollout::policy::{Finish, GateReading, GenerateRequest, Sampling, Weights};
use tmem_core::settings::Settings;

use super::{ProbeError, Subject};
use crate::score::{contains_key, token_f1};

/// Why a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The question as an oracle's card has it.
    Trained,
    /// A wording that no oracle's card has.
    HeldOut,
    /// General knowledge the base model may have.
    GeneralKnowledge,
    /// Something nobody ever told.
    Unknown,
}

/// One answer and its scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The answer.
    pub text: String,
    /// Whether it contains a key: for unknown questions any learned key.
    pub contains: bool,
    /// Token F1 against the reference answer; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f1: Option<f64>,
    /// What the gate decided, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateReading>,
}

/// One question with its answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Why it is asked.
    pub kind: Kind,
    /// The conversation it belongs to, for trained and held-out questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// The fact it asks for, for trained and held-out questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<String>,
    /// The question.
    pub question: String,
    /// The reference answer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The answer with the fast weights, gated as the settings say.
    pub fast: Reply,
    /// The answer with the fast weights, the gate forced open.
    pub ungated: Reply,
    /// The frozen twin's answer.
    pub frozen: Reply,
}

/// A question before it is asked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) kind: Kind,
    pub(super) conversation: Option<String>,
    pub(super) fact: Option<String>,
    pub(super) text: String,
    pub(super) reference: Option<String>,
    pub(super) keys: Vec<String>,
}

/// Asks in batches and remembers the frozen twin's answers, which no write changes.
#[derive(Debug, Default)]
pub(super) struct Asker {
    frozen: HashMap<String, String>,
}

impl Asker {
    /// Asks every question greedily. `progress` gets the number of generations done and planned.
    pub(super) async fn ask<S: Subject>(
        &mut self,
        subject: &mut S,
        settings: &Settings,
        questions: Vec<Question>,
        batch: usize,
        progress: &mut dyn FnMut(usize, usize),
        abort: &Abort,
    ) -> Result<Vec<Asked>, ProbeError> {
        let gated = settings.fast.gate;
        let mut wanted: Vec<(&str, Weights)> = Vec::new();
        let mut seen = HashSet::new();
        // Two conversations may ask the same question; it is asked once.
        for question in questions.iter().filter(|question| seen.insert(question.text.as_str())) {
            wanted.push((&question.text, Weights::FastUngated));
            if gated {
                wanted.push((&question.text, Weights::Fast));
            }
            if !self.frozen.contains_key(&question.text) {
                wanted.push((&question.text, Weights::Frozen));
            }
        }
        let mut answers: HashMap<(&str, Weights), (String, Option<GateReading>)> = HashMap::new();
        for (done, chunk) in wanted.chunks(batch.max(1)).enumerate() {
            progress(done * batch.max(1), wanted.len());
            let requests: Vec<_> =
                chunk.iter().map(|&(question, weights)| request(settings, question, weights)).collect();
            let generations = subject.generate(&requests, &mut |_, _| {}, abort).await?;
            if abort.is_aborted() || generations.iter().any(|g| g.finish == Finish::Aborted) {
                return Err(ProbeError::Aborted);
            }
            for (&key, generation) in chunk.iter().zip(generations) {
                answers.insert(key, (generation.text.trim().to_owned(), generation.gate));
            }
        }
        progress(wanted.len(), wanted.len());
        for (&(question, weights), (text, _)) in &answers {
            if weights == Weights::Frozen {
                self.frozen.insert(question.to_owned(), text.clone());
            }
        }
        let fast_weights = if gated { Weights::Fast } else { Weights::FastUngated };
        let answer = |question: &Question, weights| {
            let (text, gate) = answers.get(&(question.text.as_str(), weights)).cloned().unwrap_or_default();
            reply(question, text, gate)
        };
        let asked = |question: &Question| Asked {
            fast: answer(question, fast_weights),
            ungated: answer(question, Weights::FastUngated),
            frozen: reply(question, self.frozen.get(&question.text).cloned().unwrap_or_default(), None),
            kind: question.kind,
            conversation: question.conversation.clone(),
            fact: question.fact.clone(),
            question: question.text.clone(),
            reference: question.reference.clone(),
        };
        Ok(questions.iter().map(asked).collect())
    }
}

/// The conversation that asks `question` and nothing before it.
pub(super) fn without_context(settings: &Settings, question: &str) -> Vec<Message> {
    let system = Some(&settings.rollout.system_prompt).filter(|prompt| !prompt.is_empty());
    system.map(Message::system).into_iter().chain([Message::user(question)]).collect()
}

fn request(settings: &Settings, question: &str, weights: Weights) -> GenerateRequest {
    GenerateRequest {
        messages: without_context(settings, question),
        max_tokens: settings.rollout.answer_tokens,
        // Greedy whatever the settings say about chatting: the figures shall not depend on luck.
        sampling: Sampling::default(),
        weights,
        ..GenerateRequest::default()
    }
}

fn reply(question: &Question, text: String, gate: Option<GateReading>) -> Reply {
    Reply {
        contains: contains_key(&text, &question.keys),
        f1: question.reference.as_ref().map(|reference| token_f1(&text, reference)),
        text,
        gate,
    }
}
