//! The vocabulary of a GGUF file: the bytes of every token, and which tokens are special.

use std::collections::HashMap;

use tokenizers::models::bpe::Merges;

use super::super::gguf::{GgufError, Metadata};
use super::TokenizerError;

const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";

/// Values of `tokenizer.ggml.token_type` that matter here (llama.cpp's `llama_token_type`).
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Control tokens that end a turn or a text, by the names that models of the family give them.
const END_NAMES: [&str; 6] = ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>"];

/// A token found in text as a whole, before any splitting.
pub(super) struct Special {
    pub(super) text: String,
    pub(super) token: u32,
    /// Control tokens are found only where the text is trusted, user-defined ones always.
    pub(super) control: bool,
}

pub(super) struct Vocabulary {
    /// The bytes of all tokens one after the other, and where each ends.
    bytes: Vec<u8>,
    ends_at: Vec<usize>,
    control: Vec<bool>,
    /// Sorted by text in descending order: of two that begin a text, the longer comes first.
    pub(super) specials: Vec<Special>,
    pub(super) bos: Option<u32>,
    pub(super) eos: u32,
    pub(super) eot: Option<u32>,
    pub(super) ends: Vec<u32>,
}

/// GPT-2's mapping of bytes to printable characters, reversed: printable Latin-1 stands for itself, the other bytes
/// are numbered from U+0100 in ascending order.
fn byte_of_char() -> HashMap<char, u8> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let shifted = (0..=255_u8).filter(|b| !printable(b)).zip('\u{100}'..).map(|(b, c)| (c, b));
    (0..=255_u8).filter(printable).map(|b| (char::from(b), b)).chain(shifted).collect()
}

impl Vocabulary {
    pub(super) fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let texts: &[String] = metadata.get(TOKENS)?;
        let types: Vec<i64> = metadata.find("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![1; texts.len()]);
        if types.len() != texts.len() || u32::try_from(texts.len()).is_err() {
            let reason = format!("{} tokens but {} token types", texts.len(), types.len());
            return Err(TokenizerError::Inconsistent(reason));
        }
        let byte_of_char = byte_of_char();
        let (mut bytes, mut ends_at) = (Vec::new(), Vec::with_capacity(texts.len()));
        let mut specials = Vec::new();
        for ((token, text), ty) in (0_u32..).zip(texts).zip(&types) {
            let mapped = || text.chars().map(|c| byte_of_char.get(&c).copied()).collect::<Option<Vec<u8>>>();
            let special = [CONTROL, USER_DEFINED].contains(ty);
            match if special { None } else { mapped() } {
                Some(mapped) => bytes.extend(mapped),
                // Written as it is: a special token, or one that no merge can make.
                None => bytes.extend(text.as_bytes()),
            }
            ends_at.push(bytes.len());
            // A control token of one character could not be told from text.
            if special && (text.chars().count() > 1 || *ty == USER_DEFINED) && !text.is_empty() {
                specials.push(Special { text: text.clone(), token, control: *ty == CONTROL });
            }
        }
        specials.sort_by(|a, b| b.text.cmp(&a.text).then(a.token.cmp(&b.token)));
        let id = |key: &str| -> Result<Option<u32>, GgufError> {
            match metadata.find::<u32>(key)? {
                Some(id) if id as usize >= texts.len() => {
                    Err(GgufError::metadata(key, format!("{id} is not below the vocabulary's {}", texts.len())))
                }
                id => Ok(id),
            }
        };
        let eos_key = "tokenizer.ggml.eos_token_id";
        let eos = id(eos_key)?.ok_or_else(|| GgufError::metadata(eos_key, "is missing"))?;
        let eot = id("tokenizer.ggml.eot_token_id")?;
        let named = specials.iter().filter(|s| s.control && END_NAMES.contains(&s.text.as_str())).map(|s| s.token);
        let mut ends: Vec<u32> = named.chain([eos]).chain(eot).collect();
        ends.sort_unstable();
        ends.dedup();
        let control = types.iter().map(|ty| *ty == CONTROL).collect();
        Ok(Self { bytes, ends_at, control, specials, bos: id("tokenizer.ggml.bos_token_id")?, eos, eot, ends })
    }

    pub(super) fn len(&self) -> usize {
        self.ends_at.len()
    }

    pub(super) fn bytes(&self, token: u32) -> Option<&[u8]> {
        let token = token as usize;
        let end = *self.ends_at.get(token)?;
        let start = token.checked_sub(1).map_or(Some(0), |before| self.ends_at.get(before).copied())?;
        self.bytes.get(start..end)
    }

    pub(super) fn is_control(&self, token: u32) -> bool {
        self.control.get(token as usize).copied().unwrap_or(false)
    }

    /// The longest special token with which `text` begins.
    pub(super) fn longest_special(&self, text: &str) -> Option<&Special> {
        // In descending order every prefix of `text` comes after it, the longest first; texts in between share
        // their beginning with it, so the scan ends where the first character differs.
        let first = text.chars().next()?;
        let after = self.specials.partition_point(|special| special.text.as_str() > text);
        let candidates = self.specials.get(after..).unwrap_or_default();
        candidates.iter().take_while(|s| s.text.starts_with(first)).find(|s| text.starts_with(s.text.as_str()))
    }

    /// The vocabulary and merges for BPE. Control tokens are left out, so that no merge can ever make one.
    pub(super) fn words_and_merges(
        &self,
        metadata: &Metadata,
    ) -> Result<(tokenizers::models::bpe::Vocab, Merges), TokenizerError> {
        let texts: &[String] = metadata.get(TOKENS)?;
        let mut words = tokenizers::models::bpe::Vocab::default();
        for (token, text) in (0_u32..).zip(texts).filter(|(token, _)| !self.is_control(*token)) {
            words.entry(text.clone()).or_insert(token);
        }
        let pairs: &[String] = metadata.get(MERGES)?;
        let merges = pairs.iter().map(|pair| {
            // The crate trusts that a merge's parts and result are words; a damaged file must not get that far.
            let known = |(a, b): &(&str, &str)| {
                words.contains_key(*a) && words.contains_key(*b) && words.contains_key(&format!("{a}{b}"))
            };
            match pair.split_once(' ').filter(known) {
                Some((a, b)) => Ok((a.to_owned(), b.to_owned())),
                None => Err(GgufError::metadata(MERGES, format!("`{pair}` does not join two tokens into a third"))),
            }
        });
        let merges = merges.collect::<Result<_, _>>()?;
        Ok((words, merges))
    }
}
