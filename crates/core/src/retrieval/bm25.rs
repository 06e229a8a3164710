//! BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009).

use std::collections::BTreeMap;

use super::words::terms;

/// How fast further occurrences of a term stop counting.
const K1: f32 = 1.2;
/// How much long texts are held back.
const B: f32 = 0.75;

/// An index of texts by their [`terms`].
///
/// score(q, d) = Σ_{t ∈ q} idf(t) · f (k₁ + 1) / (f + k₁ (1 − b + b |d| / avg)), each term of the query once, where f is
/// how often t stands in d, |d| the number of d's terms and avg its mean over all texts; k₁ = 1.2, b = 0.75.
/// idf(t) = ln(1 + (N − n + ½) / (n + ½)) for n of N texts with t: Lucene's form, which is never negative.
#[derive(Debug, Clone, Default)]
pub struct Bm25 {
    /// For each term the texts it stands in, ascending, and how often.
    postings: BTreeMap<String, Vec<(usize, u32)>>,
    /// Number of terms of each text.
    lengths: Vec<usize>,
    total: usize,
}

/// A text that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Its place in the order texts were added, from 0.
    pub document: usize,
    /// BM25; above 0.
    pub score: f32,
    /// Share of the query's weight that the text has: Σ idf of the query's terms in the text over Σ idf of all of
    /// them, between 0 and 1. Unlike the score it can be held against a threshold.
    pub coverage: f32,
}

impl Bm25 {
    /// An index of texts.
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut index = Self::default();
        for text in texts {
            index.add(text.as_ref());
        }
        index
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Adds a text; returns its place.
    pub fn add(&mut self, text: &str) -> usize {
        let document = self.lengths.len();
        let terms = terms(text);
        self.lengths.push(terms.len());
        self.total += terms.len();
        for term in terms {
            let posting = self.postings.entry(term).or_default();
            match posting.last_mut() {
                Some((last, count)) if *last == document => *count += 1,
                _ => posting.push((document, 1)),
            }
        }
        document
    }

    /// The texts that share a term with the query, best first, at most `most` of them; of equals the earlier first.
    pub fn search(&self, query: &str, most: usize) -> Vec<Hit> {
        let mut asked = terms(query);
        let mut seen = std::collections::BTreeSet::new();
        asked.retain(|term| seen.insert(term.clone()));
        let mean = self.total as f32 / self.lengths.len().max(1) as f32;
        let mut found: BTreeMap<usize, (f32, f32)> = BTreeMap::new();
        let mut whole = 0.0;
        for term in &asked {
            let posting = self.postings.get(term).map(Vec::as_slice).unwrap_or_default();
            let idf = self.idf(posting.len());
            whole += idf;
            for &(document, count) in posting {
                let length = self.lengths[document] as f32 / mean;
                let frequency = count as f32;
                let (score, covered) = found.entry(document).or_default();
                *score += idf * frequency * (K1 + 1.0) / (frequency + K1 * (1.0 - B + B * length));
                *covered += idf;
            }
        }
        let hit = |(document, (score, covered))| Hit { document, score, coverage: covered / whole };
        let mut hits: Vec<Hit> = found.into_iter().map(hit).collect();
        // The sort is stable and the map was in order: equals stay in the order they were added.
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(most);
        hits
    }

    /// The weight of a term that stands in `documents` of the texts.
    fn idf(&self, documents: usize) -> f32 {
        let (all, having) = (self.lengths.len() as f32, documents as f32);
        ((all - having + 0.5) / (having + 0.5)).ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(index: &Bm25, query: &str) -> Vec<usize> {
        index.search(query, usize::MAX).into_iter().map(|hit| hit.document).collect()
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        let index = Bm25::new(["red fox", "red red brick wall", "blue sky"]);
        // N = 3, avg = 8/3; "red" in two texts, "wall" in one.
        let (red, wall) = ((1.0f32 + 1.5 / 2.5).ln(), (1.0f32 + 2.5 / 1.5).ln());
        let part = |f: f32, length: f32| f * 2.2 / (f + 1.2 * (0.25 + 0.75 * length / (8.0 / 3.0)));
        let hits = index.search("a red wall", 9);
        assert_eq!(hits.iter().map(|h| h.document).collect::<Vec<_>>(), [1, 0]);
        assert!((hits[0].score - (red * part(2.0, 4.0) + wall * part(1.0, 4.0))).abs() < 1e-6);
        assert!((hits[1].score - red * part(1.0, 2.0)).abs() < 1e-6);
        assert!((hits[0].coverage - 1.0).abs() < 1e-6);
        assert!((hits[1].coverage - red / (red + wall)).abs() < 1e-6);
    }

    #[test]
    fn rare_words_count_more_and_short_texts_go_before_long_ones() {
        let index = Bm25::new(["dog dog dog", "dog and zebra", "dog in a very long story of dogs", "cat"]);
        assert_eq!(places(&index, "dog zebra")[0], 1);
        let index = Bm25::new(["a dog lives by the big old lake", "a dog lives"]);
        assert_eq!(places(&index, "dogs"), [1, 0]);
    }

    #[test]
    fn passages_without_a_word_of_the_query_are_left_out() {
        let texts = ["the cat sat on the mat", "the dog sat", "a cat and a dog and a horse ran far away", "nothing"];
        let index = Bm25::new(texts);
        assert_eq!(places(&index, "a horse"), [2]);
        assert_eq!(places(&index, "sitting dogs"), [1, 2]);
        assert_eq!(places(&index, "cat"), [0, 2]);
        assert!(places(&index, "the and of").is_empty());
        // One text of two has the word, once; it is of mean length.
        let hits = Bm25::new(["red bus", "blue car"]).search("red", 1);
        assert!((hits[0].score - (1.0f32 + 1.5 / 1.5).ln()).abs() < 1e-6, "{hits:?}");
    }

    #[test]
    fn many_equals_keep_the_order_of_adding() {
        let texts: Vec<String> = (0..50).map(|_| "same words here".to_owned()).collect();
        assert_eq!(places(&Bm25::new(&texts), "words"), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn of_equals_the_earlier_comes_first_and_nothing_is_found_for_nothing() {
        let index = Bm25::new(["same words", "other", "same words"]);
        assert_eq!(places(&index, "words, the same!"), [0, 2]);
        assert_eq!(index.search("same", 1).len(), 1);
        for nothing in ["", "the", "unheard", "…"] {
            assert!(index.search(nothing, 9).is_empty(), "{nothing}");
        }
        assert!(Bm25::default().search("word", 9).is_empty());
    }

    #[test]
    fn a_word_no_text_has_lowers_the_coverage() {
        let index = Bm25::new(["What is my dog's name? Biscuit", "Where do I live? Ghent", "name of my street? Elm"]);
        let asked = |query: &str| index.search(query, 1)[0].coverage;
        assert!((asked("my dog's name?") - 1.0).abs() < 1e-6);
        assert!(asked("my horse's name?") < 0.3);
    }

    proptest! {
        #[test]
        fn scores_are_positive_sorted_and_the_same_whatever_order_the_query_has(
            texts in proptest::collection::vec("[a-e ]{0,12}", 0..12),
            query in proptest::collection::vec("[a-f]{1,2}", 0..5),
        ) {
            let index = Bm25::new(&texts);
            let hits = index.search(&query.join(" "), usize::MAX);
            prop_assert!(hits.iter().all(|h| h.score > 0.0 && h.coverage > 0.0 && h.coverage < 1.0 + 1e-5));
            prop_assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
            let reversed: Vec<String> = query.iter().rev().cloned().collect();
            let again = index.search(&reversed.join(" "), usize::MAX);
            prop_assert_eq!(hits.len(), again.len());
            for hit in &hits {
                let other = again.iter().find(|h| h.document == hit.document).unwrap();
                prop_assert!((other.score - hit.score).abs() <= 1e-4 * hit.score);
            }
            // A text's own words find it.
            for (document, text) in texts.iter().enumerate().filter(|(_, text)| !terms(text).is_empty()) {
                prop_assert!(places(&index, text).contains(&document));
            }
        }

        #[test]
        fn any_text_and_query_are_survived(texts in proptest::collection::vec(".{0,30}", 0..5), query in ".{0,30}") {
            Bm25::new(texts).search(&query, 3);
        }
    }
}
