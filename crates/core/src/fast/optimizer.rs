//! One optimizer step over the B of all sites, the trust region, and what a step tells about its health.

use tmem_gpu::ops::{self, AdamWSettings, OptimizerBuffers, OptimizerStep};
use tmem_gpu::{Buffer, Commands, Dispatch, Gpu, GpuError, ReadBack};

use super::adapter::Adapter;
use crate::settings::{FastSettings, OptimizerKind};

/// SGD and AdamW over one slot of B, each in one launch.
pub(crate) struct Optimizer {
    m: Buffer,
    v: Buffer,
    uniform: Buffer,
    norm: Buffer,
    gram: Buffer,
    gram_words: usize,
    /// [`gram`](Self::gram), then [`norm`](Self::norm): one read-back a step.
    health: Buffer,
    gradient_norm: Dispatch,
    adamw: Dispatch,
    sgd: Dispatch,
    record_gram: Dispatch,
    /// A Aᵀ of every site, and ‖W‖_F.
    gram_a: Buffer,
    weight_norms: Buffer,
    limit: Buffer,
    trust_region: Dispatch,
}

impl Optimizer {
    /// Binds the optimizers to slot 1 of `adapter` and its flat `gradient`.
    pub(crate) fn new(gpu: &Gpu, adapter: &Adapter, gradient: &Buffer) -> Result<Self, GpuError> {
        let length = adapter.sites.b_len;
        let (m, v) = (gpu.storage("first moments", length)?, gpu.storage("second moments", length)?);
        let uniform = gpu.uniform("optimizer step", &OptimizerStep::default())?;
        let norm = gpu.storage("gradient norm", 2)?;
        let rank = adapter.sites.rank;
        let sites = &adapter.sites.sites;
        let gram_words = sites.len() * rank * rank;
        let gram = gpu.storage("BᵀB of every site", gram_words)?;
        let table: Vec<[u32; 2]> = sites.iter().map(|s| [s.b_offset as u32, s.outputs as u32]).collect();
        let table = gpu.storage_from("sites", &table)?;
        let slot = gpu.uniform("trained slot", &[0u32, 1, 0, 0])?;
        let grams = ops::Gram {
            b: &adapter.b,
            sites: &table,
            gram: &gram,
            count: &slot,
            site_count: sites.len(),
            rank,
            slot_stride: length,
        };
        let gram_a = gpu.storage("A Aᵀ of every site", gram_words)?;
        let weight_norms = gpu.storage("norms of the weights", sites.len())?;
        let limit = gpu.uniform("limit of the trust region", &[0.0f32; 4])?;
        let region = ops::TrustRegion { gram: grams, gram_a: &gram_a, weight_norms: &weight_norms, limit: &limit };
        let buffers = OptimizerBuffers { gradient, parameters: &adapter.b, norm: &norm, step: &uniform, length };
        Ok(Self {
            gradient_norm: ops::gradient_norm(gpu, gradient, length, &norm)?,
            adamw: ops::adamw(gpu, buffers, &m, &v)?,
            sgd: ops::sgd(gpu, buffers)?,
            record_gram: ops::gram(gpu, grams)?,
            trust_region: ops::trust_region(gpu, region)?,
            m,
            v,
            uniform,
            norm,
            gram,
            gram_words,
            health: gpu.storage("health of a step", gram_words + 2)?,
            gram_a,
            weight_norms,
            limit,
        })
    }

    /// Begins a write: moments are zero. For the trust region, A Aᵀ of every site, [sites, rank, rank], and ‖W‖_F.
    pub(crate) fn begin(&self, gpu: &Gpu, gram_a: &[f32], weight_norms: &[f32]) {
        gpu.write(&self.gram_a, 0, gram_a);
        gpu.write(&self.weight_norms, 0, weight_norms);
        let mut commands = gpu.commands("clear moments");
        commands.clear(&self.m, 0, self.m.size());
        commands.clear(&self.v, 0, self.v.size());
        commands.submit();
    }

    /// Records step number `step` (from 0) along the gradient, and that sites that have left the trust region are scaled back
    /// to its edge. A gradient that is not finite changes nothing.
    pub(crate) fn step(&self, gpu: &Gpu, commands: &mut Commands<'_>, settings: &FastSettings, step: usize) {
        let max_norm = (settings.gradient_clip > 0.0).then_some(settings.gradient_clip);
        let (learning_rate, weight_decay) = (f64::from(settings.learning_rate), f64::from(settings.weight_decay));
        let (uniform, update) = match settings.optimizer {
            OptimizerKind::Sgd => (OptimizerStep::sgd(learning_rate, weight_decay, 0, max_norm), &self.sgd),
            OptimizerKind::Adamw => {
                let adamw = AdamWSettings { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay };
                (OptimizerStep::adamw(&adamw, step as u32 + 1, 0, max_norm), &self.adamw)
            }
        };
        gpu.write(&self.uniform, 0, &[uniform]);
        for dispatch in [&self.gradient_norm, update, &self.record_gram] {
            commands.dispatch(dispatch, 1);
        }
        if settings.trust_region > 0.0 {
            gpu.write(&self.limit, 0, &[settings.trust_region]);
            commands.dispatch(&self.trust_region, 1);
        }
        commands.copy(&self.gram, 0, &self.health, 0, self.gram_words as u64 * 4);
        commands.copy(&self.norm, 0, &self.health, self.gram_words as u64 * 4, 8);
    }

    /// Starts reading what the last step told.
    pub(crate) fn start_read(&self, gpu: &Gpu) -> Result<ReadBack, GpuError> {
        gpu.start_read(&self.health, 0, self.gram_words + 2)
    }

    /// Takes what [`start_read`](Self::start_read) read apart.
    pub(crate) fn health<'a>(&self, words: &'a [f32]) -> Health<'a> {
        let (grams, norm) = words.split_at(self.gram_words);
        Health { grams, not_finite: norm[1] }
    }
}

/// What an optimizer step tells.
pub(crate) struct Health<'a> {
    /// BᵀB of every site after the step and before the trust region, [sites, rank, rank].
    pub(crate) grams: &'a [f32],
    /// Number of gradient elements that were not finite; the step was not taken where there were any.
    pub(crate) not_finite: f32,
}
