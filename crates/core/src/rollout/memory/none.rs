//! No memory: the context is all there is.

use serde::{Deserialize, Serialize};

use super::{CardUse, MemoryStrategy};
use crate::abort::Abort;
use crate::rollout::event::Event;
use crate::rollout::policy::{Policy, PolicyError};
use crate::rollout::writer::{WriterInput, WriterOutput};

/// No trigger, nothing carried, nothing written. The agent counts the turns that fall out at the model's limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoMemory {}

impl MemoryStrategy for NoMemory {
    fn is_triggered(&self) -> bool {
        false
    }

    fn card_use(&self) -> CardUse {
        CardUse::None
    }

    async fn write<P: Policy>(
        &mut self,
        _policy: &mut P,
        _input: &WriterInput<'_>,
        _observe: &mut dyn FnMut(Event),
        _abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        Ok(WriterOutput::default())
    }
}
