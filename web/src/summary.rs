//! The page in short, for programs that drive it.

use serde::Serialize;
use tmem_core::fast::DeltaId;

use crate::log::Answer;
use crate::protocol::{Cause, Replayed};
use crate::state::{PageState, Stage};

/// What `window.tmem.state` holds: an object that is replaced whenever something in it changes. End-to-end tests wait
/// on it instead of on pixels.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// `starting`, `choosing` (a download would be needed), `loading`, `ready` or `down` (see `failure`).
    pub stage: &'static str,
    /// Whether a run is in progress.
    pub busy: bool,
    /// Runs that are over since the page was opened.
    pub finished_runs: u64,
    /// Whether what the first write needs was computed while nobody asked for anything.
    pub prepared: bool,
    /// Kernels that passed and failed the self-test; both 0 before it.
    pub checks: [usize; 2],
    /// The last failure: its kind and words.
    pub failure: Option<(Cause, String)>,
    /// The last notice.
    pub notice: Option<String>,
    /// Adapter in use.
    pub device: Option<String>,
    /// Lines of the conversation.
    pub lines: usize,
    /// The latest answer, complete or on its way.
    pub answer: Option<String>,
    /// What that took, once it is complete.
    pub timing: Option<Timing>,
    /// The frozen twin's answer to the same.
    pub twin: Option<String>,
    /// Tokens in the context, and at which memory is written.
    pub context: Option<(usize, usize)>,
    /// Questions and answers of the cards, oldest first.
    pub cards: Vec<(String, String)>,
    /// What is remembered as text.
    pub passages: Vec<String>,
    /// Version and hash of Δ.
    pub delta: Option<DeltaId>,
    /// Training steps of the latest write.
    pub steps: usize,
    /// Cards and seconds of the latest write that is over.
    pub written: Option<(usize, f64)>,
    /// Fragment of the share link, once asked for.
    pub link: Option<String>,
    /// Whether the last replay matched, and how.
    pub replayed: Option<(bool, Replayed)>,
    /// Bytes in GPU buffers.
    pub gpu_bytes: u64,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Seconds until the first token.
    pub first_after: f64,
    /// Tokens of the answer.
    pub tokens: usize,
    /// Seconds in all.
    pub seconds: f64,
}

impl From<&Answer> for Timing {
    fn from(answer: &Answer) -> Self {
        let Answer { prompt_tokens, first_after, tokens, seconds, .. } = *answer;
        Self { prompt_tokens, first_after, tokens, seconds }
    }
}

impl From<&PageState> for Summary {
    fn from(state: &PageState) -> Self {
        let turn = state.last_turn();
        let status = state.status.as_ref();
        let failed = state.wrong_kernels().len();
        Self {
            stage: match state.stage {
                Stage::Starting => "starting",
                Stage::Choosing { .. } => "choosing",
                Stage::Loading(_) => "loading",
                Stage::Ready => "ready",
                Stage::Down => "down",
            },
            busy: state.busy(),
            finished_runs: state.finished_runs,
            prepared: state.prepared,
            checks: [state.checks.len() - failed, failed],
            failure: state.failure.as_ref().map(|failure| (failure.cause, failure.message.clone())),
            notice: state.notice.clone(),
            device: state.device.as_ref().map(|device| device.name.clone()),
            lines: state.log.entries().len(),
            answer: turn.map(|(_, answer, _)| answer.text.clone()),
            timing: turn.filter(|(_, answer, _)| answer.finish.is_some()).map(|(_, answer, _)| answer.into()),
            twin: turn.and_then(|(_, _, twin)| twin).map(|twin| twin.text.clone()),
            context: status.map(|status| (status.context_tokens, status.budget)),
            cards: status
                .into_iter()
                .flat_map(|status| &status.cards)
                .map(|held| (held.card.question.clone(), held.card.answer.clone()))
                .collect(),
            passages: status.iter().flat_map(|s| &s.passages).map(|passage| passage.text.clone()).collect(),
            delta: status.map(|status| status.delta.clone()),
            steps: state.steps.len(),
            written: state.log.last_write().map(|write| (write.count, write.seconds)),
            link: state.link.clone(),
            replayed: state.replayed.as_ref().map(|replayed| (replayed.matches(), replayed.clone())),
            gpu_bytes: status.map_or(0, |status| status.gpu_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_page_says_that_it_starts() {
        let summary = serde_json::to_value(Summary::from(&PageState::default())).unwrap();
        assert_eq!(summary["stage"], "starting");
        assert_eq!(summary["finishedRuns"], 0);
        assert_eq!(summary["answer"], serde_json::Value::Null);
    }
}
