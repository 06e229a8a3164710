//! Tasks of k questions.

use serde::{Deserialize, Serialize};

use super::rows::QuestionFile;
use crate::bench::BenchError;

/// Several questions to be answered together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchTask {
    /// Identifies the task within its benchmark.
    pub id: String,
    /// Where the questions come from.
    pub source: String,
    /// The questions, each ending in a question mark.
    pub questions: Vec<String>,
    /// Right answers of each question; each alone is right.
    pub gold: Vec<Vec<String>>,
}

impl SearchTask {
    /// A task; `?` is put behind questions that have none.
    ///
    /// # Errors
    /// [`BenchError::Options`] where there are no questions, or not as many answers.
    pub fn new(id: &str, source: &str, questions: Vec<String>, gold: Vec<Vec<String>>) -> Result<Self, BenchError> {
        if questions.is_empty() || questions.len() != gold.len() {
            let (asked, answered) = (questions.len(), gold.len());
            return Err(BenchError::Options(format!("a search task of {asked} questions with {answered} answers")));
        }
        let marked = |text: String| if text.ends_with('?') { text } else { format!("{text}?") };
        Ok(Self {
            id: id.to_owned(),
            source: source.to_owned(),
            questions: questions.into_iter().map(marked).collect(),
            gold,
        })
    }

    /// The first prompt: what is to be done, and the questions. In our own words; the protocol is MEM1's, and as there
    /// the prompt shows an answer in its tags, on which the training reward counts.
    pub fn prompt(&self) -> String {
        let questions = self.questions.join("; ");
        format!(
            "You will answer several questions with the help of a search tool. In every turn you see the questions and, \
             after the first turn, what you wrote last and what the search found. Everything older is gone.\n\n\
             1. First think, and keep what you need to remember, within <think> ... </think>. Repeat there all that \
             matters from your last <think> and from <information>: this is your only memory.\n\
             2. Then do one of two things:\n\
             - While a question is open, search with a few keywords for one question at a time: \
             <search> keywords </search>.\n\
             - When all are settled, give the answers in the order of the questions, separated by semicolons, as short \
             as possible and without explanations: <answer> answer1; answer2 </answer>.\n\n\
             The questions: {questions}\n"
        )
    }
}

/// Tasks of `objectives` consecutive questions of one source; what is left over of a source is dropped, as MEM1 does.
///
/// # Errors
/// [`BenchError::Options`] where no source has that many questions.
pub fn tasks(files: &[QuestionFile], objectives: usize) -> Result<Vec<SearchTask>, BenchError> {
    let mut tasks = Vec::new();
    for file in files {
        for (number, chunk) in file.questions.chunks_exact(objectives.max(1)).enumerate() {
            let (questions, gold) = chunk.iter().map(|q| (q.text.clone(), q.answers.clone())).unzip();
            let id = format!("{}_{objectives}x{number}", file.source);
            tasks.push(SearchTask::new(&id, &file.source, questions, gold)?);
        }
    }
    if tasks.is_empty() {
        return Err(BenchError::Options(format!("no file has {objectives} questions: lower the number of objectives")));
    }
    Ok(tasks)
}
