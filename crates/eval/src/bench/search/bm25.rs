//! Okapi BM25 over an inverted index.
//!
//! Results are the same on every run and machine: documents of equal score keep the order they were added in. (The crates
//! at hand order ties by a randomly seeded hash map, or bring a whole search server.)

use std::collections::{BTreeMap, HashMap};

use crate::metrics::porter;

/// Saturation of a term's frequency.
const K1: f32 = 1.2;
/// Weight of a document's length.
const B: f32 = 0.75;

/// Words too frequent to tell documents apart.
const STOP_WORDS: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
];

/// An index of documents by the stems of their words.
#[derive(Debug, Clone, Default)]
pub struct Bm25 {
    /// (document, frequency) of each stem, documents ascending.
    postings: HashMap<String, Vec<(u32, u32)>>,
    /// Stems of each document.
    lengths: Vec<u32>,
    total: u64,
}

/// A document that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Number of the document, in the order of adding.
    pub document: usize,
    /// Its score; above 0.
    pub score: f32,
}

impl Bm25 {
    /// An index of some documents.
    pub fn new<T: AsRef<str>>(documents: impl IntoIterator<Item = T>) -> Self {
        let mut index = Self::default();
        let mut stems = HashMap::new();
        for document in documents {
            index.add(document.as_ref(), &mut stems);
        }
        index
    }

    /// `known` spares stemming a word twice.
    fn add(&mut self, text: &str, known: &mut HashMap<String, String>) {
        let number = self.lengths.len() as u32;
        let mut length = 0;
        for word in words(text) {
            let stem = known.entry(word).or_insert_with_key(|word| porter::stem(word));
            length += 1;
            let postings = match self.postings.get_mut(stem) {
                Some(postings) => postings,
                None => self.postings.entry(stem.clone()).or_default(),
            };
            match postings.last_mut() {
                Some((document, frequency)) if *document == number => *frequency += 1,
                _ => postings.push((number, 1)),
            }
        }
        self.lengths.push(length);
        self.total += u64::from(length);
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The `k` best documents for a query, best first; fewer where fewer have a word of it.
    pub fn search(&self, query: &str, k: usize) -> Vec<Hit> {
        let documents = self.lengths.len() as f32;
        let mean_length = (self.total as f32 / documents.max(1.0)).max(1.0);
        let mut query_stems: BTreeMap<String, u32> = BTreeMap::new();
        for word in words(query) {
            *query_stems.entry(porter::stem(&word)).or_default() += 1;
        }
        let mut scores: HashMap<u32, f32> = HashMap::new();
        for (stem, times) in &query_stems {
            let Some(postings) = self.postings.get(stem) else { continue };
            let found = postings.len() as f32;
            let rarity = (1.0 + (documents - found + 0.5) / (found + 0.5)).ln();
            for &(document, frequency) in postings {
                let frequency = frequency as f32;
                let length = self.lengths.get(document as usize).copied().unwrap_or(0) as f32;
                let saturated = frequency * (K1 + 1.0) / (frequency + K1 * (1.0 - B + B * length / mean_length));
                *scores.entry(document).or_default() += *times as f32 * rarity * saturated;
            }
        }
        let mut hits: Vec<Hit> =
            scores.into_iter().map(|(document, score)| Hit { document: document as usize, score }).collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.document.cmp(&b.document)));
        hits.truncate(k);
        hits
    }
}

/// Lower-cased words without stop words.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .filter(|word| !STOP_WORDS.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(documents: &[&str], query: &str) -> Vec<usize> {
        Bm25::new(documents).search(query, 3).into_iter().map(|hit| hit.document).collect()
    }

    #[test]
    fn rare_words_and_short_documents_win() {
        let documents =
            ["the cat sat on the mat", "the dog sat", "a cat and a dog and a horse ran far away", "nothing"];
        assert_eq!(found(&documents, "a horse"), [2]);
        assert_eq!(found(&documents, "sitting dogs"), [1, 2]);
        assert_eq!(found(&documents, "cat"), [0, 2]);
        assert_eq!(found(&documents, "the and of"), [0usize; 0]);
    }

    #[test]
    fn the_score_is_okapis() {
        // One document of two has the word, once; it is of mean length.
        let hits = Bm25::new(["red bus", "blue car"]).search("red", 1);
        assert!((hits[0].score - (1.0f32 + 1.5 / 1.5).ln()).abs() < 1e-6, "{hits:?}");
    }

    #[test]
    fn ties_keep_the_order_of_adding() {
        let documents: Vec<String> = (0..50).map(|_| "same words here".to_owned()).collect();
        let hits = Bm25::new(&documents).search("words", 50);
        assert_eq!(hits.iter().map(|hit| hit.document).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
        assert!(Bm25::new([""; 0]).search("words", 3).is_empty());
    }
}
