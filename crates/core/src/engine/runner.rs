//! Sequences on the GPU: prefill, shared prefixes, the cache, and the hidden states that enter the adapted layers.

use std::ops::Range;

use tmem_gpu::{Buffer, Gpu, GpuError, Row, Sequence};

use super::kept::{Kept, KeptPrefixes, Under};
use crate::fast::Adapter;
use crate::model::{ForwardPlan, KvCache, KvRange, Model, PlanSize, Shared, rope_table};

/// Rows computed at a time by the prefill plan.
const PREFILL_ROWS: usize = 256;
/// Rows whose logits are computed at a time by the prefill plan.
pub(crate) const PREFILL_LOGITS: usize = 32;
/// Sequences that one plan can hold: a batch and its shared prefixes.
pub(crate) const MAX_SEQUENCES: usize = 256;

/// Size of the prefill plan.
pub(crate) const PREFILL: PlanSize =
    PlanSize { rows: PREFILL_ROWS, logits: PREFILL_LOGITS, sequences: MAX_SEQUENCES, decode: false };

/// One sequence of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    /// All tokens known so far.
    pub(crate) tokens: Vec<u32>,
    /// Leading tokens that lie in a shared prefix.
    pub(crate) prefix_length: usize,
    /// Cache slots of the shared prefix.
    pub(crate) prefix_start: usize,
    /// Cache slots of the rest.
    pub(crate) range: KvRange,
    /// Adapter slot; 0 = none.
    pub(crate) slot: u32,
    /// Scale of Δ.
    pub(crate) scale: f32,
}

impl Active {
    pub(crate) fn sequence(&self) -> Sequence {
        Sequence {
            prefix_start: self.prefix_start as u32,
            prefix_length: self.prefix_length as u32,
            start: self.range.start as u32,
            gate: self.scale,
        }
    }

    /// Rows for the positions in `positions`.
    pub(crate) fn rows(&self, sequence: usize, positions: Range<usize>) -> impl Iterator<Item = Row> + '_ {
        positions.map(move |position| Row {
            token: self.tokens[position],
            position: position as u32,
            sequence: sequence as u32,
            slot: self.slot,
        })
    }
}

/// The prefill plan, the cache, and a store of hidden states.
pub(crate) struct Runner {
    gpu: Gpu,
    pub(crate) rope: Buffer,
    pub(crate) cache: KvCache,
    kept: KeptPrefixes,
    pub(crate) prefill: ForwardPlan,
    /// Hidden states that enter the lowest adapted layer, for the rows of the batch at hand, [hidden_rows, hidden].
    pub(crate) hidden: Buffer,
    hidden_rows: usize,
    width: usize,
    /// The lowest adapted layer.
    pub(crate) first_layer: usize,
    pub(crate) layers: usize,
    /// Rows computed since the start, each through all layers or through a part.
    pub(crate) rows_computed: u64,
}

/// Which layers a pass goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// All layers.
    Whole,
    /// The layers below the lowest adapted one, keeping what comes out.
    Lower,
    /// The adapted layers, from what [`Pass::Lower`] kept.
    Upper,
}

impl Runner {
    /// A runner with a cache of `slots` tokens.
    pub(crate) fn new(gpu: &Gpu, model: &Model, adapter: Option<&Adapter>, slots: usize) -> Result<Self, GpuError> {
        let config = &model.config;
        let positions = config.context.min(slots) + 1;
        let table = rope_table(config, model.weights.rope_factors.as_deref(), positions);
        let rope = gpu.storage_from("rope table", &table)?;
        let cache = KvCache::new(gpu, config, slots)?;
        let prefill = ForwardPlan::new(&shared(gpu, model, &rope, adapter), &cache, PREFILL)?;
        let hidden_rows = slots;
        let hidden = gpu.storage("hidden states", hidden_rows * config.hidden)?;
        Ok(Self {
            gpu: gpu.clone(),
            rope,
            cache,
            kept: KeptPrefixes::default(),
            prefill,
            hidden,
            hidden_rows,
            width: config.hidden,
            first_layer: adapter.map_or(config.layers, |a| a.sites.first_layer),
            layers: config.layers,
            rows_computed: 0,
        })
    }

    /// Binds the prefill plan anew, for an adapter whose B is another buffer. The cache stays as it is.
    pub(crate) fn rebind(&mut self, model: &Model, adapter: &Adapter) -> Result<(), GpuError> {
        self.prefill = ForwardPlan::new(&shared(&self.gpu, model, &self.rope, Some(adapter)), &self.cache, PREFILL)?;
        Ok(())
    }

    /// How many Δ there are besides the one in force: each may have something kept.
    pub(crate) fn set_held(&mut self, held: usize) {
        self.kept.set_held(held);
    }

    /// Rows that one [`run`](Self::run) can take.
    pub(crate) fn capacity(&self) -> usize {
        self.hidden_rows
    }

    /// Takes cache slots for `length` tokens; `None` where there are none.
    pub(crate) fn take(&mut self, length: usize) -> Option<KvRange> {
        self.kept.take(&mut self.cache, length)
    }

    /// Gives the slots of everything kept back.
    pub(crate) fn forget_kept(&mut self) {
        self.kept.clear(&mut self.cache);
    }

    /// Keeps a run of tokens in the cache as long as nothing else needs its slots.
    pub(crate) fn keep(&mut self, kept: Kept) {
        self.kept.keep(&mut self.cache, kept);
    }

    /// Takes `length` cache slots, and puts there what is kept of the beginning of `tokens`. Says how many tokens that
    /// is; `None` where there are no slots.
    ///
    /// # Errors
    /// A failure of the device.
    pub(crate) fn begin(
        &mut self,
        under: &Under,
        tokens: &[u32],
        length: usize,
    ) -> Result<Option<(KvRange, usize)>, GpuError> {
        self.kept.begin(&self.gpu, &mut self.cache, under, tokens, length)
    }

    /// Runs `rows` through a pass in chunks, with `sequences` as their sequences. Row i's hidden state stands in row i
    /// of [`hidden`](Self::hidden) after a lower pass.
    pub(crate) fn run(&mut self, rows: &[Row], sequences: &[Sequence], pass: Pass) {
        self.prefill.set_sequences(sequences);
        let (first, layers, width) = (self.first_layer, self.layers, self.width as u64 * 4);
        for (i, chunk) in rows.chunks(self.prefill.max_rows).enumerate() {
            let at = (i * self.prefill.max_rows) as u64 * width;
            let size = chunk.len() as u64 * width;
            self.prefill.set_rows(chunk);
            let mut commands = self.gpu.commands("prefill");
            match pass {
                Pass::Whole | Pass::Lower => self.prefill.record_embed(&mut commands, chunk.len()),
                Pass::Upper => commands.copy(&self.hidden, at, &self.prefill.stream, 0, size),
            }
            let range = match pass {
                Pass::Whole => 0..layers,
                Pass::Lower => 0..first,
                Pass::Upper => first..layers,
            };
            // A few layers to a submission: a whole prefill in one would trip the watchdog of slow devices.
            for group in split(range, 4) {
                self.prefill.record_layers(&mut commands, group, chunk.len());
                commands.submit();
                commands = self.gpu.commands("prefill");
            }
            if pass == Pass::Lower {
                commands.copy(&self.prefill.stream, 0, &self.hidden, at, size);
            }
            commands.submit();
        }
        self.rows_computed += rows.len() as u64;
    }

    /// Reads the hidden states in the given rows of [`hidden`](Self::hidden).
    pub(crate) async fn read_hidden(&self, rows: &[usize]) -> Result<Vec<Vec<f32>>, GpuError> {
        self.read_rows(&self.hidden, rows).await
    }

    /// Reads the given rows of a store of hidden states.
    pub(crate) async fn read_rows(&self, store: &Buffer, rows: &[usize]) -> Result<Vec<Vec<f32>>, GpuError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let width = self.width as u64 * 4;
        let picked = self.gpu.storage("picked hidden states", rows.len() * self.width)?;
        let mut commands = self.gpu.commands("pick hidden states");
        for (i, &row) in rows.iter().enumerate() {
            commands.copy(store, row as u64 * width, &picked, i as u64 * width, width);
        }
        commands.submit();
        let all: Vec<f32> = self.gpu.read(&picked, 0, rows.len() * self.width).await?;
        Ok(all.chunks(self.width).map(<[f32]>::to_vec).collect())
    }
}

fn shared<'a>(gpu: &'a Gpu, model: &'a Model, rope: &'a Buffer, adapter: Option<&'a Adapter>) -> Shared<'a> {
    Shared { gpu, config: &model.config, weights: &model.weights, rope, adapter }
}

/// Splits a range of layers into runs of at most `size`.
fn split(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size).map(move |start| start..end.min(start + size))
}

/// Length of the longest prefix that all token lists share.
pub(crate) fn common_prefix<'a>(mut lists: impl Iterator<Item = &'a [u32]>) -> usize {
    let Some(first) = lists.next() else { return 0 };
    lists.fold(first.len(), |length, list| first[..length].iter().zip(list).take_while(|(a, b)| a == b).count())
}
