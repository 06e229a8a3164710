//! What a share link carries, and its replay.
//!
//! A recipe holds everything a rollout depends on besides the model file: settings with their seeds, what was done,
//! and what came out. As a link it is JSON, deflated, in base64url behind the `#`, where it never reaches a server; as
//! a file it is the same JSON. On the adapter it was made on the replay ends in the same bits of Δ; on another one the
//! fingerprint says how far apart the two are.

mod fingerprint;
mod replay;
#[cfg(test)]
mod tests;

use std::io::{Read, Write};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use fingerprint::Fingerprint;
pub use replay::{ReplayError, ReplayOutcome, ReplayReport, replay};

use crate::fast::DeltaId;
use crate::hash::hexadecimal;
use crate::rollout::memory::{CardUse, MemoryStrategy};
use crate::rollout::policy::Policy;
use crate::rollout::{Action, Agent, AgentError};
use crate::settings::{Settings, SettingsError};

/// The version this program writes and reads.
pub const VERSION: u32 = 1;
/// Most characters of a link.
pub const MAX_LINK: usize = 64 * 1024;
/// Most bytes of a recipe as JSON.
pub const MAX_JSON: usize = 1024 * 1024;
/// Most actions of a recipe.
pub const MAX_ACTIONS: usize = 4096;
/// What stands before the code in a link.
const KEY: &str = "recipe=";

/// Which model a recipe was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelIdentity {
    /// For people: the model's name.
    pub name: String,
    /// Sha-256 of the model file, in hexadecimal.
    pub sha256: String,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Sha-256 of B's bytes, as in [`DeltaId::hash`].
    pub hash: String,
    /// B in few numbers.
    pub fingerprint: Fingerprint,
    /// Sha-256 of what is remembered outside of Δ, where the strategy remembers anything there: the passages of the
    /// explicit memory, and the cards that are kept but not trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

/// A rollout that can be done again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of the format.
    pub version: u32,
    /// The model.
    pub model: ModelIdentity,
    /// For people: the preset the settings began from.
    pub preset: Option<String>,
    /// All settings, seeds included.
    pub settings: Settings,
    /// What is done, in order, from Δ = 0 and an empty context.
    pub script: Vec<Action>,
    /// What came out where the recipe was made.
    pub expected: Expected,
}

/// A link or file that is no recipe this program can replay.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// More characters than a link may have.
    #[error("the link has {length} characters, at most {MAX_LINK} are allowed: share the recipe as a file instead")]
    LinkTooLong {
        /// Characters.
        length: usize,
    },
    /// Nothing behind the `#`.
    #[error("the link carries no recipe: copy it as a whole, from https to its last character")]
    Empty,
    /// Not base64url.
    #[error("the link is damaged ({0}): copy it as a whole, from https to its last character")]
    Encoding(#[from] base64::DecodeError),
    /// Not a deflate stream.
    #[error("the link is damaged ({0}): copy it as a whole, from https to its last character")]
    Compression(#[source] std::io::Error),
    /// Larger than a recipe may be.
    #[error("the recipe is larger than {MAX_JSON} bytes; it is not opened")]
    TooLarge,
    /// Made by another version.
    #[error("the recipe has version {found}, this program reads version {VERSION}: use the program it was made with")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Not the JSON of a recipe.
    #[error("the recipe cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Settings out of range.
    #[error("the recipe's settings cannot be used: {0}")]
    Settings(#[from] SettingsError),
    /// More actions than allowed.
    #[error("the recipe has {count} actions, at most {MAX_ACTIONS} are allowed")]
    TooManyActions {
        /// Actions.
        count: usize,
    },
}

/// The one field whose place never changes between versions.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Recipe {
    /// The recipe of what an agent did since its last reset. Where the script alone would not lead to the agent's Δ (a
    /// write was stopped by hand, Δ was imported) it carries the cards of each write instead of the conversation.
    ///
    /// # Errors
    /// A failure of the policy.
    pub async fn of<P: Policy>(
        agent: &mut Agent<P>,
        model: ModelIdentity,
        preset: Option<String>,
    ) -> Result<Self, AgentError> {
        let fast = agent.policy_mut().snapshot().await?;
        // Cards alone do not bring an explicit memory back.
        let whole = !agent.state().off_script || agent.passages().is_empty();
        let memory = if whole { memory_hash(agent) } else { None };
        let state = agent.state();
        let script = if state.off_script {
            state.written_cards().into_iter().map(|cards| Action::Learn { cards }).collect()
        } else {
            state.script.clone()
        };
        Ok(Self {
            version: VERSION,
            model,
            preset,
            settings: agent.settings().clone(),
            script,
            expected: Expected { hash: fast.delta.hash, fingerprint: Fingerprint::of(&fast.b), memory },
        })
    }

    /// The part of a link behind the `#`.
    ///
    /// # Errors
    /// A recipe too large for a link.
    pub fn to_fragment(&self) -> Result<String, RecipeError> {
        let json = serde_json::to_vec(self)?;
        if json.len() > MAX_JSON {
            return Err(RecipeError::TooLarge);
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&json).map_err(RecipeError::Compression)?;
        let code = BASE64_URL_SAFE_NO_PAD.encode(encoder.finish().map_err(RecipeError::Compression)?);
        let fragment = format!("{KEY}{code}");
        if fragment.len() > MAX_LINK {
            return Err(RecipeError::LinkTooLong { length: fragment.len() });
        }
        Ok(fragment)
    }

    /// Reads a link, or only the part behind its `#`.
    ///
    /// # Errors
    /// [`RecipeError`], for whatever is not a recipe; nothing larger than [`MAX_JSON`] is ever inflated.
    pub fn from_link(link: &str) -> Result<Self, RecipeError> {
        let fragment = link.trim().rsplit('#').next().unwrap_or_default();
        let code = fragment.strip_prefix(KEY).unwrap_or(fragment);
        if code.len() > MAX_LINK {
            return Err(RecipeError::LinkTooLong { length: code.len() });
        }
        if code.is_empty() {
            return Err(RecipeError::Empty);
        }
        let compressed = BASE64_URL_SAFE_NO_PAD.decode(code)?;
        let mut json = Vec::new();
        let mut inflated = DeflateDecoder::new(compressed.as_slice()).take(MAX_JSON as u64 + 1);
        inflated.read_to_end(&mut json).map_err(RecipeError::Compression)?;
        Self::parse(&json)
    }

    /// The recipe as a file.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn to_json(&self) -> Result<String, RecipeError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`RecipeError`], for whatever is not a recipe.
    pub fn from_json(json: &str) -> Result<Self, RecipeError> {
        Self::parse(json.as_bytes())
    }

    fn parse(json: &[u8]) -> Result<Self, RecipeError> {
        if json.len() > MAX_JSON {
            return Err(RecipeError::TooLarge);
        }
        let Versioned { version } = serde_json::from_slice(json)?;
        if version != VERSION {
            return Err(RecipeError::Version { found: version });
        }
        let recipe: Self = serde_json::from_slice(json)?;
        recipe.settings.validate()?;
        if recipe.script.len() > MAX_ACTIONS {
            return Err(RecipeError::TooManyActions { count: recipe.script.len() });
        }
        Ok(recipe)
    }
}

/// Sha-256 of what an agent remembers outside of Δ, in hexadecimal; `None` where that is nothing.
fn memory_hash<P: Policy>(agent: &Agent<P>) -> Option<String> {
    let passages = agent.passages();
    let kept = if agent.state().memory.card_use() == CardUse::Kept { agent.cards() } else { &[] };
    if passages.is_empty() && kept.is_empty() {
        return None;
    }
    let mut hash = Sha256::new();
    let passages = passages.iter().flat_map(|p| p.keywords.iter().chain([&p.text]));
    let cards = kept.iter().flat_map(|card| card.questions().chain([card.answer.as_str()]));
    for text in passages.map(String::as_str).chain(cards) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    Some(hexadecimal(&hash.finalize()))
}

/// Whether a Δ is the expected one, or how far from it.
impl Expected {
    fn compare(&self, delta: &DeltaId, b: &[f32]) -> ReplayOutcome {
        if delta.hash == self.hash {
            return ReplayOutcome::Match;
        }
        match self.fingerprint.distance(&Fingerprint::of(b)) {
            Some(relative) => ReplayOutcome::Distance { relative },
            None => ReplayOutcome::OtherShape,
        }
    }
}
