//! Room for large batches, beyond what one conversation needs.

use super::decoder::Decoders;
use super::runner::Runner;
use super::{Engine, EngineError};
use crate::model::ModelConfig;
use crate::settings::Settings;

/// Tokens the cache holds at least.
const LEAST_CACHE_TOKENS: usize = 256;

/// What batches need beyond one conversation. It changes how much is done at once, never what comes out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchRoom {
    /// Different Δ in one batch besides the one in force. Slots are made with need; this makes them beforehand.
    pub others: usize,
    /// Tokens of all sequences of a batch that the cache shall hold. Fewer than two of the longest prompts are never held.
    pub tokens: usize,
}

impl BatchRoom {
    /// Tokens the cache holds: two prompts of the longest kind, or as many as batches shall have.
    pub(super) fn cache_tokens(self, config: &ModelConfig, settings: &Settings) -> usize {
        (2 * settings.rollout.context_tokens.min(config.context)).max(LEAST_CACHE_TOKENS).max(self.tokens)
    }
}

impl Engine {
    /// Makes room for large batches. The Δ in force stays; what the cache held is computed again.
    ///
    /// # Errors
    /// A GPU that has no room; the engine is then as it was.
    pub fn reserve(&mut self, room: BatchRoom) -> Result<(), EngineError> {
        let tokens = room.cache_tokens(&self.model.config, &self.settings);
        if tokens != self.runner.cache.slots() {
            self.runner = Runner::new(&self.gpu, &self.model, self.adapter.as_ref(), tokens)?;
            (self.decoders, self.trainer) = (Decoders::default(), None);
        }
        self.room = room;
        if room.others > 0 {
            self.make_slots(room.others)?;
        }
        Ok(())
    }
}
