//! One training step: forward with saved activations from the lowest adapted layer on, loss, and backward to every B.
//!
//! A batch is packed: row 0.. is a shared prefix (the system prompt), then every card and every anchor prompt is a run
//! of rows that sees the prefix and itself. Hidden states that enter the lowest adapted layer do not depend on Δ; they
//! are computed once elsewhere and copied in. The prefix is part of the batch, since above that layer it does depend
//! on Δ.

use tmem_gpu::{AdapterKind, Buffer, Commands, Gpu, GpuError, Row, Sequence};

use super::adapter::{Adapter, RowsOf};
use super::loss_plan::LossPlan;
use super::site::Group;
use super::train_layer::{Builder, Layer, Scratch, Step};
use crate::model::{ModelConfig, Shared};

/// Largest sizes of a training batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrainSize {
    /// Packed rows T.
    pub(crate) rows: usize,
    /// Runs of rows, the prefix included.
    pub(crate) sequences: usize,
    /// Rows with a loss.
    pub(crate) losses: usize,
    /// Rows with a loss that are computed at a time.
    pub(crate) loss_chunk: usize,
}

/// A packed batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct PackedBatch {
    pub(crate) rows: Vec<Row>,
    pub(crate) sequences: Vec<Sequence>,
    /// For every row, one past the last row that can see it.
    pub(crate) query_end: Vec<u32>,
}

/// Forward and backward through the adapted layers and the head, bound once.
pub(crate) struct TrainPlan {
    gpu: Gpu,
    pub(crate) size: TrainSize,
    hidden: usize,
    rows: Buffer,
    sequences: Buffer,
    count: Buffer,
    query_end: Buffer,
    /// Input of the lowest adapted layer, [T, hidden].
    pub(crate) input: Buffer,
    stream_gradient: Buffer,
    /// Gradient of one slot's B, flat.
    pub(crate) gradient: Buffer,
    forward: Vec<Vec<Step>>,
    backward: Vec<Vec<Step>>,
    pub(crate) loss: LossPlan,
}

/// Whether work is handed over in small pieces, so that a page's own drawing waits for one of them at most, and an emulated
/// adapter can be interrupted; natively on a GPU that gains nothing.
pub(super) fn in_pieces(gpu: &Gpu) -> bool {
    gpu.kind() == AdapterKind::Cpu || cfg!(target_arch = "wasm32")
}

impl TrainPlan {
    /// Binds everything for batches of up to `size`.
    pub(crate) fn new(
        shared: &Shared<'_>,
        adapter: &Adapter,
        size: TrainSize,
        threshold: f32,
    ) -> Result<Self, GpuError> {
        let Shared { gpu, config, .. } = *shared;
        let t = size.rows;
        let rows = gpu.storage("training rows", t * 4)?;
        let sequences = gpu.storage("training sequences", size.sequences * 4)?;
        let count = gpu.uniform("training row count", &[0u32; 4])?;
        let query_end = gpu.storage("training query ends", t)?;
        let gradient = gpu.storage("gradient of B", adapter.sites.b_len)?;
        let first = adapter.sites.first_layer;
        let layers = (first..config.layers)
            .map(|layer| Layer::new(gpu, config, adapter, layer, t))
            .collect::<Result<Vec<_>, _>>()?;
        let output = gpu.storage("output of the last layer", t * config.hidden)?;
        let scratch = Scratch::new(gpu, config, adapter.sites.rank, t)?;
        let builder = Builder {
            shared,
            adapter,
            batch: RowsOf { rows: &rows, sequences: &sequences, count: &count, max_rows: t },
            query_end: &query_end,
            gradient: &gradient,
            scratch: &scratch,
        };
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        for (i, layer) in layers.iter().enumerate() {
            let next = layers.get(i + 1).map_or(&output, |l| &l.input);
            forward.push(builder.forward(first + i, layer, next)?);
            backward.push(builder.backward(first + i, layer, i == 0)?);
        }
        let loss = LossPlan::new(shared, &output, &scratch.stream_gradient, size, threshold)?;
        Ok(Self {
            gpu: gpu.clone(),
            size,
            hidden: config.hidden,
            input: layers.first().map_or(&output, |l| &l.input).clone(),
            stream_gradient: scratch.stream_gradient,
            rows,
            sequences,
            count,
            query_end,
            gradient,
            forward,
            backward,
            loss,
        })
    }

    /// Bytes of the plan's buffers.
    pub(crate) fn bytes(config: &ModelConfig, adapted_layers: usize, size: TrainSize) -> u64 {
        let (qkv, kv) = (Group::Qkv.outputs(config), 2 * config.kv_heads * config.head_dim);
        let attended = config.heads * config.head_dim;
        let layer = 2 * config.hidden + qkv + kv + attended + config.heads + 2 * config.ffn;
        let scratch = 4 * config.hidden + attended + qkv + 4 * config.ffn;
        (4 * (size.rows * (adapted_layers * layer + scratch) + 2 * size.loss_chunk * config.vocab)) as u64
    }

    /// Uploads a batch (its hidden states are copied to [`input`](Self::input) by the caller).
    pub(crate) fn set_batch(&self, batch: &PackedBatch) {
        self.gpu.write(&self.rows, 0, &batch.rows);
        self.gpu.write(&self.sequences, 0, &batch.sequences);
        self.gpu.write(&self.query_end, 0, &batch.query_end);
        // The second word is the trained slot.
        self.gpu.write(&self.count, 0, &[batch.rows.len() as u32, 1]);
    }

    /// Records the forward pass and hands it over, a layer at a time or whole ([`in_pieces`]).
    pub(crate) fn forward(&self, commands: &mut Commands<'_>, rows: usize) {
        self.record(commands, self.forward.iter(), rows);
    }

    /// Records the clearing of the gradients of the residual stream and of B.
    pub(crate) fn clear(&self, commands: &mut Commands<'_>) {
        commands.clear(&self.stream_gradient, 0, self.stream_gradient.size());
        commands.clear(&self.gradient, 0, self.gradient.size());
    }

    /// Records the backward pass from the residual stream's gradient, which the loss has left, to the gradient of B; handed
    /// over as the [forward](Self::forward) pass.
    pub(crate) fn backward(&self, commands: &mut Commands<'_>, rows: usize) {
        self.record(commands, self.backward.iter().rev(), rows);
    }

    /// Copies `rows` rows of hidden states from row `from_row` of `source` to row `to_row` of the input.
    pub(crate) fn copy_input(
        &self,
        commands: &mut Commands<'_>,
        source: &Buffer,
        from_row: usize,
        to_row: usize,
        rows: usize,
    ) {
        let width = self.hidden as u64 * 4;
        commands.copy(source, from_row as u64 * width, &self.input, to_row as u64 * width, rows as u64 * width);
    }

    fn record<'a>(&self, commands: &mut Commands<'_>, layers: impl Iterator<Item = &'a Vec<Step>>, rows: usize) {
        for steps in layers {
            for step in steps {
                match step {
                    Step::Run(dispatch) => commands.dispatch(dispatch, rows as u32),
                    Step::Copy { from, to, width } => commands.copy(from, 0, to, 0, (rows * width * 4) as u64),
                }
            }
            if in_pieces(&self.gpu) {
                commands.flush();
            }
        }
        commands.flush();
    }
}
