//! What the page shows, as a value, and how reports change it. No browser in here.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use tmem_core::fast::{SiteNorm, StepReport};

use crate::log::{Answer, Log};
use crate::protocol::{Activity, Cause, Check, Device, Failure, ModelInfo, News, Progress, Replayed, Report, Status};

/// Everything the page shows that is not mere typing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PageState {
    /// How far the page is.
    pub stage: Stage,
    /// The GPU.
    pub device: Option<Device>,
    /// The kernels' self-test.
    pub checks: Vec<Check>,
    /// The model.
    pub model: Option<ModelInfo>,
    /// The agent's state after the last run.
    pub status: Option<Status>,
    /// The conversation.
    pub log: Log,
    /// Runs that were sent off and are not over.
    pub pending: BTreeSet<u64>,
    /// What the agent is doing.
    pub activity: Option<Activity>,
    /// Steps of the training in progress, or of the last one.
    pub steps: Vec<StepReport>,
    /// The last failure, until it is dismissed or the next run begins.
    pub failure: Option<Failure>,
    /// Something worth telling, until dismissed.
    pub notice: Option<String>,
    /// The share link's fragment, once asked for.
    pub link: Option<String>,
    /// How the last replay ended.
    pub replayed: Option<Replayed>,
    /// Runs that are over.
    pub finished_runs: u64,
    /// Whether what the first write needs was computed while nobody asked for anything.
    pub prepared: bool,
}

/// How far the page is.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Stage {
    /// The worker is not there yet.
    #[default]
    Starting,
    /// The model would have to be downloaded; the person decides.
    Choosing {
        /// The model's name.
        name: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// Loading.
    Loading(Progress),
    /// The model is loaded.
    Ready,
    /// Nothing works until the model is loaded (again); `failure` says why.
    Down,
}

impl PageState {
    /// Notes that a command was sent off.
    pub fn sent(&mut self, run: u64) {
        self.pending.insert(run);
        self.failure = None;
        self.notice = None;
    }

    /// Whether the agent is at work.
    pub fn busy(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the person can speak.
    pub fn can_speak(&self) -> bool {
        self.stage == Stage::Ready && !self.busy()
    }

    /// Whether loading has ended well.
    pub fn ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// The latest turn.
    pub fn last_turn(&self) -> Option<(&str, &Answer, Option<&Answer>)> {
        self.log.last_turn()
    }

    /// Size of Δ at each site: as of the latest training step while training, else as the agent last said.
    pub fn current_norms(&self) -> Vec<SiteNorm> {
        let mut norms = self.status.as_ref().map(|status| status.norms.clone()).unwrap_or_default();
        if self.activity == Some(Activity::Training)
            && let Some(step) = self.steps.last()
        {
            for (site, &relative) in norms.iter_mut().zip(&step.norms) {
                site.relative = relative;
            }
        }
        norms
    }

    /// Names of the kernels that failed their self-test.
    pub fn wrong_kernels(&self) -> Vec<&str> {
        self.checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect()
    }

    /// A new worker takes over: only what was said stays.
    pub fn restart(&mut self) {
        let log = std::mem::take(&mut self.log);
        *self = Self { log, finished_runs: self.finished_runs, ..Self::default() };
    }

    /// The worker died: nothing it was asked for will come.
    pub fn worker_died(&mut self, message: &str) {
        self.pending.clear();
        self.activity = None;
        self.stage = Stage::Down;
        self.log.close();
        self.failure = Some(Failure { cause: Cause::Other, message: message.to_owned() });
    }

    /// Takes in a report.
    pub fn apply(&mut self, report: Report) {
        let run = report.run;
        match report.news {
            News::Hello => {}
            News::Restored { log } => self.log = log,
            News::NeedsDownload { name, bytes } => self.stage = Stage::Choosing { name, bytes },
            News::Device(device) => self.device = Some(device),
            News::Checks { checks } => self.checks = checks,
            News::Progress(progress) => self.stage = Stage::Loading(progress),
            News::Ready(model) => {
                self.model = Some(*model);
                self.stage = Stage::Ready;
            }
            News::Status(status) => self.status = Some(*status),
            News::Entry { entry } => self.log.put(*entry),
            News::Token { entry, twin, text } => self.log.extend(entry, twin, &text),
            News::Doing { activity } => {
                if activity == Activity::Training {
                    self.steps.clear();
                }
                self.activity = Some(activity);
            }
            News::Step(step) => self.steps.push(step),
            News::Archive { .. } => {}
            News::Link { fragment } => self.link = Some(fragment),
            News::Replayed(replayed) => self.replayed = Some(replayed),
            News::Notice { text } => self.notice = Some(text),
            News::Prepared => self.prepared = true,
            News::Failed(failure) => self.fail(failure),
            News::Finished => self.finish(run),
        }
    }

    fn finish(&mut self, run: u64) {
        self.pending.remove(&run);
        self.finished_runs += 1;
        if self.pending.is_empty() {
            self.activity = None;
        }
        self.log.close();
    }

    fn fail(&mut self, failure: Failure) {
        let loading = !self.ready();
        let fatal = matches!(failure.cause, Cause::DeviceLost | Cause::WrongKernel | Cause::NoWebGpu);
        if loading || fatal {
            self.stage = Stage::Down;
        }
        self.failure = Some(failure);
    }
}
