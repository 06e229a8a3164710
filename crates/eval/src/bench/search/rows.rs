//! Questions and passages from the files of several data sets.
//!
//! One row type takes them all; which data set a row is of shows in its fields:
//! - NQ-open: `{question, answer: [..]}`; FlashRAG's sets: `{question, golden_answers: [..]}`;
//! - HotpotQA: `{_id, question, answer, context: [[title, [sentence, ..]], ..]}`, or without `context` (simplified);
//! - SQuAD-style: `{title, context, questions: [{question, answer}, ..]}`;
//! - a corpus of passages: `{id, contents: "\"Title\"\ntext"}`.

use std::path::Path;

use serde::Deserialize;

use super::corpus::Passage;
use crate::bench::BenchError;
use crate::bench::error::{Fault, file_name};
use crate::bench::read::{OneOrMany, Records};

/// A question with all its right answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The question as the file has it.
    pub text: String,
    /// Right answers; each alone is right.
    pub answers: Vec<String>,
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuestionFile {
    /// The file's name without its ending: names its questions' source.
    pub source: String,
    /// Its questions, in order.
    pub questions: Vec<Question>,
    /// Its passages, in order.
    pub passages: Vec<Passage>,
}

#[derive(Debug, Deserialize)]
struct Row {
    question: Option<String>,
    #[serde(alias = "golden_answers")]
    answer: Option<OneOrMany>,
    title: Option<String>,
    context: Option<Context>,
    questions: Option<Vec<RowQuestion>>,
    contents: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RowQuestion {
    question: String,
    #[serde(alias = "answers")]
    answer: OneOrMany,
}

/// A paragraph, or titled paragraphs in sentences.
#[derive(Debug)]
enum Context {
    Text(String),
    Paragraphs(Vec<(String, Vec<String>)>),
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContextVisitor;
        impl<'de> serde::de::Visitor<'de> for ContextVisitor {
            type Value = Context;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a paragraph, or a list of [title, [sentence, …]]")
            }
            fn visit_str<E>(self, text: &str) -> Result<Context, E> {
                Ok(Context::Text(text.to_owned()))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Context, A::Error> {
                let mut paragraphs = Vec::new();
                while let Some(paragraph) = list.next_element()? {
                    paragraphs.push(paragraph);
                }
                Ok(Context::Paragraphs(paragraphs))
            }
        }
        deserializer.deserialize_any(ContextVisitor)
    }
}

/// Reads files of questions and passages, in order.
///
/// # Errors
/// [`BenchError`].
pub fn read_files<P: AsRef<Path>>(files: &[P]) -> Result<Vec<QuestionFile>, BenchError> {
    files.iter().map(|file| read_file(file.as_ref())).collect()
}

fn read_file(file: &Path) -> Result<QuestionFile, BenchError> {
    let name = file_name(file);
    let source = name.split_once('.').map_or(name.as_str(), |(stem, _)| stem).to_owned();
    let mut read = QuestionFile { source, ..QuestionFile::default() };
    for row in Records::<Row>::open(file)? {
        let (place, row) = row?;
        add(row, &mut read).map_err(|fault| place.fault(fault))?;
    }
    Ok(read)
}

fn add(row: Row, read: &mut QuestionFile) -> Result<(), Fault> {
    let at = |field: &str, reason: &str| (field.to_owned(), reason.to_owned());
    let kept = (read.questions.len(), read.passages.len());
    if let Some(text) = row.question {
        let answers = row.answer.ok_or_else(|| at("answer", "is missing"))?.0;
        read.questions.push(question(&text, answers)?);
    }
    for (index, item) in row.questions.unwrap_or_default().into_iter().enumerate() {
        let asked = question(&item.question, item.answer.0);
        read.questions.push(asked.map_err(|(field, reason)| (format!("questions[{index}].{field}"), reason))?);
    }
    match row.context {
        Some(Context::Text(text)) => {
            read.passages.push(Passage { title: row.title.unwrap_or_default(), text });
        }
        Some(Context::Paragraphs(paragraphs)) => {
            let passage = |(title, sentences): (String, Vec<String>)| Passage {
                title,
                text: sentences.concat().trim().to_owned(),
            };
            read.passages.extend(paragraphs.into_iter().map(passage));
        }
        None => {}
    }
    if let Some(contents) = row.contents {
        let (title, text) = contents.split_once('\n').unwrap_or(("", &contents));
        read.passages.push(Passage { title: title.trim().trim_matches('"').to_owned(), text: text.trim().to_owned() });
    }
    if kept == (read.questions.len(), read.passages.len()) {
        return Err(at(".", "has neither a question nor a passage: `question`, `context` or `contents` is missing"));
    }
    Ok(())
}

fn question(text: &str, answers: Vec<String>) -> Result<Question, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(("question".to_owned(), "is empty".to_owned()));
    }
    if answers.iter().all(|answer| answer.trim().is_empty()) {
        return Err(("answer".to_owned(), "has no answer".to_owned()));
    }
    Ok(Question { text: text.to_owned(), answers })
}
