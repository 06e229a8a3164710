//! Fast weights alone: (m, Δ, h) ← (∅, T(Δ, cards), ∅).

use serde::{Deserialize, Serialize};

use super::{CardUse, MemoryStrategy};
use crate::abort::Abort;
use crate::rollout::event::Event;
use crate::rollout::policy::{Policy, PolicyError};
use crate::rollout::writer::{self, WriterInput, WriterOutput};

/// Writes cards for the fast weights and carries no text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmem {}

impl MemoryStrategy for Tmem {
    fn card_use(&self) -> CardUse {
        CardUse::Learned
    }

    async fn write<P: Policy>(
        &mut self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        writer::write_cards(policy, input, observe, abort).await
    }
}
