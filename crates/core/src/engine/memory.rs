//! How much GPU memory a model will need, before it is loaded.

use super::decoder::STEPS_IN_FLIGHT;
use super::learn::TRAIN_SIZE;
use super::runner::{MAX_SEQUENCES, PREFILL};
use super::slots::slots_for;
use super::{BatchRoom, DECODER_ROWS, STORE_ROWS};
use crate::fast::{SiteError, Sites, TrainPlan};
use crate::model::{KvCache, ModelConfig, PlanSize};
use crate::settings::Settings;

/// GPU memory by purpose, in bytes. An estimate from the same sizes the buffers are made with; small tables and
/// read-back buffers are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The weights.
    pub weights: u64,
    /// Keys and values of past tokens, and the stores of hidden states.
    pub cache: u64,
    /// Activations of prefill and decoding.
    pub activations: u64,
    /// What a write adds at first: saved activations, gradients, moments.
    pub training: u64,
    /// The slots of other Δ than the one in force.
    pub slots: u64,
}

impl MemoryEstimate {
    /// For a model of this configuration whose weights take `weights` bytes on the GPU
    /// ([`TensorInfo::device_bytes`](crate::model::gguf::TensorInfo::device_bytes) of all, unless a slow adapter is merged), and
    /// room for batches.
    ///
    /// # Errors
    /// Settings that name sites which the model does not have.
    pub fn new(config: &ModelConfig, weights: u64, settings: &Settings, room: BatchRoom) -> Result<Self, SiteError> {
        let sites = Sites::new(config, &settings.fast)?;
        let slots = room.cache_tokens(config, settings);
        let hidden_row = config.hidden as u64 * 4;
        let decoders: u64 = DECODER_ROWS
            .map(|rows| {
                PlanSize { rows, logits: rows, sequences: MAX_SEQUENCES, decode: true }.bytes(config)
                    + STEPS_IN_FLIGHT as u64
            })
            .iter()
            .sum();
        let adapted = config.layers - sites.first_layer;
        let moments = 5 * sites.b_len as u64 * 4 + sites.a_len as u64 * 4;
        Ok(Self {
            weights,
            cache: KvCache::bytes(config, slots) + (slots + STORE_ROWS) as u64 * hidden_row,
            activations: PREFILL.bytes(config) + decoders,
            training: TrainPlan::bytes(config, adapted, TRAIN_SIZE) + moments,
            // While they are made, what was there before lies beside them.
            slots: if room.others == 0 { 0 } else { (slots_for(room.others) as u64 + 1) * sites.b_len as u64 * 4 },
        })
    }

    /// All of it. (A file's header may claim any size for its weights.)
    pub fn total(&self) -> u64 {
        let Self { weights, cache, activations, training, slots } = *self;
        [cache, activations, training, slots].into_iter().fold(weights, u64::saturating_add)
    }
}
