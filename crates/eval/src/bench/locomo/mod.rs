//! LoCoMo: very long conversations of two people over months (arXiv 2402.17753; CC BY-NC 4.0).
//!
//! Two named people talk; the agent listens. Each turn becomes one exchange whose user side is the official context line,
//! `Ann said, "…" and shared a photo of a dog.`, and whose assistant side is the fixed [`ACKNOWLEDGEMENT`]. The other
//! speaker's reply is not made the assistant's: the model would be told that it is Bo, and memory writers look for facts
//! in what was said *to* the agent, so half of the conversation would never be written. One turn an exchange keeps the
//! official ids (`D3:7`) apart, so that a card's source can be compared with a question's evidence.

mod audit;
mod prompt;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;

pub use prompt::{MAX_TOKENS, NOT_MENTIONED};

use self::audit::AnswerAudit;
use self::schema::{Question, Row, Turn};
use super::error::{BenchError, Fault, Place};
use super::feed::ACKNOWLEDGEMENT;
use super::read::Records;
use super::sample::{Exchange, Probe, Sample, Session};
use crate::metrics::locomo::category;
use crate::metrics::{Audit, Scoring};

/// The names of the categories, from 1.
pub const CATEGORIES: [&str; 5] = ["multi-hop", "temporal", "open-domain", "single-hop", "adversarial"];

/// Opens LoCoMo's file; with an audit of its answer key, probes carry the audited answers and evidence too. `seed` decides
/// the order of the choices in category 5.
///
/// # Errors
/// Files that cannot be read; the iterator then tells of records that are wrong.
pub fn open(
    file: &Path,
    audit: Option<&Path>,
    seed: u64,
) -> Result<impl Iterator<Item = Result<Sample, BenchError>> + use<>, BenchError> {
    let audit = audit.map(AnswerAudit::open).transpose()?;
    Ok(Records::<Row>::open(file)?.map(move |row| {
        let (place, row) = row?;
        sample(row, &place, audit.as_ref(), seed)
    }))
}

fn sample(row: Row, place: &Place, audit: Option<&AnswerAudit>, seed: u64) -> Result<Sample, BenchError> {
    let mut sessions = Vec::with_capacity(row.conversation.sessions.len());
    let mut told_in = HashMap::new();
    for (number, turns) in &row.conversation.sessions {
        told_in.extend(turns.iter().map(|turn| (turn.dia_id.clone(), sessions.len())));
        sessions.push(Session {
            id: format!("session_{number}"),
            date: row.conversation.dates.get(number).cloned(),
            exchanges: turns.iter().filter_map(exchange).collect(),
        });
    }
    if sessions.iter().all(|session| session.exchanges.is_empty()) {
        return Err(place.fault(("conversation".to_owned(), "has no session with a turn".to_owned())));
    }
    let mut probes = Vec::with_capacity(row.qa.len());
    for (index, question) in row.qa.iter().enumerate() {
        let (audit, evidence) = match audit {
            Some(audit) => audit.of(&row.sample_id, index, question)?,
            None => (Audit::Unaudited, None),
        };
        let cited = evidence.unwrap_or(&question.evidence);
        let mut probe = probe(&row.sample_id, index, question, audit, seed).map_err(|fault| place.fault(fault))?;
        probe.evidence = cited.iter().flat_map(|text| dialogue_ids(text)).collect();
        probe.evidence_sessions = probe.evidence.iter().filter_map(|id| told_in.get(id).copied()).collect();
        probe.evidence_sessions.sort_unstable();
        probe.evidence_sessions.dedup();
        probes.push(probe);
    }
    Ok(Sample { id: row.sample_id, sessions, probes, oracle_cards: Vec::new() })
}

/// A turn as the official context shows it; `None` where nothing was said or shown.
fn exchange(turn: &Turn) -> Option<Exchange> {
    let (speaker, text) = (turn.speaker.trim(), turn.text.trim());
    let caption = turn.blip_caption.as_deref().map(str::trim).filter(|caption| !caption.is_empty());
    if text.is_empty() && caption.is_none() {
        return None;
    }
    let shared = caption.map_or(String::new(), |caption| format!(" and shared {caption}."));
    Some(Exchange {
        user: format!("{speaker} said, \"{text}\"{shared}"),
        assistant: ACKNOWLEDGEMENT.to_owned(),
        ids: vec![turn.dia_id.clone()],
    })
}

fn probe(sample: &str, index: usize, question: &Question, audit: Audit, seed: u64) -> Result<Probe, Fault> {
    let at = |field: &str, reason: &str| (format!("qa[{index}].{field}"), reason.to_owned());
    let asked = question.question.trim();
    if asked.is_empty() {
        return Err(at("question", "is empty"));
    }
    let category = question.category;
    let name = usize::from(category).checked_sub(1).and_then(|at| CATEGORIES.get(at));
    let name = *name.ok_or_else(|| at("category", "is none of the categories 1 to 5"))?;
    let (prompt, gold, options) = if category == category::ADVERSARIAL {
        // Two rows of the published file have their distractor in `answer`.
        let distractor = question.answer.as_ref().or(question.adversarial_answer.as_ref());
        let distractor = distractor.ok_or_else(|| at("adversarial_answer", "is missing, and so is `answer`"))?;
        let options = prompt::options(distractor.0.trim(), sample, index, seed);
        (prompt::adversarial(asked, &options), NOT_MENTIONED.to_owned(), Some(options))
    } else {
        let answer = question.answer.as_ref().ok_or_else(|| at("answer", "is missing"))?;
        (prompt::answerable(asked, category), answer.0.clone(), None)
    };
    Ok(Probe {
        id: format!("{sample}_qa{index}"),
        prompt,
        question: asked.to_owned(),
        gold: vec![gold],
        keys: Vec::new(),
        category: name.to_owned(),
        evidence: Vec::new(),
        evidence_sessions: Vec::new(),
        date: None,
        max_tokens: Some(MAX_TOKENS),
        scoring: Scoring::Locomo { category, options, audit },
    })
}

/// The ids of turns in a text. The published file has several in one string ("D8:6; D9:17"), a stray colon ("D:11:26") and
/// a bare "D".
fn dialogue_ids(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'));
    let id = |part: &str| {
        let numbers = part.strip_prefix('D')?;
        let (session, turn) = numbers.strip_prefix(':').unwrap_or(numbers).split_once(':')?;
        let (session, turn): (u32, u32) = (session.parse().ok()?, turn.parse().ok()?);
        Some(format!("D{session}:{turn}"))
    };
    parts.filter_map(id).collect()
}
