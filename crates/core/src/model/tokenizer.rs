//! Text to tokens and back: byte-level BPE built from a GGUF file's own vocabulary, merges and pre-tokenizer.
//!
//! The `tokenizers` crate splits and merges, as in Hugging Face's tokenizers. Special tokens are handled here, because
//! whether `<|im_end|>` in a text is a token or just those ten characters is a question of trust, asked per text.

mod pre_tokenizer;
mod stream;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::borrow::Cow;

use pre_tokenizer::PreTokenizer;
pub use stream::TokenStream;
use tokenizers::models::bpe::BPE;
use tokenizers::{Model as _, OffsetReferential, OffsetType, PreTokenizedString};
use vocabulary::{Special, Vocabulary};

use super::gguf::{GgufError, Metadata};

/// What to do with the text of a control token (such as `<|im_end|>`) within a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// Make it that token: for text written by the chat template.
    Parse,
    /// Leave it as ordinary characters: for text from anywhere else.
    Literal,
}

/// Why a tokenizer cannot be built or a text not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// An entry of the file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Another kind of tokenizer than byte-level BPE.
    #[error("tokenizers of the kind `{0}` are not supported, only byte-level BPE (`gpt2`): use another model")]
    Kind(String),
    /// A rule for splitting text that is not known here.
    #[error("the pre-tokenizer `{name}` is not supported (known: {known}): use another model")]
    PreTokenizer {
        /// Its name in the file.
        name: String,
        /// The names that are.
        known: String,
    },
    /// Vocabulary, merges or special tokens that do not fit together.
    #[error("the tokenizer in the model file is damaged: {0}")]
    Inconsistent(String),
    /// The `tokenizers` crate refused.
    #[error("the text could not be split into tokens: {0}")]
    Encode(String),
}

/// Placed inside the text of a control token by [`Tokenizer::guard`]: a Unicode noncharacter, which no text contains.
const GUARD: char = '\u{fdd0}';

/// Encodes and decodes text for one model.
pub struct Tokenizer {
    bpe: BPE,
    pre_tokenizer: PreTokenizer,
    vocabulary: Vocabulary,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocabulary", &self.vocabulary.len()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Builds the tokenizer described by `tokenizer.ggml.*`.
    ///
    /// # Errors
    /// Entries missing or of the wrong type, another kind of tokenizer, an unknown pre-tokenizer, or merges and special
    /// tokens that are not in the vocabulary.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let kind: &str = metadata.get("tokenizer.ggml.model")?;
        if kind != "gpt2" {
            return Err(TokenizerError::Kind(kind.to_owned()));
        }
        let pre_tokenizer = PreTokenizer::named(metadata.get("tokenizer.ggml.pre")?)?;
        let vocabulary = Vocabulary::from_gguf(metadata)?;
        let (words, merges) = vocabulary.words_and_merges(metadata)?;
        let bpe = BPE::builder()
            .vocab_and_merges(words, merges)
            .ignore_merges(pre_tokenizer.ignores_merges())
            .build()
            .map_err(|error| TokenizerError::Inconsistent(error.to_string()))?;
        Ok(Self { bpe, pre_tokenizer, vocabulary })
    }

    /// Tokens in the vocabulary; ids are below it.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    /// The token that begins a text, where the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.vocabulary.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> u32 {
        self.vocabulary.eos
    }

    /// The token that ends a turn of the assistant: the file's end-of-turn token, or the end-of-text token where it
    /// has none (instruction-tuned models often use one for both).
    pub fn end_of_turn(&self) -> u32 {
        self.vocabulary.eot.unwrap_or(self.vocabulary.eos)
    }

    /// All tokens at which generation stops, in ascending order: end of text, end of turn, and control tokens whose
    /// names say so.
    pub fn end_tokens(&self) -> &[u32] {
        &self.vocabulary.ends
    }

    /// True for tokens that steer the model and are no text, such as `<|im_start|>`.
    pub fn is_control(&self, token: u32) -> bool {
        self.vocabulary.is_control(token)
    }

    /// The id of a control token by its text.
    pub fn control_token(&self, text: &str) -> Option<u32> {
        self.vocabulary.specials.iter().find(|s| s.control && s.text == text).map(|s| s.token)
    }

    /// The bytes a token stands for: a part of UTF-8 text, not necessarily whole characters.
    pub fn token_bytes(&self, token: u32) -> Option<&[u8]> {
        self.vocabulary.bytes(token)
    }

    /// Text to tokens. No token is added in front or at the end. Bytes for which the vocabulary has no token are left
    /// out, as Hugging Face's tokenizers do.
    ///
    /// # Errors
    /// The splitting failed.
    pub fn encode(&self, text: &str, specials: Specials) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens = Vec::new();
        self.each_part(text, specials, |part| match part {
            Part::Special(token) => {
                tokens.push(token);
                Ok(())
            }
            Part::Text(text) => self.encode_text(text, &mut tokens),
        })?;
        Ok(tokens)
    }

    /// Marks the texts of control tokens in `text`, so that [`Tokenizer::encode_guarded`] takes them as characters.
    /// This lets a chat template be rendered around text that is not trusted.
    pub fn guard<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let begins_control = |rest: &str| self.vocabulary.longest_special(rest).is_some_and(|s| s.control);
        if !text.contains(GUARD) && !text.char_indices().any(|(at, _)| begins_control(&text[at..])) {
            return Cow::Borrowed(text);
        }
        let text: String = text.chars().filter(|&c| c != GUARD).collect();
        let mut guarded = String::with_capacity(text.len() + 8);
        for (at, c) in text.char_indices() {
            guarded.push(c);
            if begins_control(&text[at..]) {
                guarded.push(GUARD);
            }
        }
        Cow::Owned(guarded)
    }

    /// Like [`Tokenizer::encode`] with [`Specials::Parse`], except that what [`Tokenizer::guard`] marked stays text.
    ///
    /// # Errors
    /// The splitting failed.
    pub fn encode_guarded(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens = Vec::new();
        self.each_part(text, Specials::Parse, |part| match part {
            Part::Special(token) => {
                tokens.push(token);
                Ok(())
            }
            Part::Text(text) if text.contains(GUARD) => self.encode_text(&text.replace(GUARD, ""), &mut tokens),
            Part::Text(text) => self.encode_text(text, &mut tokens),
        })?;
        Ok(tokens)
    }

    /// Tokens to text, control tokens included. Bytes that are no UTF-8 become U+FFFD; unknown ids give nothing.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.lossy(tokens.iter().copied())
    }

    /// Tokens to text without the control tokens: what a person is shown.
    pub fn decode_text(&self, tokens: &[u32]) -> String {
        self.lossy(tokens.iter().copied().filter(|&token| !self.is_control(token)))
    }

    fn lossy(&self, tokens: impl Iterator<Item = u32>) -> String {
        let bytes: Vec<u8> = tokens.filter_map(|token| self.token_bytes(token)).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Cuts `text` at special tokens, leftmost and longest first.
    fn each_part(
        &self,
        text: &str,
        specials: Specials,
        mut sink: impl FnMut(Part<'_>) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        let (mut start, mut at) = (0, 0);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let found: Option<&Special> = self.vocabulary.longest_special(rest);
            match found.filter(|special| specials == Specials::Parse || !special.control) {
                Some(special) => {
                    sink(Part::Text(&text[start..at]))?;
                    sink(Part::Special(special.token))?;
                    at += special.text.len();
                    start = at;
                }
                None => at += rest.chars().next().map_or(1, char::len_utf8),
            }
        }
        sink(Part::Text(&text[start..]))
    }

    fn encode_text(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if text.is_empty() {
            return Ok(());
        }
        let failed = |error: tokenizers::Error| TokenizerError::Encode(error.to_string());
        let mut parts = PreTokenizedString::from(text);
        self.pre_tokenizer.split(&mut parts).map_err(failed)?;
        parts.tokenize(|part| self.bpe.tokenize(part.get())).map_err(failed)?;
        for (_, _, found) in parts.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            tokens.extend(found.iter().flatten().map(|token| token.id));
        }
        Ok(())
    }
}

enum Part<'a> {
    Text(&'a str),
    Special(u32),
}
