//! What an episode costs, as MEM1 counts it.

use serde::{Deserialize, Serialize};

use super::episode::{History, Turn};

/// Cost of an episode in tokens; the prompt is not counted, as upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeCost {
    /// Most tokens that stood in the context at once.
    pub peak_tokens: usize,
    /// Σ (context + len / 2) · len over everything the model wrote: how many pairs of tokens attended to each other.
    pub dependency: u64,
    /// Tokens the model wrote.
    pub generated: usize,
}

impl EpisodeCost {
    /// Of an episode's turns; `count` gives the tokens of a text.
    pub fn of(turns: &[Turn], history: History, count: impl Fn(&str) -> usize) -> Self {
        let mut cost = Self::default();
        let mut context = 0;
        for turn in turns {
            let mut written = 0;
            for text in [&turn.think, &turn.action] {
                let length = count(text);
                cost.dependency += ((context + written + length / 2) * length) as u64;
                written += length;
            }
            cost.generated += written;
            cost.peak_tokens = cost.peak_tokens.max(context + written);
            let kept = match history {
                History::Last => written,
                History::All => context + written,
            };
            context = kept + count(&turn.information);
        }
        cost
    }
}
