//! Judges: who says whether an answer is right.
//!
//! One trait for all of them. The local ones compare texts; [`Endpoint`] asks a model behind an OpenAI-compatible
//! interface, with the question that fits the probe ([`question`]).

mod cache;
mod endpoint;
pub mod question;
#[cfg(test)]
mod tests;
pub mod verdict;

use serde::{Deserialize, Serialize};

pub use endpoint::{API_KEY_VARIABLE, Endpoint, EndpointOptions};

use crate::bench::Probe;
use crate::metrics::scores;

/// What a judge says of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The judge's name; of a model, the model's.
    pub judge: String,
    /// Between 0 (wrong) and 1 (right).
    pub score: f64,
    /// What the model was asked; `None` of local judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What the model replied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Whether the reply came from the cache.
    #[serde(default)]
    pub cached: bool,
}

impl Verdict {
    fn local(judge: &str, score: f64) -> Self {
        Self { judge: judge.to_owned(), score, prompt: None, reply: None, cached: false }
    }
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The judge cannot judge this probe.
    #[error("the judge `{judge}` cannot judge {probe}, which has no gold answer: use an endpoint")]
    NoGold {
        /// The judge.
        judge: String,
        /// The probe.
        probe: String,
    },
    /// The endpoint refused or could not be reached, after every retry.
    #[error("the judge at {url} gave no reply after {attempts} attempts: {reason}")]
    Endpoint {
        /// Where it was asked.
        url: String,
        /// How often.
        attempts: usize,
        /// What happened the last time.
        reason: String,
    },
    /// The endpoint replied something that is no verdict, every time.
    #[error("the judge {model} gave no verdict in {attempts} attempts; its last reply began `{reply}`")]
    NoVerdict {
        /// The model.
        model: String,
        /// How often it was asked.
        attempts: usize,
        /// The beginning of its last reply.
        reply: String,
    },
    /// The cache cannot be written.
    #[error("cannot keep the judge's reply in {file}: {source}")]
    Cache {
        /// The file.
        file: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Says whether an answer is right.
pub trait Judge {
    /// Its name in reports.
    fn name(&self) -> &str;

    /// Judges an answer to a probe.
    ///
    /// # Errors
    /// [`JudgeError`].
    fn judge(&self, probe: &Probe, answer: &str) -> Result<Verdict, JudgeError>;
}

/// The judges that compare texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalJudge {
    /// 1 where the answer is a gold answer, without regard to case and punctuation.
    Exact,
    /// The best token F1 with a gold answer.
    F1,
    /// 1 where a gold answer stands in the answer as whole words.
    Contains,
    /// The benchmark's own score, or the closest thing that needs no model: [`Probe::headline`].
    Official,
}

impl Judge for LocalJudge {
    fn name(&self) -> &str {
        match self {
            Self::Exact => "exact",
            Self::F1 => "f1",
            Self::Contains => "contains",
            Self::Official => "official",
        }
    }

    fn judge(&self, probe: &Probe, answer: &str) -> Result<Verdict, JudgeError> {
        let score = match self {
            Self::Exact => "exact_match",
            Self::F1 => "f1",
            Self::Contains => "contains",
            Self::Official => probe.headline(),
        };
        let no_gold = || JudgeError::NoGold { judge: self.name().to_owned(), probe: probe.id.clone() };
        let score = *scores(probe, answer).get(score).ok_or_else(no_gold)?;
        Ok(Verdict::local(self.name(), score))
    }
}
