//! The public audit of LoCoMo's answer key (dial481/locomo-audit).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::schema::Question;
use crate::bench::BenchError;
use crate::bench::error::Place;
use crate::bench::read::{Records, Text};
use crate::metrics::Audit;
use crate::metrics::locomo::category;

/// Conversations in the order of the published file: the audit counts them.
const PUBLISHED: [&str; 10] =
    ["conv-26", "conv-30", "conv-41", "conv-42", "conv-43", "conv-44", "conv-47", "conv-48", "conv-49", "conv-50"];

#[derive(Debug, Deserialize)]
struct Record {
    question_id: String,
    question: String,
    error_type: String,
    #[serde(default)]
    correct_evidence: Vec<String>,
    correct_answer: Text,
}

/// What the audit found, by conversation and index of the question.
#[derive(Debug, Default)]
pub(super) struct AnswerAudit(BTreeMap<(String, usize), (Place, Record)>);

impl AnswerAudit {
    /// Reads the audit's file.
    pub(super) fn open(file: &Path) -> Result<Self, BenchError> {
        let mut findings = BTreeMap::new();
        for record in Records::<Record>::open(file)? {
            let (place, record) = record?;
            let key = parse_id(&record.question_id).ok_or_else(|| {
                place.fault(("question_id".to_owned(), format!("`{}` is not like locomo_0_qa1", record.question_id)))
            })?;
            findings.insert(key, (place, record));
        }
        Ok(Self(findings))
    }

    /// What the audit says of a question, and the evidence where it corrects that. The audit did not look at category
    /// 5, nor at conversations that are not of the published file.
    pub(super) fn of(
        &self,
        sample: &str,
        index: usize,
        question: &Question,
    ) -> Result<(Audit, Option<&[String]>), BenchError> {
        let Some((place, record)) = self.0.get(&(sample.to_owned(), index)) else {
            let audited = PUBLISHED.contains(&sample) && question.category != category::ADVERSARIAL;
            return Ok((if audited { Audit::Confirmed } else { Audit::Unaudited }, None));
        };
        if record.question.trim() != question.question.trim() {
            let reason = format!("question {index} of {sample} is another one: is this the audit of another version?");
            return Err(place.fault(("question".to_owned(), reason)));
        }
        let audit = match record.error_type.as_str() {
            // The answer is right and only the place is wrong; `correct_answer` may then hold a remark.
            "WRONG_CITATION" => Audit::Confirmed,
            "AMBIGUOUS" => Audit::Contested,
            _ => Audit::Corrected(record.correct_answer.0.clone()),
        };
        Ok((audit, Some(&record.correct_evidence)))
    }
}

/// "locomo_0_qa1" is question 1 of the first published conversation.
fn parse_id(id: &str) -> Option<(String, usize)> {
    let (conversation, question) = id.strip_prefix("locomo_")?.split_once("_qa")?;
    let sample = PUBLISHED.get(conversation.parse::<usize>().ok()?)?;
    Some(((*sample).to_owned(), question.parse().ok()?))
}
