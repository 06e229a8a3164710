//! What page and worker say to each other.
//!
//! Both directions travel as JSON text, with at most one binary attachment beside it (a file, an archive). A command
//! carries the number of the run it starts; every report carries the run it belongs to, so that a late report of a
//! stopped run is not taken for news of the next one.

use serde::{Deserialize, Serialize};
use tmem_core::card::Card;
use tmem_core::fast::{DeltaId, SiteNorm, StepReport};
use tmem_core::rollout::Passage;
use tmem_core::settings::Settings;

use crate::log::{Entry, Log};

/// What the fragment of a share link begins with.
pub const LINK_KEY: &str = "recipe=";

/// From the page to the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Numbered by the page, ascending from 1.
    pub run: u64,
    /// What is to be done.
    pub action: Action,
}

/// What the page can ask for. All but [`Stop`](Action::Stop) are worked off one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Opens the GPU and the model and takes up the saved conversation, if there is one. A dropped file comes as the
    /// attachment.
    Load {
        /// Where the model comes from.
        source: ModelSource,
        /// What is made of it, where there is a choice.
        base: Base,
    },
    /// A user turn.
    Say {
        /// What the person says.
        text: String,
        /// Whether the frozen twin answers too.
        twin: bool,
    },
    /// Writes to memory now.
    Write,
    /// Clears the context without writing.
    ClearContext,
    /// Removes a card; the fast weights are retrained from those that stay.
    Forget {
        /// The card's id.
        card: u64,
    },
    /// Replaces the card with the same id; the fast weights are retrained.
    Edit {
        /// The new wording.
        card: Card,
    },
    /// Forgets everything: conversation, cards and Δ.
    Reset,
    /// Takes new settings into use.
    Configure {
        /// All of them.
        settings: Box<Settings>,
    },
    /// Asks for the fast weights and cards as one archive.
    Export,
    /// Takes over an exported archive, which comes as the attachment.
    Import,
    /// Asks for a link that replays this conversation.
    Share,
    /// Starts over and replays a link.
    Replay {
        /// The link, or its fragment alone.
        link: String,
    },
    /// Stops the run in progress at its next token or training step.
    Stop,
}

/// Where the model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// The browser's own store if it holds the model; nothing is downloaded.
    Store,
    /// The store, else the page's own server.
    Server,
    /// The file attached to the command.
    File,
}

/// Which base model the fast weights are added to, where a slow adapter is offered beside the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// The model with the slow adapter merged into it.
    #[default]
    Trained,
    /// The model as its file has it.
    Published,
}

impl Base {
    /// What there is to choose besides.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Trained => Self::Published,
            Self::Published => Self::Trained,
        }
    }
}

/// From the worker to the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The run it belongs to; 0 before the first.
    pub run: u64,
    /// What happened.
    pub news: News,
}

/// News from the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum News {
    /// The worker is there and takes commands.
    Hello,
    /// The conversation saved on an earlier visit, for showing before the model is loaded.
    Restored {
        /// What was said and learned.
        log: Log,
    },
    /// The model is not in the store and would have to be downloaded.
    NeedsDownload {
        /// Its name.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// The device in use.
    Device(Device),
    /// The kernels' self-test on this device.
    Checks {
        /// Each kernel.
        checks: Vec<Check>,
    },
    /// How far a long step of loading is.
    Progress(Progress),
    /// The model is loaded.
    Ready(Box<ModelInfo>),
    /// The agent's state after a run.
    Status(Box<Status>),
    /// A line of the conversation is new or has changed.
    Entry {
        /// The line; it takes the place of the one with the same id.
        entry: Box<Entry>,
    },
    /// A piece of an answer.
    Token {
        /// The turn's id.
        entry: u64,
        /// Whether the frozen twin speaks.
        twin: bool,
        /// The piece.
        text: String,
    },
    /// What the agent is doing, in a few words for a status line.
    Doing {
        /// The activity.
        activity: Activity,
    },
    /// A training step was taken.
    Step(StepReport),
    /// The archive asked for; it comes as the attachment.
    Archive {
        /// Name for the file.
        file_name: String,
    },
    /// The link asked for.
    Link {
        /// The fragment, beginning with `recipe=`.
        fragment: String,
    },
    /// How a replay ended.
    Replayed(Replayed),
    /// Something worth telling that is no failure.
    Notice {
        /// The text.
        text: String,
    },
    /// What the first write needs is there, computed while nobody asked for anything.
    Prepared,
    /// The run failed; the worker goes on.
    Failed(Failure),
    /// The run is over.
    Finished,
}

/// What the agent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Reading the prompt and answering.
    Answering,
    /// Writing cards.
    Writing,
    /// Training the fast weights.
    Training,
    /// Replaying a link.
    Replaying,
    /// Other work of a moment.
    Working,
}

/// The GPU in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The adapter's name, as far as the browser tells it.
    pub name: String,
    /// Whether it emulates a GPU on the processor.
    pub software: bool,
}

/// One kernel's self-test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The kernel.
    pub name: String,
    /// Largest error against the CPU twin.
    pub error: f32,
    /// Whether that is within tolerance.
    pub passed: bool,
}

/// A long step of loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which step.
    pub phase: Phase,
    /// Bytes done (0 where the step has no size).
    pub done: u64,
    /// Bytes in all (0 where unknown).
    pub total: u64,
}

/// The steps of loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Opening the GPU.
    Device,
    /// Trying every kernel.
    SelfTest,
    /// Downloading the model.
    Download,
    /// Reading the model from the browser's store.
    Store,
    /// Reading a dropped file.
    File,
    /// Preparing the fast weights (SVD of the sites).
    Prepare,
    /// Putting the saved conversation back.
    Resume,
}

/// The loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// Sha-256 of its file, hexadecimal.
    pub sha256: String,
    /// Number of layers.
    pub layers: usize,
    /// Most tokens of a prompt and its answer together.
    pub context_length: usize,
    /// Adapted sites.
    pub sites: usize,
    /// Which base model it is; `None` where there is no choice.
    pub base: Option<Base>,
}

/// The agent's state, as the page shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Tokens in the context.
    pub context_tokens: usize,
    /// Tokens at which memory is written.
    pub budget: usize,
    /// Every card and whether it is trained.
    pub cards: Vec<CardState>,
    /// What is remembered as text: the summary, or turns and notes.
    pub passages: Vec<Passage>,
    /// The Δ in force.
    pub delta: DeltaId,
    /// Size of Δ per site.
    pub norms: Vec<SiteNorm>,
    /// Settings in force.
    pub settings: Box<Settings>,
    /// Bytes in GPU buffers now.
    pub gpu_bytes: u64,
}

/// A card and how well it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardState {
    /// The card.
    pub card: Card,
    /// Mean probability of the answer's tokens after the question, in percent; `None` before anyone looked.
    pub percent: Option<u8>,
}

impl CardState {
    /// Whether the model would rather give this answer than any other.
    pub fn learned(&self) -> Option<bool> {
        self.percent.map(|percent| percent >= 50)
    }
}

/// How a replay ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// Hash of Δ where the link was made.
    pub expected: String,
    /// Hash of Δ reached here.
    pub reached: String,
    /// Estimated ‖B − B'‖ relative to the larger norm; `None` where the two have different shapes.
    pub distance: Option<f32>,
    /// Actions that were impossible here, because the writer wrote other cards.
    pub skipped: usize,
    /// Whether what is remembered outside of the fast weights is the same; `None` where the link does not say.
    pub memory: Option<bool>,
}

impl Replayed {
    /// Whether the same bits came out.
    pub fn matches(&self) -> bool {
        self.expected == self.reached
    }
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the page can offer as the way out.
    pub cause: Cause,
    /// In words, for people.
    pub message: String,
}

/// Kinds of failure that the page treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No WebGPU in this browser.
    NoWebGpu,
    /// The device was lost: load again.
    DeviceLost,
    /// Memory is short.
    Memory,
    /// A kernel computes wrongly on this device.
    WrongKernel,
    /// The model could not be fetched or is damaged: try again, or drop a file.
    Model,
    /// A link that cannot be replayed.
    Link,
    /// An archive that cannot be imported.
    Archive,
    /// Anything else.
    Other,
}
