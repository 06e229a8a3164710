//! The conversation as it is kept between visits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tmem_core::fast::SiteNorm;
use tmem_core::rollout::AgentSnapshot;
use tmem_core::settings::Settings;

use crate::log::Log;

/// Raised when files of the older form can no longer be read.
const VERSION: u32 = 1;

/// Everything needed to go on after a reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Sha-256 of the model's file.
    pub model_sha256: String,
    /// Settings in force.
    pub settings: Settings,
    /// What was shown.
    pub log: Log,
    /// Size of Δ per site.
    pub norms: Vec<SiteNorm>,
    /// How well each card is known: its id, and the mean probability of its answer's tokens in percent.
    pub known: BTreeMap<u64, u8>,
    /// The agent with its fast weights.
    pub agent: AgentSnapshot,
}

#[derive(Serialize, Deserialize)]
struct File<S> {
    version: u32,
    sequence: u64,
    saved: S,
}

/// The bytes of a file. Of two files the one with the higher `sequence` is the newer.
///
/// # Errors
/// None in practice: every part of it can be written as JSON.
pub fn encode(sequence: u64, saved: &Saved) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&File { version: VERSION, sequence, saved })
}

/// The newest readable one of several files, with its sequence. A file that a closing tab left half-written, or that
/// is of another version, counts as none.
pub fn newest<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Option<(u64, Saved)> {
    let readable = files.into_iter().filter_map(|bytes| serde_json::from_slice::<File<Saved>>(bytes).ok());
    let newest = readable.filter(|file| file.version == VERSION).max_by_key(|file| file.sequence)?;
    Some((newest.sequence, newest.saved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tmem_core::fast::DeltaId;
    use tmem_core::rollout::AgentState;
    use tmem_core::rollout::policy::Snapshot;

    fn saved(sha: &str) -> Saved {
        let fast =
            Snapshot { delta: DeltaId::default(), b: vec![0.1, -0.0, f32::MIN_POSITIVE], a: None, cards: vec![] };
        Saved {
            model_sha256: sha.into(),
            settings: Settings::paper(),
            log: Log::default(),
            norms: vec![],
            known: BTreeMap::from([(3, 97)]),
            agent: AgentSnapshot { state: AgentState::default(), fast },
        }
    }

    #[test]
    fn what_is_saved_comes_back_bit_for_bit() {
        let before = saved("a");
        let (sequence, after) = newest([encode(5, &before).unwrap().as_slice()]).unwrap();
        assert_eq!((sequence, &after), (5, &before));
        let bits = |saved: &Saved| saved.agent.fast.b.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&after), bits(&before));
    }

    #[test]
    fn the_newest_readable_file_wins() {
        let (old, new) = (encode(1, &saved("old")).unwrap(), encode(2, &saved("new")).unwrap());
        assert_eq!(newest([new.as_slice(), &old]).unwrap().1.model_sha256, "new");
        assert_eq!(newest([&new[..new.len() / 2], &old]).unwrap().1.model_sha256, "old");
        assert_eq!(newest([b"".as_slice(), b"null", b"{\"version\":1}"]), None);
    }

    #[test]
    fn files_of_another_version_are_left_alone() {
        let text = String::from_utf8(encode(1, &saved("a")).unwrap()).unwrap();
        let other = text.replacen("\"version\":1", "\"version\":2", 1);
        assert_eq!(newest([other.as_bytes()]), None);
    }
}
