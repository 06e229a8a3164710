//! The side file of our own generator: one line per conversation.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use tmem_core::card::Card;

use super::CANONICAL_CATEGORY;
use crate::bench::BenchError;
use crate::bench::read::Records;
use crate::bench::sample::Sample;
use crate::synthetic::CANONICAL;

#[derive(Debug, Deserialize)]
struct Row {
    facts: Vec<Fact>,
    questions: Vec<Question>,
}

#[derive(Debug, Deserialize)]
struct Fact {
    session_id: String,
    /// The text of the turn that tells it.
    told: String,
    question: String,
    #[serde(default)]
    wordings: Vec<String>,
    answer: String,
    #[serde(default)]
    superseded_by: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Question {
    question_id: String,
    #[serde(default)]
    keys: Vec<String>,
}

/// What a perfect memory would hold, by conversation.
#[derive(Debug, Default)]
pub(super) struct GoldFile {
    conversations: Vec<Vec<Fact>>,
    /// Conversation and keys by the question's id.
    questions: HashMap<String, (usize, Vec<String>)>,
}

impl GoldFile {
    pub(super) fn open(file: &Path) -> Result<Self, BenchError> {
        let mut gold = Self::default();
        for row in Records::<Row>::open(file)? {
            let (_, row) = row?;
            let conversation = gold.conversations.len();
            gold.questions.extend(row.questions.into_iter().map(|q| (q.question_id, (conversation, q.keys))));
            gold.conversations.push(row.facts);
        }
        Ok(gold)
    }

    /// Adds keys and cards to a sample whose questions the file knows; questions in a card's wording have categories of
    /// their own. Of a fact that changed, the last state has a card.
    pub(super) fn complete(&self, sample: &mut Sample) {
        let mut conversation = None;
        for probe in &mut sample.probes {
            let canonical = probe.id.strip_prefix(CANONICAL);
            if let Some((of, keys)) = self.questions.get(canonical.unwrap_or(&probe.id)) {
                if canonical.is_some() {
                    probe.category = format!("{CANONICAL_CATEGORY}{}", probe.category);
                }
                conversation = Some(*of);
                probe.keys.clone_from(keys);
            }
        }
        let Some(facts) = conversation.and_then(|of| self.conversations.get(of)) else { return };
        let current = facts.iter().filter(|fact| fact.superseded_by.is_none());
        sample.oracle_cards = (0..).zip(current).map(|(id, fact)| card(id, fact, sample)).collect();
    }
}

fn card(id: u64, fact: &Fact, sample: &Sample) -> Card {
    let exchanges = sample.sessions.iter().flat_map(|session| session.exchanges.iter().map(move |e| (&session.id, e)));
    let told = fact.told.trim();
    let source = exchanges.enumerate().find(|(_, (session, exchange))| {
        **session == fact.session_id && (exchange.user.contains(told) || exchange.assistant.contains(told))
    });
    Card {
        id,
        question: fact.question.clone(),
        wordings: fact.wordings.clone(),
        answer: fact.answer.clone(),
        source_turn: source.map(|(turn, _)| turn),
    }
}
