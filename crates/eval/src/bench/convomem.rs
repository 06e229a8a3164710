//! ConvoMem: questions about what was said in chats with an assistant (Salesforce AI Research).
//!
//! A file holds evidence items of one kind, as an array, as JSON lines or in the field `evidence_items`. Which kind it is
//! stands in the path alone (`…/user_evidence/2_evidence/…`), so the path is looked at. An item's conversations are its
//! history; the published context sizes are made by adding unrelated conversations, which the files here hold already.

use std::path::Path;

use serde::Deserialize;

use super::error::{BenchError, Fault, Place};
use super::read::{Records, Text};
use super::sample::{Probe, Sample, Session};
use super::turns::{Side, exchanges};
use crate::metrics::{JudgedBy, Scoring};

#[derive(Debug, Deserialize)]
struct Row {
    question: String,
    answer: Text,
    #[serde(default)]
    message_evidences: Vec<Message>,
    conversations: Vec<Conversation>,
}

#[derive(Debug, Deserialize)]
struct Message {
    speaker: Speaker,
    text: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Speaker {
    #[serde(alias = "user")]
    User,
    #[serde(alias = "assistant")]
    Assistant,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conversation {
    messages: Vec<Message>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    contains_evidence: Option<bool>,
}

/// Kinds of evidence: the folder's name and ours.
const KINDS: [(&str, &str); 7] = [
    ("user_evidence", "user facts"),
    ("assistant_facts_evidence", "assistant facts"),
    ("changing_evidence", "changing facts"),
    ("abstention_evidence", "abstention"),
    ("preference_evidence", "preferences"),
    ("implicit_connection_evidence", "implicit connections"),
    ("temporal_evidence", "temporal"),
];

/// Opens a file of evidence items.
///
/// # Errors
/// A file that cannot be read or whose path tells no kind of evidence; the iterator then tells of records that are
/// wrong.
pub fn open(file: &Path) -> Result<impl Iterator<Item = Result<Sample, BenchError>> + use<>, BenchError> {
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folders: Vec<String> = whole.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let kind = KINDS.iter().find(|(folder, _)| folders.iter().any(|part| part.starts_with(folder)));
    let Some((_, kind)) = kind else {
        let known: Vec<&str> = KINDS.iter().map(|(folder, _)| *folder).collect();
        return Err(BenchError::Options(format!(
            "{}: the path tells no kind of evidence; keep the published folders, one of {}",
            file.display(),
            known.join(", ")
        )));
    };
    Ok(Records::<Row>::open_within(file, Some("evidence_items"))?.map(move |row| {
        let (place, row) = row?;
        sample(row, &place, kind).map_err(|fault| place.fault(fault))
    }))
}

fn judged_by(kind: &str, evidence: &[Message]) -> JudgedBy {
    match kind {
        "user facts" => JudgedBy::Evidence(evidence.iter().map(|message| message.text.clone()).collect()),
        "abstention" => JudgedBy::Abstention,
        "preferences" | "implicit connections" => JudgedBy::Satisfies,
        "temporal" => JudgedBy::Temporal,
        _ => JudgedBy::Correct,
    }
}

fn sample(row: Row, place: &Place, kind: &str) -> Result<Sample, Fault> {
    let question = row.question.trim();
    if question.is_empty() {
        return Err(("question".to_owned(), "is empty".to_owned()));
    }
    let (mut sessions, mut evidence_sessions) = (Vec::new(), Vec::new());
    for (index, conversation) in row.conversations.iter().enumerate() {
        let messages = conversation.messages.iter().map(|message| {
            let side = match message.speaker {
                Speaker::User => Side::User,
                Speaker::Assistant => Side::Assistant,
            };
            (side, message.text.as_str(), None)
        });
        let exchanges = exchanges(messages);
        if exchanges.is_empty() {
            return Err((format!("conversations[{index}].messages"), "has no message".to_owned()));
        }
        let told = |evidence: &Message| conversation.messages.iter().any(|m| m.text.trim() == evidence.text.trim());
        // Not every item has the flag.
        if conversation.contains_evidence.unwrap_or_else(|| row.message_evidences.iter().any(told)) {
            evidence_sessions.push(index);
        }
        let id = conversation.id.clone().unwrap_or_else(|| format!("conversation_{index}"));
        sessions.push(Session { id, date: None, exchanges });
    }
    if sessions.is_empty() {
        return Err(("conversations".to_owned(), "is empty".to_owned()));
    }
    let stem = place.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let id = format!("{stem}_{}", place.index);
    let probe = Probe {
        id: id.clone(),
        prompt: question.to_owned(),
        question: question.to_owned(),
        gold: vec![row.answer.0],
        keys: Vec::new(),
        category: kind.to_owned(),
        evidence: evidence_sessions.iter().filter_map(|&at: &usize| sessions.get(at)).map(|s| s.id.clone()).collect(),
        evidence_sessions,
        date: None,
        max_tokens: None,
        scoring: Scoring::Judged { rubric: judged_by(kind, &row.message_evidences) },
    };
    Ok(Sample { id, sessions, probes: vec![probe], oracle_cards: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: &str = r#"{"checkpoint": null, "evidence_items": [
      {"question": "Which car do I drive?", "answer": "A Skoda.", "category": "Sales", "personId": "p",
       "message_evidences": [{"speaker": "User", "text": "I drive a Skoda."}],
       "conversations": [
         {"messages": [{"speaker": "User", "text": "Hi."}, {"speaker": "Assistant", "text": "Hello!"}]},
         {"messages": [{"speaker": "User", "text": "I drive a Skoda."}], "id": "c2", "model_name": "m"}]}]}"#;

    fn read(folder: &str, text: &str) -> Result<Vec<Sample>, String> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(folder).join("1_evidence");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("batch.json");
        std::fs::write(&file, text).unwrap();
        let samples = open(&file).map_err(|e| e.to_string())?;
        samples.map(|sample| sample.map_err(|e| e.to_string())).collect()
    }

    #[test]
    fn the_folder_tells_the_kind_and_messages_the_evidence() {
        let sample = read("user_evidence", ITEMS).unwrap().remove(0);
        let probe = &sample.probes[0];
        assert_eq!((sample.id.as_str(), probe.category.as_str()), ("batch_0", "user facts"));
        assert_eq!((probe.evidence.as_slice(), sample.age(probe)), (["c2".to_owned()].as_slice(), Some(0)));
        let rubric = JudgedBy::Evidence(vec!["I drive a Skoda.".to_owned()]);
        assert_eq!(probe.scoring, Scoring::Judged { rubric });
        let abstention = read("abstention_evidence", ITEMS).unwrap().remove(0);
        assert_eq!(abstention.probes[0].scoring, Scoring::Judged { rubric: JudgedBy::Abstention });
    }

    #[test]
    fn errors_name_the_field_or_the_folders() {
        assert!(read("elsewhere", ITEMS).unwrap_err().contains("keep the published folders, one of user_evidence"));
        let bad = |from: &str, to: &str| read("user_evidence", &ITEMS.replace(from, to)).unwrap_err();
        assert!(
            bad("\"speaker\": \"Assistant\"", "\"speaker\": \"Bot\"")
                .contains("`conversations[0].messages[1].speaker`")
        );
        assert!(
            bad("\"Hi.\"}, {\"speaker\": \"Assistant\", \"text\": \"Hello!\"", "\"\"")
                .contains("`conversations[0].messages`")
        );
        assert!(bad("evidence_items", "items").contains("no field `evidence_items`"));
    }
}
