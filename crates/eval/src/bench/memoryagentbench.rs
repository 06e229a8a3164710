//! MemoryAgentBench: one long text, many questions (arXiv 2507.05257): "inject once, query many".
//!
//! Rows of its four splits as JSON or JSON lines. The text is told in chunks; what is asked and how an answer is scored
//! depends on `metadata.source`. Prompts are ours; their tasks are those of the benchmark's templates.

use std::path::Path;

use serde::Deserialize;

use super::error::BenchError;
use super::feed::{ACKNOWLEDGEMENT, split_text};
use super::read::{OneOrMany, Records};
use super::sample::{Exchange, Probe, Sample, Session};
use crate::metrics::{JudgedBy, Scoring};

/// Bytes of a chunk where nothing else is asked for: about 512 tokens of English, the benchmark's smaller size.
pub const CHUNK_BYTES: usize = 2048;

/// Lines of a recommendation that count.
const RECOMMENDATIONS: usize = 5;

#[derive(Debug, Deserialize)]
struct Row {
    context: String,
    questions: Vec<String>,
    answers: Vec<OneOrMany>,
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    source: String,
    #[serde(default)]
    qa_pair_ids: Option<Vec<String>>,
    #[serde(default)]
    question_dates: Option<Vec<String>>,
    #[serde(default)]
    question_types: Option<Vec<String>>,
}

/// What a source asks of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Facts of which later ones overrule earlier ones.
    Facts,
    /// Events of a novel; the next one is chosen.
    Events,
    /// Labelled examples; the label of a new one is asked for.
    Labels,
    /// Dialogues about films; films are recommended.
    Recommendation,
    /// Chats with an assistant.
    Chats,
    /// A long text to be summed up.
    Summary,
    /// A text with a question about it.
    Text,
}

impl Family {
    fn of(source: &str) -> Self {
        let prefixes = [
            ("factconsolidation", Self::Facts),
            ("eventqa", Self::Events),
            ("icl_", Self::Labels),
            ("recsys", Self::Recommendation),
            ("longmemeval", Self::Chats),
            ("infbench_sum", Self::Summary),
        ];
        prefixes.iter().find(|(prefix, _)| source.starts_with(prefix)).map_or(Self::Text, |(_, family)| *family)
    }

    /// What stands before a chunk of the text.
    fn told(self) -> &'static str {
        match self {
            Self::Facts => {
                "Remember these numbered facts; where two contradict each other, the one with the larger number holds:"
            }
            Self::Events | Self::Summary => "Remember this part of a novel:",
            Self::Labels => "Remember these examples with their labels:",
            Self::Recommendation => "Remember these dialogues about films:",
            Self::Chats => "Remember this part of our earlier chats:",
            Self::Text => "Remember this part of a text:",
        }
    }

    /// What stands before a question.
    fn asked(self) -> &'static str {
        match self {
            Self::Facts => {
                "By the facts you were told, of which the one with the larger number holds, answer in a few words."
            }
            Self::Events => "By the novel you were told, choose what happens next. Answer with the event's own words.",
            Self::Labels => "By the examples you were told, give the label of this one. Answer with the label alone.",
            Self::Recommendation => {
                "By the dialogues you were told, recommend films that fit this one. Answer with a numbered list, best first."
            }
            Self::Chats => "By our earlier chats, answer this question briefly.",
            Self::Summary => "Sum up the novel you were told.",
            Self::Text => "By the text you were told, answer in a few words.",
        }
    }

    fn max_tokens(self) -> usize {
        match self {
            Self::Labels | Self::Facts => 10,
            Self::Text => 50,
            Self::Events => 40,
            Self::Chats => 100,
            Self::Recommendation => 300,
            Self::Summary => 1200,
        }
    }

    fn scoring(self, id: &str, kind: Option<&str>) -> Scoring {
        match self {
            Self::Facts | Self::Events | Self::Text => Scoring::Substring,
            Self::Labels => Scoring::Label,
            Self::Recommendation => Scoring::Recall { k: RECOMMENDATIONS },
            Self::Summary => Scoring::Judged { rubric: JudgedBy::Satisfies },
            Self::Chats => Scoring::Judged {
                rubric: match kind {
                    _ if id.ends_with("_abs") => JudgedBy::Abstention,
                    Some("temporal-reasoning") => JudgedBy::OffByOne,
                    Some("knowledge-update") => JudgedBy::Updated,
                    Some("single-session-preference") => JudgedBy::Preference,
                    _ => JudgedBy::Correct,
                },
            },
        }
    }
}

/// Opens MemoryAgentBench's rows; `source` keeps those whose `metadata.source` begins with it. The text is told in
/// chunks of at most `chunk_bytes`.
///
/// # Errors
/// A file that cannot be read; the iterator then tells of records that are wrong.
pub fn open(
    file: &Path,
    source: Option<&str>,
    chunk_bytes: usize,
) -> Result<impl Iterator<Item = Result<Sample, BenchError>> + use<>, BenchError> {
    let wanted = source.map(str::to_owned);
    Ok(Records::<Row>::open(file)?.filter_map(move |row| {
        let (place, row) = match row {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        if wanted.as_ref().is_some_and(|wanted| !row.metadata.source.starts_with(wanted.as_str())) {
            return None;
        }
        Some(sample(row, place.index, chunk_bytes).map_err(|fault| place.fault(fault)))
    }))
}

fn sample(row: Row, index: usize, chunk_bytes: usize) -> Result<Sample, (String, String)> {
    let Row { context, questions, answers, metadata } = row;
    let count = questions.len();
    let fault = |field: &str, reason: String| (field.to_owned(), reason);
    if count == 0 {
        return Err(fault("questions", "is empty".to_owned()));
    }
    if answers.len() != count {
        return Err(fault("answers", format!("has {} entries for {count} questions", answers.len())));
    }
    for (field, list) in [
        ("metadata.qa_pair_ids", &metadata.qa_pair_ids),
        ("metadata.question_dates", &metadata.question_dates),
        ("metadata.question_types", &metadata.question_types),
    ] {
        // Sources without such entries have an empty list.
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty() && list.len() != count) {
            return Err(fault(field, format!("has {} entries for {count} questions", list.len())));
        }
    }
    let family = Family::of(&metadata.source);
    let chunks = split_text(&context, chunk_bytes.max(1));
    if chunks.is_empty() {
        return Err(fault("context", "is empty".to_owned()));
    }
    let told = |chunk: &str| Exchange {
        user: format!("{}\n{chunk}", family.told()),
        assistant: ACKNOWLEDGEMENT.to_owned(),
        ids: Vec::new(),
    };
    let exchanges = chunks.into_iter().map(told).collect();
    let id = format!("{}_{index}", metadata.source);
    let entry = |list: &Option<Vec<String>>, at: usize| list.as_ref().and_then(|list| list.get(at)).cloned();
    let mut probes = Vec::with_capacity(count);
    for (at, (question, answers)) in questions.into_iter().zip(answers).enumerate() {
        if question.trim().is_empty() {
            return Err(fault(&format!("questions[{at}]"), "is empty".to_owned()));
        }
        if answers.0.is_empty() {
            return Err(fault(&format!("answers[{at}]"), "has no answer".to_owned()));
        }
        let date = entry(&metadata.question_dates, at);
        let dated = date.as_ref().map_or(String::new(), |date| format!("Today is {date}. "));
        let probe_id = entry(&metadata.qa_pair_ids, at).unwrap_or_else(|| format!("{id}_q{at}"));
        let kind = entry(&metadata.question_types, at);
        probes.push(Probe {
            prompt: format!("{dated}{}\n\n{}", family.asked(), question.trim()),
            question: question.trim().to_owned(),
            gold: answers.0,
            keys: Vec::new(),
            category: kind.clone().unwrap_or_else(|| metadata.source.clone()),
            evidence: Vec::new(),
            evidence_sessions: Vec::new(),
            date,
            max_tokens: Some(family.max_tokens()),
            scoring: family.scoring(&probe_id, kind.as_deref()),
            id: probe_id,
        });
    }
    let session = Session { id: metadata.source, date: None, exchanges };
    Ok(Sample { id, sessions: vec![session], probes, oracle_cards: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::metrics::scores;

    const ROWS: &str = r#"[
      {"context": "1. Rome lies in France.\n2. Rome lies in Italy.", "questions": ["Where is Rome?", "And Oslo?"],
       "answers": [["Italy", "the country Italy"], "Norway"],
       "metadata": {"source": "factconsolidation_sh_6k", "qa_pair_ids": ["f0", "f1"], "question_dates": []}},
      {"context": "lost my card: 12", "questions": ["card gone"], "answers": [12], "metadata": {"source": "icl_banking77"}},
      {"context": "Chat.", "questions": ["My horse?"], "answers": [["none"]],
       "metadata": {"source": "longmemeval_s*", "question_types": ["multi-session"], "question_dates": ["1 May"],
                    "qa_pair_ids": ["q_abs"]}}
    ]"#;

    fn read(text: &str, source: Option<&str>, chunk: usize) -> Result<Vec<Sample>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let samples = open(file.path(), source, chunk).map_err(|e| e.to_string())?;
        samples.map(|sample| sample.map_err(|e| e.to_string())).collect()
    }

    #[test]
    fn one_text_is_told_in_chunks_and_asked_about_often() {
        let facts = read(ROWS, Some("factcon"), 25).unwrap().remove(0);
        let told: Vec<_> = facts.sessions[0].exchanges.iter().map(|e| e.user.lines().last().unwrap()).collect();
        assert_eq!(told, ["1. Rome lies in France.", "2. Rome lies in Italy."]);
        assert_eq!(facts.probes.iter().map(|probe| probe.id.as_str()).collect::<Vec<_>>(), ["f0", "f1"]);
        assert_eq!(scores(&facts.probes[0], "It is in Italy.")["substring_em"], 1.0);
    }

    #[test]
    fn the_source_decides_how_an_answer_is_scored() {
        let samples = read(ROWS, None, CHUNK_BYTES).unwrap();
        assert_eq!(scores(&samples[1].probes[0], "label: 12")["label"], 1.0);
        assert_eq!(samples[2].probes[0].scoring, Scoring::Judged { rubric: JudgedBy::Abstention });
        assert!(samples[2].probes[0].prompt.starts_with("Today is 1 May. "));
        assert_eq!(Family::of("ruler_qa1_197k"), Family::Text);
    }

    #[test]
    fn errors_name_the_field() {
        let bad = |from: &str, to: &str| read(&ROWS.replace(from, to), None, 64).unwrap_err();
        assert!(bad(", \"Norway\"]", "]").contains("record 0, at `answers`: has 1 entries for 2 questions"));
        assert!(bad("[\"f0\", \"f1\"]", "[\"f0\"]").contains("at `metadata.qa_pair_ids`: has 1 entries"));
        assert!(bad("\"answers\": [12]", "\"answers\": [[]]").contains("record 1, at `answers[0]`: has no answer"));
        assert!(bad("\"Chat.\"", "\" \"").contains("at `context`: is empty"));
        assert!(bad("\"answers\": [12]", "\"answers\": [{}]").contains("at `answers[0]`: invalid type: map"));
    }
}
