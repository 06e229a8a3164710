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
    /// Tokens of the longest sequence in the next step, with the step's own.
    keys: usize,
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
            keys: 0,
            vocab: config.vocab,
        })
    }

    /// Begins a batch: row i continues a sequence from its last known token. `seen` holds each row's tokens so far.
    pub(crate) fn begin(&mut self, rows: &[Row], sequences: &[Sequence], sampling: &[Sampling], seen: &[&[u32]]) {
        self.plan.set_sequences(sequences);
        self.plan.set_rows(rows);
        self.keys = rows.iter().map(|row| row.position as usize + 1).max().unwrap_or(0);
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
        self.plan.record_step(&mut commands, rows, self.keys);
        self.keys += 1;
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

#[cfg(test)]
mod tests {
    use tmem_gpu::{AdapterKind, GpuOptions};

    use super::*;
    use crate::abort::Abort;
    use crate::engine::Engine;
    use crate::message::Message;
    use crate::model::ModelLoader;
    use crate::rollout::policy::{GenerateRequest, Generation, Policy};
    use crate::settings::Settings;

    /// Tokens up to which a row's keys are never split.
    const WHOLE: usize = 2048;

    /// The tiny model with the kernels for GPUs, and room for more tokens than it was made for.
    fn engine() -> Engine {
        let adapter = std::env::var("TMEM_ADAPTER").ok();
        let options = GpuOptions { adapter, kernels: Some(AdapterKind::Gpu), ..GpuOptions::default() };
        let gpu = pollster::block_on(Gpu::request(&options)).unwrap();
        let mut loader = ModelLoader::new(&gpu);
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tiny_a.q4_1.gguf");
        loader.push(&std::fs::read(file).unwrap()).unwrap();
        let mut model = loader.finish().unwrap();
        model.config.context = WHOLE + 64;
        let mut settings = Settings::small();
        (settings.fast.layers, settings.fast.gate) = (1, false);
        settings.rollout.context_tokens = model.config.context;
        pollster::block_on(Engine::new(&gpu, model, &settings)).unwrap()
    }

    fn generate(engine: &mut Engine, requests: &[GenerateRequest]) -> Vec<Generation> {
        pollster::block_on(engine.generate(requests, &mut |_, _| {}, &Abort::default())).unwrap()
    }

    #[test]
    fn a_long_sequence_has_the_same_bits_in_a_pair_with_its_keys_split_and_among_eight_with_its_keys_whole() {
        let mut engine = engine();
        // All have the same tokens in common, and no more.
        let request = |i: usize| GenerateRequest {
            messages: vec![Message::user(format!("{}{i}{}", "abcdefgh ".repeat(254), "z".repeat(3 * i)))],
            max_tokens: 8,
            ..GenerateRequest::default()
        };
        let requests: Vec<_> = (0..8).map(request).collect();
        let eight = generate(&mut engine, &requests);
        let lengths: Vec<_> = eight.iter().map(|g| g.prompt_tokens).collect();
        assert!(lengths[0] < WHOLE && lengths[7] > WHOLE, "some are to cross the border as they go on: {lengths:?}");
        let pairs = requests.chunks(2).flat_map(|pair| generate(&mut engine, pair));
        for (pair, eight) in pairs.zip(eight) {
            assert_eq!((pair.tokens, pair.log_probabilities), (eight.tokens, eight.log_probabilities));
        }
    }

    #[test]
    fn only_a_step_of_few_long_sequences_takes_a_second_launch_for_attention() {
        let mut engine = engine();
        let (adapter, runner) = (engine.adapter.as_ref(), &engine.runner);
        let decoder = engine.decoders.for_batch(8, &engine.gpu, &engine.model, runner, adapter).unwrap();
        let launches = |rows, keys| {
            let mut commands = decoder.gpu.commands("test");
            decoder.plan.record_step(&mut commands, rows, keys);
            commands.dispatches()
        };
        let layers = engine.model.config.layers;
        // Its two key heads are 16 workgroups from eight sequences on.
        assert_eq!(launches(7, WHOLE + 1), launches(7, WHOLE) + layers);
        assert_eq!(launches(8, WHOLE + 1), launches(8, WHOLE));
    }
}
