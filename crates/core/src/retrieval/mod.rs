//! Finding texts by their words and by their meaning: BM25, cosine similarity, and the fusion of the two.
//!
//! Small on purpose: hundreds to some hundred thousand texts, held in memory, natively and in the browser. The index is
//! our own because a rollout must end in the same bits when it is done again: ties go to the earlier text, scores are
//! summed in the order of the query's words, and the mean length is always that of the texts there are, also after one
//! is added.

mod bm25;
mod fusion;
mod words;

pub use bm25::{Bm25, Hit};
pub use fusion::{cosine, fuse};
pub use words::{content_words, terms, words};
