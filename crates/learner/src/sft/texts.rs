//! Conversations as tokens, as the engine renders them.

use tmem_core::message::{Message, Role};
use tmem_core::model::chat_template::ChatTemplate;
use tmem_core::model::tokenizer::Tokenizer;
use tmem_core::model::{HostModel, Specials};
use tmem_core::rollout::Turn;
use tmem_core::rollout::writer::json;
use tmem_core::settings::RolloutSettings;

use super::{Exchange, text_error};
use crate::LearnError;

/// What turns messages into tokens.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    tokenizer: &'a Tokenizer,
    template: &'a ChatTemplate,
    rollout: &'a RolloutSettings,
    context: usize,
}

impl<'a> Texts<'a> {
    /// Of a model, for an agent that lives under `rollout`.
    pub fn new(model: &'a HostModel, rollout: &'a RolloutSettings) -> Self {
        let context = model.config.context;
        Self { tokenizer: &model.tokenizer, template: &model.chat_template, rollout, context }
    }

    /// A conversation up to where the assistant's turn is opened.
    ///
    /// # Errors
    /// A template that cannot render it.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, LearnError> {
        let mut all = Vec::with_capacity(messages.len() + 1);
        let system = self.rollout.system_prompt.as_str();
        if !system.is_empty() && messages.first().is_none_or(|message| message.role != Role::System) {
            all.push(Message::system(system));
        }
        all.extend_from_slice(messages);
        self.template.encode(self.tokenizer, &all, true).map_err(text_error)
    }

    /// [`Self::prompt`], and what the assistant's turn already begins with.
    ///
    /// # Errors
    /// A template that cannot render it, or a text that has no tokens in this vocabulary.
    pub fn begun(&self, messages: &[Message], assistant_prefix: &str) -> Result<Vec<u32>, LearnError> {
        let mut tokens = self.prompt(messages)?;
        if !assistant_prefix.is_empty() {
            let prefix = self.tokenizer.encode(assistant_prefix, Specials::Literal);
            tokens.extend(prefix.map_err(text_error)?);
        }
        Ok(tokens)
    }

    /// Most tokens that the model reads.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The prompt for the cards of some turns, up to where the model goes on.
    ///
    /// # Errors
    /// As [`Self::begun`].
    pub fn writing(&self, turns: &[Exchange]) -> Result<Vec<u32>, LearnError> {
        let turn = |(index, exchange): (usize, &Exchange)| Turn {
            index,
            user: exchange.user.clone(),
            assistant: exchange.assistant.clone(),
        };
        let turns: Vec<Turn> = turns.iter().enumerate().map(turn).collect();
        self.begun(&json::prompt(None, &turns, self.rollout.max_cards), json::OPENING)
    }

    /// What the assistant says, and the end of its turn.
    ///
    /// # Errors
    /// A text that has no tokens in this vocabulary.
    pub fn answer(&self, text: &str) -> Result<Vec<u32>, LearnError> {
        let mut tokens = self.tokenizer.encode(text.trim(), Specials::Literal).map_err(text_error)?;
        tokens.push(self.tokenizer.end_of_turn());
        Ok(tokens)
    }
}
