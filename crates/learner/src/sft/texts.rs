//! Conversations as tokens, as the engine renders them.

use tmem_core::message::{Message, Role};
use tmem_core::model::chat_template::{ChatTemplate, ChatTemplateError};
use tmem_core::model::tokenizer::Tokenizer;
use tmem_core::model::{HostModel, Specials};

use crate::LearnError;

/// What turns messages into tokens.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    tokenizer: &'a Tokenizer,
    template: &'a ChatTemplate,
    system_prompt: &'a str,
}

impl<'a> Texts<'a> {
    /// Of a model, with the system prompt that conversations without one begin with (none where it is empty).
    pub fn new(model: &'a HostModel, system_prompt: &'a str) -> Self {
        Self { tokenizer: &model.tokenizer, template: &model.chat_template, system_prompt }
    }

    /// A conversation up to where the assistant's turn is opened.
    ///
    /// # Errors
    /// A template that cannot render it.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, LearnError> {
        let mut all = Vec::with_capacity(messages.len() + 1);
        if !self.system_prompt.is_empty() && messages.first().is_none_or(|message| message.role != Role::System) {
            all.push(Message::system(self.system_prompt));
        }
        all.extend_from_slice(messages);
        self.template.encode(self.tokenizer, &all, true).map_err(|error: ChatTemplateError| text_error(&error))
    }

    /// What the assistant says, and the end of its turn.
    ///
    /// # Errors
    /// A text that has no tokens in this vocabulary.
    pub fn answer(&self, text: &str) -> Result<Vec<u32>, LearnError> {
        let mut tokens = self.tokenizer.encode(text.trim(), Specials::Literal).map_err(|error| text_error(&error))?;
        tokens.push(self.tokenizer.end_of_turn());
        Ok(tokens)
    }
}

fn text_error(error: &dyn std::error::Error) -> LearnError {
    LearnError::Text(error.to_string())
}
