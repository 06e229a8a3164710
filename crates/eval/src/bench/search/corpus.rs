//! What is searched.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tmem_core::retrieval::Bm25;

/// A passage of a corpus.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Passage {
    /// What it is about.
    pub title: String,
    /// What it says.
    pub text: String,
}

/// Finds passages.
pub trait SearchTool {
    /// The `k` best passages for a query, best first.
    fn search(&self, query: &str, k: usize) -> Vec<&Passage>;
}

/// Passages with a BM25 index over title and text.
#[derive(Debug, Clone, Default)]
pub struct Corpus {
    passages: Vec<Passage>,
    index: Bm25,
}

impl Corpus {
    /// Indexes passages; of equal ones the first is kept.
    pub fn new(mut passages: Vec<Passage>) -> Self {
        let mut seen = HashSet::new();
        passages.retain(|passage| seen.insert(passage.clone()));
        let index = Bm25::new(passages.iter().map(|passage| format!("{} {}", passage.title, passage.text)));
        Self { passages, index }
    }

    /// The passages.
    pub fn passages(&self) -> &[Passage] {
        &self.passages
    }
}

impl SearchTool for Corpus {
    fn search(&self, query: &str, k: usize) -> Vec<&Passage> {
        self.index.search(query, k).iter().filter_map(|hit| self.passages.get(hit.document)).collect()
    }
}
