//! Batched decoding: every step samples on the GPU and feeds the token to the next step there; tokens are read back
//! late, so that no step waits for a round trip.

use tmem_gpu::ops;
use tmem_gpu::{Buffer, Dispatch, Gpu, GpuError, ReadRing, Row, Sequence};

use super::runner::{MAX_SEQUENCES, Runner};
use crate::fast::Adapter;
use crate::model::{ForwardPlan, Model, PlanSize, Shared};
use crate::rollout::policy::Sampling;

/// Steps submitted before the tokens of the first of them are waited for.
pub(crate) const STEPS_IN_FLIGHT: usize = 3;

/// Sequences decoded at a time. Kernels are compiled for the plan's size: a person alone, one with the frozen twin, a
/// group, a list of questions, episodes in step.
pub(crate) const DECODER_ROWS: [usize; 6] = [1, 2, 4, 8, 32, 64];

/// Decoding plans by size, each made when a batch first needs it.
#[derive(Default)]
pub(crate) struct Decoders([Option<Decoder>; DECODER_ROWS.len()]);

impl Decoders {
    /// The smallest plan that takes `rows` sequences, the largest where none does. What a plan is made from must be
    /// the same at every call.
    pub(crate) fn for_batch(
        &mut self,
        rows: usize,
        gpu: &Gpu,
        model: &Model,
        runner: &Runner,
        adapter: Option<&Adapter>,
    ) -> Result<&mut Decoder, GpuError> {
        let index = DECODER_ROWS.iter().position(|&size| size >= rows).unwrap_or(DECODER_ROWS.len() - 1);
        let plan = &mut self.0[index];
        match plan {
            Some(decoder) => Ok(decoder),
            None => Ok(plan.insert(Decoder::new(gpu, model, runner, adapter, DECODER_ROWS[index])?)),
        }
    }
}

/// A decoding plan for up to `rows` sequences.
pub(crate) struct Decoder {
    gpu: Gpu,
    pub(crate) plan: ForwardPlan,
    sampling: Buffer,
    progress: Buffer,
    seen: Buffer,
    output: Buffer,
    sample: Dispatch,
    ring: ReadRing,
    layers: usize,
    vocab: usize,
}

impl Decoder {
    pub(crate) fn new(
        gpu: &Gpu,
        model: &Model,
        runner: &Runner,
        adapter: Option<&Adapter>,
        rows: usize,
    ) -> Result<Self, GpuError> {
        let config = &model.config;
        let shared = Shared { gpu, config, weights: &model.weights, rope: &runner.rope, adapter };
        let size = PlanSize { rows, logits: rows, sequences: MAX_SEQUENCES, decode: true };
        let plan = ForwardPlan::new(&shared, &runner.cache, size)?;
        let sampling = gpu.storage("sampling settings", rows * size_of::<ops::Sampling>() / 4)?;
        let progress = gpu.storage("sampling progress", rows * size_of::<ops::Progress>() / 4)?;
        let seen = gpu.storage("seen tokens", rows * config.vocab.div_ceil(32))?;
        let output = gpu.storage("sampled tokens", rows * 2)?;
        let sample = ops::sample(
            gpu,
            ops::Sample {
                logits: &plan.logits,
                settings: &sampling,
                progress: &progress,
                seen: &seen,
                // One line is enough: every step's tokens are copied out in its own submission.
                ring: &output,
                rows: &plan.rows,
                vocabulary: config.vocab,
                sequences: rows,
                steps: 1,
            },
        )?;
        let ring = ReadRing::new(gpu, STEPS_IN_FLIGHT, rows * 2)?;
        let identity: Vec<u32> = (0..rows as u32).collect();
        plan.set_logit_rows(&identity);
        Ok(Self {
            gpu: gpu.clone(),
            plan,
            sampling,
            progress,
            seen,
            output,
            sample,
            ring,
            layers: config.layers,
            vocab: config.vocab,
        })
    }

    /// Begins a batch: row i continues a sequence from its last known token. `seen` holds each row's tokens so far.
    pub(crate) fn begin(&self, rows: &[Row], sequences: &[Sequence], sampling: &[Sampling], seen: &[&[u32]]) {
        self.plan.set_sequences(sequences);
        self.plan.set_rows(rows);
        let identity: Vec<u32> = (0..rows.len() as u32).collect();
        self.plan.set_logit_rows(&identity);
        let settings: Vec<_> = sampling.iter().zip(rows).map(|(sampling, row)| settings_of(sampling, row)).collect();
        let progress: Vec<_> = rows.iter().map(|r| ops::Progress { position: r.position + 1, step: 0 }).collect();
        self.gpu.write(&self.progress, 0, &progress);
        self.gpu.write(&self.sampling, 0, &settings);
        let words = self.vocab.div_ceil(32);
        let mut bits = vec![0u32; rows.len() * words];
        for (row, tokens) in bits.chunks_mut(words).zip(seen) {
            for &token in tokens.iter().filter(|&&t| (t as usize) < self.vocab) {
                row[token as usize / 32] |= 1 << (token % 32);
            }
        }
        self.gpu.write(&self.seen, 0, &bits);
    }

    /// Submits one step for `rows` sequences.
    pub(crate) fn submit(&mut self, rows: usize) -> Result<(), GpuError> {
        let mut commands = self.gpu.commands("decode");
        self.plan.record_embed(&mut commands, rows);
        self.plan.record_layers(&mut commands, 0..self.layers, rows);
        self.plan.record_head(&mut commands, rows);
        commands.dispatch(&self.sample, rows as u32);
        self.ring.submit(commands, &self.output, 0)
    }

    /// Whether as many steps are on their way as may be.
    pub(crate) fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    /// The tokens of the oldest step on its way, one for each of `rows`; `None` where no step is.
    pub(crate) async fn next(&mut self, rows: usize) -> Result<Option<Vec<ops::Drawn>>, GpuError> {
        let drawn: Option<Vec<ops::Drawn>> = self.ring.next().await?;
        Ok(drawn.map(|mut drawn| {
            drawn.truncate(rows);
            drawn
        }))
    }
}

fn settings_of(sampling: &Sampling, row: &Row) -> ops::Sampling {
    ops::Sampling {
        seed: [sampling.seed as u32, (sampling.seed >> 32) as u32],
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        top_k: sampling.top_k,
        sequence: row.sequence,
        slot: row.slot,
    }
}
