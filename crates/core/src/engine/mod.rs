//! The model on a GPU as a policy: generation, scoring, and the write operator.

mod anchors;
mod answer_gradient;
mod background;
mod decoder;
mod embed;
mod error;
mod examples;
mod generate;
#[cfg(test)]
mod gradient_tests;
mod kept;
mod learn;
mod memory;
mod peft;
mod policy;
mod prepare;
mod remembered;
mod room;
mod runner;
mod score;
mod slots;
mod spectrum;
mod state;
mod steps;
mod tuning;

use tmem_gpu::{Buffer, Gpu};

pub use answer_gradient::{AnswerGradient, AnsweredPrompt};
pub use error::EngineError;
pub use memory::MemoryEstimate;
pub use tuning::tune;

use crate::card::Card;
use crate::fast::{Adapter, DeltaId, Gate, Sites};
use crate::message::{Message, Role};
use crate::model::{Model, Shared};
use crate::settings::Settings;
use anchors::Anchors;
use background::Gathered;
use decoder::{DECODER_ROWS, Decoders};
use examples::HiddenStore;
use learn::Trainer;
pub use room::BatchRoom;
use runner::Runner;
use slots::Slots;
pub use slots::UnderDelta;
pub use state::SiteInfo;

/// Rows of hidden states kept across writes at first; grows with need.
const STORE_ROWS: usize = 4096;

/// Work done since the engine was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Prompt tokens read.
    pub tokens_read: u64,
    /// Tokens computed to read them: fewer where keys and values were still at hand or shared, more where a prompt runs
    /// under several weights.
    pub tokens_computed: u64,
    /// Tokens generated.
    pub tokens_generated: u64,
    /// Optimizer steps taken.
    pub steps: u64,
}

/// A model on a GPU, with its fast weights. One conversation's worth of state: Δ, the cards it was trained on, the
/// gate. Implements [`Policy`](crate::rollout::policy::Policy).
pub struct Engine {
    gpu: Gpu,
    model: Model,
    settings: Settings,
    adapter: Option<Adapter>,
    /// What is in the slots of the adapter besides the one that is trained.
    slots: Slots,
    room: BatchRoom,
    sites: Vec<SiteInfo>,
    /// What A was made from, to be remembered.
    spectra: Vec<u8>,
    /// Whether A came from an imported adapter.
    imported_a: bool,
    runner: Runner,
    decoders: Decoders,
    store: HiddenStore,
    trainer: Option<Trainer>,
    anchors: Option<Anchors>,
    gathered: Gathered,
    gate: Gate,
    delta: DeltaId,
    /// The cards Δ was trained on.
    cards: Vec<Card>,
    statistics: Statistics,
}

impl Engine {
    /// Binds the model for use: cache, plans, and the A of every site (a truncated SVD on the GPU).
    ///
    /// # Errors
    /// Settings that do not fit the model, or a GPU that has no room.
    pub async fn new(gpu: &Gpu, model: Model, settings: &Settings) -> Result<Self, EngineError> {
        Self::with_spectra(gpu, model, settings, None).await
    }

    /// [`new`](Self::new) without the search for A, where the [`spectra`](Self::spectra) of an earlier engine still hold:
    /// those of this model on this device, with the same sites, rank and seed. Others are searched for as if none were given.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn with_spectra(
        gpu: &Gpu,
        model: Model,
        settings: &Settings,
        spectra: Option<&[u8]>,
    ) -> Result<Self, EngineError> {
        let slots = BatchRoom::default().cache_tokens(&model.config, settings);
        let sites = Sites::new(&model.config, &settings.fast)?;
        let adapter = if sites.sites.is_empty() { None } else { Some(Adapter::new(gpu, sites, 1)?) };
        let runner = Runner::new(gpu, &model, adapter.as_ref(), slots)?;
        let store = HiddenStore::new(gpu, model.config.hidden, STORE_ROWS)?;
        let mut engine = Self {
            gpu: gpu.clone(),
            model,
            settings: settings.clone(),
            adapter,
            slots: Slots::default(),
            room: BatchRoom::default(),
            sites: Vec::new(),
            spectra: Vec::new(),
            imported_a: false,
            runner,
            decoders: Decoders::default(),
            store,
            trainer: None,
            anchors: None,
            gathered: Gathered::default(),
            gate: Gate::default(),
            delta: DeltaId::default(),
            cards: Vec::new(),
            statistics: Statistics::default(),
        };
        engine.initialise_a(spectra).await?;
        engine.clear_b();
        engine.delta = engine.read_delta(0).await?;
        Ok(engine)
    }

    /// The device the model is on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The adapted sites with their spectra.
    pub fn sites(&self) -> &[SiteInfo] {
        &self.sites
    }

    /// The cards Δ was trained on.
    pub fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// Dispatches of one decoding step, layer by layer.
    pub fn dispatches_per_layer(&self) -> Vec<usize> {
        (0..self.model.config.layers).map(|layer| self.runner.prefill.dispatches(layer)).collect()
    }

    /// Work done so far.
    pub fn statistics(&self) -> Statistics {
        Statistics { tokens_computed: self.runner.rows_computed, ..self.statistics }
    }

    /// Changes the settings. Δ is kept where sites, rank and initialisation stay the same, else it begins anew at 0.
    ///
    /// # Errors
    /// Settings that do not fit the model, or a GPU that has no room; the old settings then stay in force.
    pub async fn set_settings(&mut self, settings: &Settings) -> Result<(), EngineError> {
        let sites = Sites::new(&self.model.config, &settings.fast)?;
        let same_a = settings.fast.init == self.settings.fast.init && settings.seed == self.settings.seed;
        let same_sites = self.adapter.as_ref().is_some_and(|a| a.sites == sites);
        if settings.fast.loss_threshold != self.settings.fast.loss_threshold {
            self.trainer = None;
        }
        let slots = self.room.cache_tokens(&self.model.config, settings);
        self.slots.clear();
        if same_sites && same_a {
            if slots != self.runner.cache.slots() {
                self.runner = Runner::new(&self.gpu, &self.model, self.adapter.as_ref(), slots)?;
                (self.decoders, self.trainer) = (Decoders::default(), None);
            }
            self.settings = settings.clone();
            return self.rebuild_gate().await;
        }
        let adapter = if sites.sites.is_empty() { None } else { Some(Adapter::new(&self.gpu, sites, 1)?) };
        let runner = Runner::new(&self.gpu, &self.model, adapter.as_ref(), slots)?;
        if runner.first_layer != self.runner.first_layer {
            self.gathered = Gathered::default();
        }
        (self.adapter, self.runner, self.decoders) = (adapter, runner, Decoders::default());
        self.settings = settings.clone();
        self.store = HiddenStore::new(&self.gpu, self.model.config.hidden, STORE_ROWS)?;
        (self.trainer, self.anchors, self.gate) = (None, None, Gate::default());
        self.initialise_a(None).await?;
        self.forget_all().await
    }

    /// What every plan shares.
    fn shared(&self) -> Shared<'_> {
        Shared {
            gpu: &self.gpu,
            config: &self.model.config,
            weights: &self.model.weights,
            rope: &self.runner.rope,
            adapter: self.adapter.as_ref(),
        }
    }

    /// Tokens that a prompt and what follows it may have.
    fn context_limit(&self) -> usize {
        self.model.config.context.min(BatchRoom::default().cache_tokens(&self.model.config, &self.settings) / 2)
    }

    /// Sequences that can be decoded together.
    fn largest_batch(&self) -> usize {
        DECODER_ROWS[DECODER_ROWS.len() - 1]
    }

    /// Tokens of a conversation with the assistant's turn opened, and what it already begins with.
    fn encode_prompt(&self, messages: &[Message], assistant_prefix: &str) -> Result<Vec<u32>, EngineError> {
        let system = &self.settings.rollout.system_prompt;
        let has_system = messages.first().is_some_and(|m| m.role == Role::System);
        let with_system: Vec<Message>;
        let messages = if system.is_empty() || has_system {
            messages
        } else {
            with_system = std::iter::once(Message::system(system.clone())).chain(messages.iter().cloned()).collect();
            &with_system
        };
        let mut tokens = self.model.chat_template.encode(&self.model.tokenizer, messages, true)?;
        if !assistant_prefix.is_empty() {
            tokens.extend(self.encode_literal(assistant_prefix)?);
        }
        Ok(tokens)
    }

    /// Tokens of a text in which control tokens are plain text.
    fn encode_literal(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Ok(self.model.tokenizer.encode(text, crate::model::Specials::Literal)?)
    }

    /// A buffer copy on the GPU.
    fn copy_buffer(&self, from: &Buffer, to: &Buffer, words: usize) {
        let mut commands = self.gpu.commands("copy");
        commands.copy(from, 0, to, 0, words as u64 * 4);
        commands.submit();
    }
}
