//! Online correction recovery (OCRR, arXiv 2605.03153): examples arrive one by one, a wrong label is corrected, and two
//! accuracies are measured against the number of corrections: on classes that were new at the start (what was
//! learned) and on those that were known (what was kept).
//!
//! The paper streams embeddings through classifiers. Here the stream is text for an agent, in a format of our own: JSON
//! lines (or an array) of examples, each in one part:
//!
//! ```json
//! {"part": "known",    "text": "My card is gone.",      "label": "card_lost"}
//! {"part": "stream",   "text": "What is the rate?",     "label": "exchange_rate"}
//! {"part": "novel",    "text": "How much is a dollar?", "label": "exchange_rate"}
//! {"part": "original", "text": "I lost my card.",       "label": "card_lost"}
//! ```
//!
//! - `known`: told to the agent before anything else; their classes are the original ones.
//! - `stream`: asked one after another; after a wrong answer the right label is told.
//! - `novel`, `original`: asked at every checkpoint, never told. Classes of `novel` occur in `stream` and not in `known`;
//!   classes of `original` occur in `known`.
//!
//! A file whose rows have no `part` (Banking77, CLINC150 as `{text, label}`) is divided by seed, see [`Division`].
//! [`CorrectionRun`] drives an agent through a stream.

mod divide;
mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use divide::Division;
pub use run::{Checkpoint, CorrectionRun, NOVEL, Next, ORIGINAL, RunOptions};

use super::error::{BenchError, Place, file_name};
use super::read::Records;

/// A text with its class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The text.
    pub text: String,
    /// Its class.
    pub label: String,
}

/// A stream of corrections with what is asked at its checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectionStream {
    /// Names the stream in reports.
    pub name: String,
    /// Told before anything else.
    pub known: Vec<Example>,
    /// Asked one after another, corrected where wrong.
    pub stream: Vec<Example>,
    /// Asked at checkpoints: classes that were new at the start.
    pub novel: Vec<Example>,
    /// Asked at checkpoints: classes that were known.
    pub original: Vec<Example>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Known,
    Stream,
    Novel,
    Original,
}

#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default)]
    part: Option<Part>,
    text: String,
    label: super::read::Text,
}

/// Reads a stream, or divides labelled rows into one.
///
/// # Errors
/// [`BenchError`].
pub fn open(file: &Path, division: &Division) -> Result<CorrectionStream, BenchError> {
    let mut rows: Vec<(Place, Option<Part>, Example)> = Vec::new();
    for row in Records::<Row>::open(file)? {
        let (place, row) = row?;
        let example = Example { text: row.text.trim().to_owned(), label: row.label.0.trim().to_owned() };
        for (field, text) in [("text", &example.text), ("label", &example.label)] {
            if text.is_empty() {
                return Err(place.fault((field.to_owned(), "is empty".to_owned())));
            }
        }
        if rows.first().is_some_and(|(_, first, _)| first.is_some() != row.part.is_some()) {
            let reason = "some rows have a part and some have none".to_owned();
            return Err(place.fault(("part".to_owned(), reason)));
        }
        rows.push((place, row.part, example));
    }
    let name = file_name(file);
    let name = name.split_once('.').map_or(name.as_str(), |(stem, _)| stem);
    match rows.first() {
        None => Err(BenchError::Options(format!("{}: has no rows", file.display()))),
        Some((_, None, _)) => division.divide(name, rows.into_iter().map(|(_, _, example)| example).collect()),
        Some(_) => parts(name, rows, file),
    }
}

fn parts(name: &str, rows: Vec<(Place, Option<Part>, Example)>, file: &Path) -> Result<CorrectionStream, BenchError> {
    let labels = |wanted: Part| -> BTreeSet<String> {
        rows.iter().filter(|(_, part, _)| *part == Some(wanted)).map(|(_, _, e)| e.label.clone()).collect()
    };
    let (known, streamed) = (labels(Part::Known), labels(Part::Stream));
    let mut stream = CorrectionStream {
        name: name.to_owned(),
        known: Vec::new(),
        stream: Vec::new(),
        novel: Vec::new(),
        original: Vec::new(),
    };
    for (place, part, example) in rows {
        let label = &example.label;
        let wrong = match part {
            Some(Part::Novel) if known.contains(label) => Some("is known from the start, so it is not novel"),
            Some(Part::Novel) if !streamed.contains(label) => {
                Some("never occurs in the stream, so it cannot be learned")
            }
            Some(Part::Original) if !known.contains(label) => Some("is not among the known classes"),
            _ => None,
        };
        if let Some(reason) = wrong {
            return Err(place.fault(("label".to_owned(), format!("`{label}` {reason}"))));
        }
        match part {
            Some(Part::Known) | None => stream.known.push(example),
            Some(Part::Stream) => stream.stream.push(example),
            Some(Part::Novel) => stream.novel.push(example),
            Some(Part::Original) => stream.original.push(example),
        }
    }
    for (part, list) in [("stream", &stream.stream), ("novel", &stream.novel), ("original", &stream.original)] {
        if list.is_empty() {
            return Err(BenchError::Options(format!("{}: has no rows of the part `{part}`", file.display())));
        }
    }
    Ok(stream)
}
