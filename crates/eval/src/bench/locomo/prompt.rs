//! What LoCoMo's official evaluation asks.

use sha2::{Digest, Sha256};

use crate::metrics::locomo::category;

/// The right choice of every category 5 question.
pub const NOT_MENTIONED: &str = "Not mentioned in the conversation";

/// Most tokens of an answer in the official evaluation.
pub const MAX_TOKENS: usize = 32;

/// The official prompt of a question of categories 1 to 4.
pub(super) fn answerable(question: &str, category: u8) -> String {
    let hint = if category == category::TEMPORAL {
        " Use DATE of CONVERSATION to answer with an approximate date."
    } else {
        ""
    };
    format!(
        "Based on the above context, write an answer in the form of a short phrase for the following question. Answer \
         with exact words from the context whenever possible.\n\nQuestion: {question}{hint} Short answer:"
    )
}

/// The official prompt of a category 5 question, with its two choices.
pub(super) fn adversarial(question: &str, [a, b]: &[String; 2]) -> String {
    format!(
        "Based on the above context, answer the following question.\n\nQuestion: {question} Select the correct answer: \
         (a) {a} (b) {b}.  Short answer:"
    )
}

/// The two choices in an order that depends on the seed and the question alone. (The official code draws it anew in every
/// run.)
pub(super) fn options(distractor: &str, sample: &str, index: usize, seed: u64) -> [String; 2] {
    let digest = Sha256::digest(format!("{seed}\n{sample}\n{index}"));
    let mut options = [NOT_MENTIONED.to_owned(), distractor.to_owned()];
    if digest.first().is_some_and(|byte| byte % 2 == 1) {
        options.reverse();
    }
    options
}
