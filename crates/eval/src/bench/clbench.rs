//! CL-bench: long contexts with rules to be learned from, graded against rubrics.
//!
//! The published data set may be used for evaluation only: its licence forbids updating parameters on it, and a write
//! of the fast weights is just that. So every memory that trains is refused on [`open`]'s data, see
//! [`BenchmarkKind::permits`](super::BenchmarkKind::permits). Rule books of our own generator have the same schema and a
//! side file with checkable answers; [`open_rule_books`] reads tasks that stand in such a file and no others, and any
//! memory may be used on them.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use tmem_core::card::Card;

use super::error::{BenchError, Place};
use super::feed::ACKNOWLEDGEMENT;
use super::merge::merge_equal_histories;
use super::read::Records;
use super::sample::{Exchange, Probe, Sample, Session};
use super::turns::{Side, exchanges};
use crate::metrics::Scoring;

#[derive(Debug, Deserialize)]
struct Row {
    messages: Vec<RowMessage>,
    rubrics: Vec<Rubric>,
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct RowMessage {
    role: RowRole,
    content: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RowRole {
    System,
    User,
    Assistant,
}

/// A requirement as text, or as an object that has it in a field.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text, or an object with `rubric_criteria`")]
enum Rubric {
    Text(String),
    Object { rubric_criteria: String },
}

#[derive(Debug, Deserialize)]
struct Metadata {
    task_id: String,
    #[serde(default)]
    context_id: Option<String>,
    context_category: String,
    #[serde(default)]
    sub_category: Option<String>,
}

/// A line of our generator's side file: a rule book.
#[derive(Debug, Deserialize)]
struct RuleBookGold {
    cards: Vec<RuleCard>,
    tasks: Vec<TaskGold>,
}

#[derive(Debug, Clone, Deserialize)]
struct RuleCard {
    question: String,
    answer: String,
}

#[derive(Debug, Deserialize)]
struct TaskGold {
    task_id: String,
    response: String,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    rubric: String,
    keys: Vec<String>,
}

/// Opens CL-bench's file. Tasks on one context that follow each other become one sample where their histories are equal.
///
/// # Errors
/// A file that cannot be read; the iterator then tells of records that are wrong.
pub fn open(file: &Path) -> Result<impl Iterator<Item = Result<Sample, BenchError>> + use<>, BenchError> {
    Ok(merge_equal_histories(Records::<Row>::open(file)?.map(|row| {
        let (place, row) = row?;
        sample(row, &place)
    })))
}

/// Opens rule books of our own generator with their side file (`rulebook_gold.jsonl`). A task that this file does not
/// know, rubric by rubric, is an error: CL-bench's data does not reach a memory that trains under another name.
///
/// # Errors
/// As [`open`].
pub fn open_rule_books(
    file: &Path,
    gold: &Path,
) -> Result<impl Iterator<Item = Result<Sample, BenchError>> + use<>, BenchError> {
    let mut tasks = HashMap::new();
    for book in Records::<RuleBookGold>::open(gold)? {
        let (_, book) = book?;
        let cards: Vec<Card> = (0..).zip(&book.cards).map(|(id, rule)| card(id, rule)).collect();
        tasks.extend(book.tasks.into_iter().map(|task| (task.task_id.clone(), (task, cards.clone()))));
    }
    Ok(merge_equal_histories(Records::<Row>::open(file)?.map(move |row| {
        let (place, row) = row?;
        let mut sample = sample(row, &place)?;
        let unknown = |field: &str| {
            let reason = "is not in the side file: data that is not our own is opened as `clbench`, evaluation only";
            place.fault((field.to_owned(), reason.to_owned()))
        };
        let (task, cards) = tasks.get(&sample.id).ok_or_else(|| unknown("metadata.task_id"))?;
        for probe in &mut sample.probes {
            let Scoring::Requirements { requirements, keys } = &mut probe.scoring else { continue };
            if !task.checks.iter().map(|check| check.rubric.trim()).eq(requirements.iter().map(String::as_str)) {
                return Err(unknown("rubrics"));
            }
            *keys = task.checks.iter().map(|check| check.keys.clone()).collect();
            probe.gold = vec![task.response.clone()];
        }
        sample.oracle_cards.clone_from(cards);
        Ok(sample)
    })))
}

fn card(id: u64, rule: &RuleCard) -> Card {
    Card {
        id,
        question: rule.question.clone(),
        wordings: Vec::new(),
        answer: rule.answer.clone(),
        // Every rule stands in the book, which is told first.
        source_turn: Some(0),
    }
}

/// The last user message is the probe, everything before it the history. The system message, which holds the context
/// of most tasks, is told to the agent like anything else.
fn sample(row: Row, place: &Place) -> Result<Sample, BenchError> {
    let at = |field: &str, reason: &str| place.fault((field.to_owned(), reason.to_owned()));
    let requirement = |rubric: Rubric| match rubric {
        Rubric::Text(text) | Rubric::Object { rubric_criteria: text } => text.trim().to_owned(),
    };
    let requirements: Vec<String> = row.rubrics.into_iter().map(requirement).filter(|text| !text.is_empty()).collect();
    if requirements.is_empty() {
        return Err(at("rubrics", "has no requirement to grade by"));
    }
    let last = row.messages.iter().rposition(|message| message.role == RowRole::User);
    let (before, asked) = match last.map(|last| row.messages.split_at(last)) {
        Some((before, [asked, ..])) if !asked.content.trim().is_empty() => (before, asked.content.trim()),
        _ => return Err(at("messages", "has no user message to answer, or an empty one")),
    };
    let (system, dialogue): (Vec<_>, Vec<_>) = before.iter().partition(|message| message.role == RowRole::System);
    let told = |message: &RowMessage| Exchange {
        user: message.content.trim().to_owned(),
        assistant: ACKNOWLEDGEMENT.to_owned(),
        ids: Vec::new(),
    };
    let mut history: Vec<Exchange> = system.into_iter().map(told).filter(|told| !told.user.is_empty()).collect();
    history.extend(exchanges(dialogue.into_iter().map(|message| {
        let side = if message.role == RowRole::Assistant { Side::Assistant } else { Side::User };
        (side, message.content.as_str(), None)
    })));
    let Metadata { task_id, context_id, context_category, sub_category } = row.metadata;
    let session = Session { id: context_id.unwrap_or_else(|| task_id.clone()), date: None, exchanges: history };
    let probe = Probe {
        id: task_id.clone(),
        prompt: asked.to_owned(),
        question: asked.to_owned(),
        gold: Vec::new(),
        keys: Vec::new(),
        category: sub_category.map_or(context_category.clone(), |sub| format!("{context_category}/{sub}")),
        evidence: Vec::new(),
        evidence_sessions: Vec::new(),
        date: None,
        max_tokens: None,
        scoring: Scoring::Requirements { requirements, keys: Vec::new() },
    };
    Ok(Sample { id: task_id, sessions: vec![session], probes: vec![probe], oracle_cards: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::metrics::scores;

    const TASK: &str = r#"{"messages": [{"role": "system", "content": "Rule 1: a move costs two coins."},
        {"role": "user", "content": "I begin with five."}, {"role": "assistant", "content": "Good."},
        {"role": "user", "content": "What is left after a move?"}],
      "rubrics": ["Says three.", {"rubric_criteria": "Is brief."}],
      "metadata": {"task_id": "t1", "context_id": "c1", "context_category": "Rules", "sub_category": "Games"}}"#;

    const GOLD: &str = r#"{"context_id": "c1", "cards": [{"question": "What costs a move?", "answer": "Two coins.", "rule": 1}],
      "tasks": [{"task_id": "t1", "response": "Three coins.", "checks": [
        {"rubric": "Says three.", "keys": ["three"]}, {"rubric": "Is brief.", "keys": []}]}]}"#;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn read(text: &str) -> Result<Vec<Sample>, String> {
        let samples = open(file(text).path()).map_err(|e| e.to_string())?;
        samples.map(|sample| sample.map_err(|e| e.to_string())).collect()
    }

    fn read_own(text: &str, gold: &str) -> Result<Vec<Sample>, String> {
        let (data, gold) = (file(text), file(gold));
        let samples = open_rule_books(data.path(), gold.path()).map_err(|e| e.to_string())?;
        samples.map(|sample| sample.map_err(|e| e.to_string())).collect()
    }

    #[test]
    fn the_last_user_message_is_asked_after_the_rest() {
        let sample = read(TASK).unwrap().remove(0);
        let history: Vec<_> =
            sample.sessions[0].exchanges.iter().map(|e| (e.user.as_str(), e.assistant.as_str())).collect();
        assert_eq!(history, [("Rule 1: a move costs two coins.", "Noted."), ("I begin with five.", "Good.")]);
        let probe = &sample.probes[0];
        assert_eq!((probe.prompt.as_str(), probe.category.as_str()), ("What is left after a move?", "Rules/Games"));
        let requirements = vec!["Says three.".to_owned(), "Is brief.".to_owned()];
        assert_eq!(probe.scoring, Scoring::Requirements { requirements, keys: Vec::new() });
        assert!(scores(probe, "Three.").is_empty());
    }

    #[test]
    fn tasks_on_one_context_are_read_once() {
        let two = format!("[{TASK}, {}]", TASK.replace("\"t1\"", "\"t2\"").replace("after a move", "after two"));
        let samples = read(&two).unwrap();
        let ids: Vec<_> = samples.iter().flat_map(|s| &s.probes).map(|probe| probe.id.as_str()).collect();
        assert_eq!((samples.len(), ids), (1, vec!["t1", "t2"]));
    }

    #[test]
    fn our_own_tasks_need_no_judge() {
        let sample = read_own(TASK, GOLD).unwrap().remove(0);
        assert_eq!(scores(&sample.probes[0], "It leaves three coins.")["requirements"], 1.0);
        assert_eq!(scores(&sample.probes[0], "It leaves two coins.")["requirements"], 0.0);
        assert_eq!(sample.oracle_cards[0].answer, "Two coins.");
    }

    #[test]
    fn tasks_that_are_not_ours_are_refused() {
        let error = read_own(&TASK.replace("\"t1\"", "\"t9\""), GOLD).unwrap_err();
        assert!(error.contains("at `metadata.task_id`: is not in the side file") && error.contains("`clbench`"));
        let error = read_own(TASK, &GOLD.replace("Is brief.", "Is long.")).unwrap_err();
        assert!(error.contains("at `rubrics`: is not in the side file"));
    }

    #[test]
    fn errors_name_the_field() {
        let bad = |from: &str, to: &str| read(&TASK.replace(from, to)).unwrap_err();
        assert!(bad("\"role\": \"system\"", "\"role\": \"tool\"").contains("at `messages[0].role`"));
        assert!(
            bad("\"Says three.\", {\"rubric_criteria\": \"Is brief.\"}", "")
                .contains("at `rubrics`: has no requirement")
        );
        assert!(bad("\"Says three.\"", "3").contains("at `rubrics[0]`: expected a text, or an object"));
        assert!(bad("\"role\": \"user\"", "\"role\": \"assistant\"").contains("has no user message"));
    }
}
