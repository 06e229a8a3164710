//! What to generate.

use serde::{Deserialize, Serialize};

use super::error::SyntheticError;

/// Fewest words that a fact needs, with the reply to it.
const WORDS_PER_FACT: usize = 30;

/// Fewest words that a session needs.
const WORDS_PER_SESSION: usize = 40;

/// What one conversation is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Seeds everything. The same seed and parameters give the same bytes.
    pub seed: u64,
    /// Sessions of a conversation.
    pub sessions: usize,
    /// Facts told, changes to earlier facts included.
    pub facts: usize,
    /// How long a conversation is.
    pub length: Length,
}

/// How long a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// User turns with their replies, per session; more where the facts need more.
    Exchanges(usize),
    /// Words of all turns together, met within 10 %.
    Words(usize),
}

impl Parameters {
    /// As many facts as suit the length: about one in 120 words, 60 at most.
    pub fn fitting(seed: u64, sessions: usize, length: Length) -> Self {
        let facts = match length {
            Length::Exchanges(exchanges) => sessions.saturating_mul(exchanges) / 3,
            Length::Words(words) => words / 120,
        };
        Self { seed, sessions, facts: facts.clamp(4, 60), length }
    }

    /// Refuses what cannot be met.
    ///
    /// # Errors
    /// [`SyntheticError::Parameters`] says what would do.
    pub(super) fn check(&self) -> Result<(), SyntheticError> {
        let refuse = |reason: String| Err(SyntheticError::Parameters(reason));
        if self.sessions == 0 || self.facts == 0 {
            return refuse("a conversation needs at least one session and one fact".to_owned());
        }
        match self.length {
            Length::Exchanges(0) => refuse("a session needs at least one exchange".to_owned()),
            Length::Exchanges(_) => Ok(()),
            Length::Words(words) => {
                let least =
                    (self.facts.saturating_mul(WORDS_PER_FACT)).max(self.sessions.saturating_mul(WORDS_PER_SESSION));
                if words >= least {
                    return Ok(());
                }
                let (facts, sessions) = (self.facts, self.sessions);
                refuse(format!("{facts} facts in {sessions} sessions need at least {least} words, not {words}"))
            }
        }
    }

    /// Seeds one conversation of several.
    pub(super) fn seed_of(&self, conversation: u64) -> u64 {
        Self::mixed(self.seed, conversation)
    }

    /// A seed for part `part` of the work under `seed`.
    pub(super) fn mixed(seed: u64, part: u64) -> u64 {
        // The finaliser of SplitMix64: neighbouring seeds and parts share nothing.
        let mut mixed = seed ^ part.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
