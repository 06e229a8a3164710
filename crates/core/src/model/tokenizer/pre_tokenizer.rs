//! How text is cut before BPE merges within each part. GGUF files name the rule instead of spelling it out.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior};

use super::TokenizerError;

/// The pattern of Llama 3 and, with single digits, of Qwen 2; `NUMBERS` stands for how digits are grouped.
const CL100K: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBERS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// GPT-2's byte-level split.
    Gpt2,
    /// Every digit by itself, then as GPT-2.
    SmolLm,
    /// Numbers in groups of up to three digits; whole words that are in the vocabulary skip merging.
    Llama3,
    /// Every digit by itself; text is brought to Unicode's composed form first.
    Qwen2,
}

const RULES: [(&str, Rule); 5] = [
    ("gpt-2", Rule::Gpt2),
    ("smollm", Rule::SmolLm),
    ("llama-bpe", Rule::Llama3),
    ("llama3", Rule::Llama3),
    ("qwen2", Rule::Qwen2),
];

/// A sequence of splits, then every byte as a character of its own.
pub(super) struct PreTokenizer {
    rule: Rule,
    digits: Option<Digits>,
    pattern: Option<Split>,
    bytes: ByteLevel,
}

impl PreTokenizer {
    /// The rule a GGUF file calls `name`.
    pub(super) fn named(name: &str) -> Result<Self, TokenizerError> {
        let Some(&(_, rule)) = RULES.iter().find(|(known, _)| *known == name) else {
            let known = RULES.map(|(known, _)| known).join(", ");
            return Err(TokenizerError::PreTokenizer { name: name.to_owned(), known });
        };
        let pattern = match rule {
            Rule::Gpt2 | Rule::SmolLm => None,
            Rule::Llama3 => Some(CL100K.replace("NUMBERS", r"\p{N}{1,3}")),
            Rule::Qwen2 => Some(CL100K.replace("NUMBERS", r"\p{N}")),
        };
        let split = |pattern| Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Isolated, false);
        let pattern = pattern.map(split).transpose().map_err(|e| TokenizerError::Encode(e.to_string()))?;
        let bytes = ByteLevel::new(false, false, pattern.is_none());
        Ok(Self { rule, digits: (rule == Rule::SmolLm).then(|| Digits::new(true)), pattern, bytes })
    }

    /// True where a part that is itself in the vocabulary is not merged from its bytes.
    pub(super) fn ignores_merges(&self) -> bool {
        self.rule == Rule::Llama3
    }

    pub(super) fn split(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        if self.rule == Rule::Qwen2 {
            text.normalize(|part| {
                part.nfc();
                Ok(())
            })?;
        }
        if let Some(digits) = &self.digits {
            digits.pre_tokenize(text)?;
        }
        if let Some(pattern) = &self.pattern {
            pattern.pre_tokenize(text)?;
        }
        self.bytes.pre_tokenize(text)
    }
}
