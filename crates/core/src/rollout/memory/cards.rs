//! Cards without fast weights and without a model: what a look-up in the same cards is worth.

use serde::{Deserialize, Serialize};

use super::{CardUse, MemoryStrategy, RecallInput, Recalled};
use crate::abort::Abort;
use crate::retrieval::Bm25;
use crate::rollout::event::Event;
use crate::rollout::policy::{Policy, PolicyError};
use crate::rollout::writer::{self, WriterInput, WriterOutput};

/// What is answered where no card is near enough.
pub const UNKNOWN: &str = "I do not know.";

/// Writes the cards that [`Tmem`](super::Tmem) would, trains nothing, and answers with the nearest card's answer: BM25
/// over all wordings and the answer, of equals the latest card. The model is never asked, whatever the context holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cards {}

impl MemoryStrategy for Cards {
    fn card_use(&self) -> CardUse {
        CardUse::Kept
    }

    async fn recall<P: Policy>(&self, _policy: &mut P, input: &RecallInput<'_>) -> Result<Vec<Recalled>, PolicyError> {
        let latest_first: Vec<_> = input.cards.iter().rev().collect();
        let said = latest_first.iter().map(|card| {
            let texts: Vec<&str> = card.questions().chain([card.answer.as_str()]).collect();
            texts.join("\n")
        });
        let index = Bm25::new(said);
        let threshold = input.settings.rollout.card_threshold;
        let look_up = |text: &str| {
            let hit = index.search(text, 1).into_iter().find(|hit| hit.coverage >= threshold);
            let card = hit.map(|hit| latest_first[hit.document]);
            Recalled {
                answer: Some(card.map_or_else(|| UNKNOWN.to_owned(), |card| card.answer.clone())),
                card: card.map(|card| card.id),
                ..Recalled::default()
            }
        };
        Ok(input.queries.iter().map(|query| look_up(query.text)).collect())
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
