//! LongMemEval: one question about a haystack of dated chats with an assistant (arXiv 2410.10813; MIT licence).
//!
//! S (about 115,000 tokens a question), M (about 500 sessions) and oracle (the evidence sessions alone) are one schema.
//! Files are streamed: the memory of one instance is enough for M. Sessions are fed in the order of their dates, which
//! the oracle file does not keep. Further fields are ignored.
//!
//! Our own generator writes the same schema, with all questions about a history behind one another: they become the
//! probes of one sample. Its side file (`gold.jsonl`) brings the cards of a perfect writer and the keys of right answers.

mod gold;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Deserialize;

use self::gold::GoldFile;
use super::error::{BenchError, Fault, Place};
use super::merge::merge_equal_histories;
use super::read::{Records, Text};
use super::sample::{Probe, Sample, Session};
use super::turns::{Side, exchanges};
use crate::metrics::{JudgedBy, Scoring};

#[derive(Debug, Deserialize)]
struct Row {
    question_id: String,
    question_type: String,
    question: String,
    answer: Text,
    #[serde(default)]
    question_date: Option<String>,
    haystack_session_ids: Vec<String>,
    haystack_dates: Vec<String>,
    haystack_sessions: Vec<Vec<Message>>,
    #[serde(default)]
    answer_session_ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: MessageRole,
    content: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MessageRole {
    User,
    Assistant,
}

/// Opens a LongMemEval file (the published array, or JSON lines), with the side file of our generator where there is one.
///
/// # Errors
/// Files that cannot be read; the iterator then tells of records that are wrong.
pub fn open(
    file: &Path,
    gold: Option<&Path>,
) -> Result<impl Iterator<Item = Result<Sample, BenchError>> + use<>, BenchError> {
    let gold = gold.map(GoldFile::open).transpose()?;
    let rows = Records::<Row>::open(file)?;
    let samples = merge_equal_histories(rows.map(|row| {
        let (place, row) = row?;
        sample(row, &place)
    }));
    Ok(samples.map(move |sample| {
        let mut sample = sample?;
        if let Some(gold) = &gold {
            gold.complete(&mut sample);
        }
        Ok(sample)
    }))
}

fn sample(row: Row, place: &Place) -> Result<Sample, BenchError> {
    let at = |field: &str, reason: String| place.fault((field.to_owned(), reason));
    let count = row.haystack_sessions.len();
    for (field, found) in
        [("haystack_session_ids", row.haystack_session_ids.len()), ("haystack_dates", row.haystack_dates.len())]
    {
        if found != count {
            return Err(at(field, format!("has {found} entries for {count} sessions")));
        }
    }
    let mut sessions = Vec::with_capacity(count);
    for (index, ((id, date), messages)) in
        row.haystack_session_ids.into_iter().zip(row.haystack_dates).zip(&row.haystack_sessions).enumerate()
    {
        let when = sort_key(&date).ok_or_else(|| {
            at(&format!("haystack_dates[{index}]"), format!("`{date}` is not like 2023/05/20 (Sat) 02:21"))
        })?;
        let messages = messages.iter().map(|message| {
            let side = match message.role {
                MessageRole::User => Side::User,
                MessageRole::Assistant => Side::Assistant,
            };
            (side, message.content.as_str(), None)
        });
        sessions.push((when, Session { id, date: Some(date), exchanges: exchanges(messages) }));
    }
    if sessions.iter().all(|(_, session)| session.exchanges.is_empty()) {
        return Err(at("haystack_sessions", "has no message".to_owned()));
    }
    sessions.sort_by_key(|(when, _)| *when);
    let sessions: Vec<Session> = sessions.into_iter().map(|(_, session)| session).collect();
    let holds = |session: &Session| row.answer_session_ids.contains(&session.id);
    let evidence_sessions = (0..sessions.len()).filter(|&index| holds(&sessions[index])).collect();
    let rubric = judged_by(&row.question_id, &row.question_type).map_err(|fault| place.fault(fault))?;
    let question = row.question.trim();
    if question.is_empty() {
        return Err(at("question", "is empty".to_owned()));
    }
    let probe = Probe {
        id: row.question_id.clone(),
        prompt: prompt(question, row.question_date.as_deref()),
        question: question.to_owned(),
        gold: vec![row.answer.0],
        keys: Vec::new(),
        category: if rubric == JudgedBy::Abstention { "abstention".to_owned() } else { row.question_type },
        evidence: row.answer_session_ids,
        evidence_sessions,
        date: row.question_date,
        max_tokens: None,
        scoring: Scoring::Judged { rubric },
    };
    Ok(Sample { id: row.question_id, sessions, probes: vec![probe], oracle_cards: Vec::new() })
}

/// Categories of generated questions in the wording of a card begin with this.
pub const CANONICAL_CATEGORY: &str = "canonical ";

/// The official prompt without the history, which the agent has read.
fn prompt(question: &str, date: Option<&str>) -> String {
    let date = date.map_or(String::new(), |date| format!("Current Date: {date}\n"));
    format!("Please answer the question based on the relevant chat history.\n\n{date}Question: {question}\nAnswer:")
}

/// What the judge is asked, by the type of question; ids of questions without an answer end in `_abs`.
fn judged_by(id: &str, kind: &str) -> Result<JudgedBy, Fault> {
    if id.ends_with("_abs") {
        return Ok(JudgedBy::Abstention);
    }
    match kind {
        "single-session-user" | "single-session-assistant" | "multi-session" => Ok(JudgedBy::Correct),
        "temporal-reasoning" => Ok(JudgedBy::OffByOne),
        "knowledge-update" => Ok(JudgedBy::Updated),
        "single-session-preference" => Ok(JudgedBy::Preference),
        other => Err(("question_type".to_owned(), format!("`{other}` is no type of question"))),
    }
}

/// "2023/05/20 (Sat) 02:21" as something that sorts by time: year, month, day, hour, minute.
fn sort_key(date: &str) -> Option<[u32; 5]> {
    let mut numbers = date.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let mut key = [0; 5];
    for (index, slot) in key.iter_mut().enumerate() {
        // The time of day may be missing.
        match numbers.next() {
            Some(number) => *slot = number.parse().ok()?,
            None if index >= 3 => break,
            None => return None,
        }
    }
    let [year, month, day, ..] = key;
    (year >= 1000 && (1..=12).contains(&month) && (1..=31).contains(&day)).then_some(key)
}
