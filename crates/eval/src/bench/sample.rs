//! The one shape of a benchmark with a history.

use serde::{Deserialize, Serialize};
use tmem_core::card::Card;

use crate::metrics::Scoring;

/// A history and the questions about it. Every question is asked from the state after the whole history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Identifies the sample within its benchmark.
    pub id: String,
    /// What the agent reads, oldest first.
    pub sessions: Vec<Session>,
    /// What it is asked afterwards.
    pub probes: Vec<Probe>,
    /// The cards a perfect writer would write, where the benchmark knows them.
    #[serde(default)]
    pub oracle_cards: Vec<Card>,
}

/// One sitting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Identifies the session within its sample.
    pub id: String,
    /// When it took place, in the benchmark's own words.
    pub date: Option<String>,
    /// What was said, oldest first.
    pub exchanges: Vec<Exchange>,
}

/// What one side said and what the other answered: the unit that
/// [`Agent::feed`](tmem_core::rollout::Agent::feed) takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// What was said to the agent; never blank.
    pub user: String,
    /// What was answered; may be empty.
    pub assistant: String,
    /// The benchmark's ids of what is in it (as in [`Probe::evidence`]), if it has any.
    #[serde(default)]
    pub ids: Vec<String>,
}

/// One question about a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Identifies the probe within its benchmark.
    pub id: String,
    /// What the agent is asked, with the benchmark's instructions.
    pub prompt: String,
    /// The question alone: for look-ups, judges and question-aware writing.
    pub question: String,
    /// Right answers; where there are several, each of them alone is right. Empty where only a judge can tell.
    pub gold: Vec<String>,
    /// Where the benchmark has them: an answer that contains one of these as whole words is right.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The benchmark's category of questions.
    pub category: String,
    /// The benchmark's ids of where the answer stands.
    #[serde(default)]
    pub evidence: Vec<String>,
    /// Indices into [`Sample::sessions`] of where the answer stands, ascending.
    #[serde(default)]
    pub evidence_sessions: Vec<usize>,
    /// When the question is asked, in the benchmark's own words.
    #[serde(default)]
    pub date: Option<String>,
    /// Most tokens of an answer where the benchmark says so.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// How the benchmark itself scores an answer.
    pub scoring: Scoring,
}

impl Sample {
    /// Age of the fact a probe asks for, in sessions: how many sessions came after the latest one with evidence (0 =
    /// it was told in the last). `None` where the evidence is unknown.
    pub fn age(&self, probe: &Probe) -> Option<usize> {
        let latest = *probe.evidence_sessions.iter().max()?;
        self.sessions.len().checked_sub(latest + 1)
    }

    /// Number of exchanges in all sessions.
    pub fn exchanges(&self) -> usize {
        self.sessions.iter().map(|session| session.exchanges.len()).sum()
    }
}
