//! What the gates of this engine are measured against, gathered piece by piece.

use std::sync::Arc;

use super::state::{QUESTIONS_AT_ONCE, asks_for_unknown};
use super::{Engine, EngineError};
use crate::fast::{Background, NEUTRAL_PROMPTS, unknown_questions};

/// Prompts of one piece that is gathered beforehand: a moment on a GPU, some seconds where one is emulated.
const PIECE: usize = 4;

/// What there is of it so far. It does not depend on Δ or cards and outlives both.
#[derive(Default)]
pub(super) struct Gathered {
    /// The tokens that all prompts begin with; the states depend on them.
    prefix: Vec<u32>,
    /// Complete but perhaps for the questions about things never told.
    made: Option<Arc<Background>>,
    /// Hidden states for what comes next: of the neutral prompts, and once it is made of those questions.
    states: Vec<Vec<f32>>,
}

impl Engine {
    /// Computes a piece of what the first write needs for its gate (some 220 prompts through the layers below the fast
    /// weights), so that it is there by then. Says whether more is left: to be called when nobody waits. Changes nothing
    /// that can be asked for.
    ///
    /// # Errors
    /// A failure of the GPU.
    pub async fn prepare_gate(&mut self) -> Result<bool, EngineError> {
        if !self.has_gate() || self.adapter.is_none() {
            return Ok(false);
        }
        let prefix = self.prompt_prefix()?;
        self.gather(&prefix, asks_for_unknown(&self.settings.fast), PIECE).await
    }

    /// All of it, with questions about things never told where asked for.
    pub(super) async fn background(&mut self, prefix: &[u32], unknown: bool) -> Result<Arc<Background>, EngineError> {
        while self.gather(prefix, unknown, QUESTIONS_AT_ONCE).await? {}
        Ok(self.gathered.made.clone().unwrap_or_default())
    }

    /// Gathers up to `most` further states; says whether any is left.
    async fn gather(&mut self, prefix: &[u32], unknown: bool, most: usize) -> Result<bool, EngineError> {
        if self.gathered.prefix != prefix {
            self.gathered = Gathered { prefix: prefix.to_vec(), ..Gathered::default() };
        }
        let done = self.gathered.states.len();
        let Some(made) = self.gathered.made.clone() else {
            let states = self.neutral_states(done..(done + most).min(NEUTRAL_PROMPTS.len()), prefix).await?;
            self.gathered.states.extend(states);
            if self.gathered.states.len() == NEUTRAL_PROMPTS.len() {
                let states = std::mem::take(&mut self.gathered.states);
                self.gathered.made = Some(Arc::new(Background::around(&states)));
                return Ok(unknown);
            }
            return Ok(true);
        };
        if !unknown || made.unknown() > 0 {
            return Ok(false);
        }
        let texts = unknown_questions();
        let states = self.prompt_states(&texts[done..(done + most).min(texts.len())], prefix).await?;
        self.gathered.states.extend(states);
        if self.gathered.states.len() < texts.len() {
            return Ok(true);
        }
        let states = std::mem::take(&mut self.gathered.states);
        self.gathered.made = Some(Arc::new(Arc::unwrap_or_clone(made).with_unknown(&states)));
        Ok(false)
    }
}
