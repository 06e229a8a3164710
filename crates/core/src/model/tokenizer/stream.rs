//! Decoding while tokens arrive.

use super::Tokenizer;

/// Turns tokens into text one by one: a character whose bytes are spread over several tokens appears with the last of
/// them. Control tokens give no text.
#[derive(Debug, Clone, Default)]
pub struct TokenStream {
    pending: Vec<u8>,
}

impl TokenStream {
    /// A stream at the start of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that `token` completes, possibly none. Bytes that can no longer become UTF-8 give U+FFFD.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        if !tokenizer.is_control(token) {
            self.pending.extend(tokenizer.token_bytes(token).unwrap_or_default());
        }
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    let Some(invalid) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = rest.get(invalid..).unwrap_or_default();
                }
            }
        }
        self.pending = rest.to_vec();
        text
    }

    /// What is left at the end: U+FFFD where the text stops within a character, else nothing.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
