//! Head and loss over the rows that have one, a chunk at a time, so that the logits of a large vocabulary never need
//! more than one chunk of memory.

use tmem_gpu::ops;
use tmem_gpu::{Buffer, Commands, Dispatch, Gpu, GpuError};

use super::train_plan::{TrainSize, in_pieces};
use crate::model::{Head, Shared};

/// Rows with a loss, as flat arrays in the order of the loss rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct LossRows {
    /// Row of the batch.
    pub(crate) rows: Vec<u32>,
    /// Target token (cross entropy), or row of the base log-probabilities (KL).
    pub(crate) targets: Vec<u32>,
    /// Weight of the row's loss.
    pub(crate) weights: Vec<f32>,
}

impl LossRows {
    pub(crate) fn push(&mut self, row: usize, target: u32, weight: f32) {
        self.rows.push(row as u32);
        self.targets.push(target);
        self.weights.push(weight);
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Gives all rows equal weights that sum to `total`.
    pub(crate) fn weigh(&mut self, total: f32) {
        let weight = total / self.weights.len().max(1) as f32;
        self.weights.fill(weight);
    }
}

/// The head's forward and backward for one chunk of loss rows.
pub(crate) struct LossPlan {
    gpu: Gpu,
    size: TrainSize,
    vocab: usize,
    /// A batch's rows, targets and weights, one after the other: each chunk copies its own from here.
    table: Buffer,
    /// What [`count`](Self::count) holds for 0, 1, 2, … rows.
    counts: Buffer,
    rows: Buffer,
    targets: Buffer,
    weights: Buffer,
    count: Buffer,
    pub(crate) logits: Buffer,
    base: Buffer,
    /// Per row of the chunk.
    loss: Buffer,
    probability: Buffer,
    head: Vec<Dispatch>,
    cross_entropy: Dispatch,
    kl: Dispatch,
    log_softmax: Dispatch,
    back: Vec<Dispatch>,
}

/// Which loss rows have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss<'a> {
    CrossEntropy,
    /// KL(base ‖ current), from log-probabilities [any, vocab] that the rows' targets point at.
    Kl(&'a Buffer),
}

impl LossPlan {
    pub(crate) fn new(
        shared: &Shared<'_>,
        output: &Buffer,
        stream_gradient: &Buffer,
        size: TrainSize,
        threshold: f32,
    ) -> Result<Self, GpuError> {
        let Shared { gpu, config, weights, .. } = *shared;
        let chunk = size.loss_chunk;
        let (hidden, vocab) = (config.hidden, config.vocab);
        let rows = gpu.storage("loss rows", chunk)?;
        let targets = gpu.storage("loss targets", chunk)?;
        let loss_weights = gpu.storage("loss weights", chunk)?;
        let count = gpu.uniform("loss row count", &[0u32; 4])?;
        let table = gpu.storage("rows with a loss", 3 * size.losses)?;
        let counts: Vec<[u32; 4]> = (0..=chunk as u32).map(|rows| [rows, 0, 0, 0]).collect();
        let counts = gpu.storage_from("loss row counts", &counts)?;
        let picked = gpu.storage("picked rows", chunk * hidden)?;
        let normed = gpu.storage("picked rows, normed", chunk * hidden)?;
        let logits = gpu.storage("loss logits", chunk * vocab)?;
        let base = gpu.storage("base log-probabilities", chunk * vocab)?;
        let loss = gpu.storage("losses", chunk)?;
        let probability = gpu.storage("target probabilities", chunk)?;
        let d_normed = gpu.storage("gradient of normed rows", chunk * hidden)?;
        let d_picked = gpu.storage("gradient of picked rows", chunk * hidden)?;
        let mut head = vec![
            ops::gather_rows(gpu, output, &rows, &picked, hidden)?,
            ops::rms_norm(
                gpu,
                ops::RmsNorm {
                    x: &picked,
                    weight: &weights.final_norm,
                    y: &normed,
                    count: &count,
                    dim: hidden,
                    epsilon: config.norm_epsilon,
                },
            )?,
        ];
        let product = Head { x: &normed, logits: &logits, count: &count, max_rows: chunk };
        head.extend(product.record(shared)?);
        let cross_entropy = ops::cross_entropy(
            gpu,
            ops::CrossEntropy {
                logits: &logits,
                targets: &targets,
                weights: &loss_weights,
                loss: &loss,
                probability: &probability,
                vocab,
                threshold: (threshold < 1.0).then_some(threshold),
            },
        )?;
        let kl = ops::kl_divergence(
            gpu,
            ops::KlDivergence { logits: &logits, base: &base, weights: &loss_weights, loss: &loss, vocab },
        )?;
        let log_softmax = ops::log_softmax(gpu, &logits, vocab)?;
        let mut back = product.record_backward(shared, &d_normed)?;
        back.extend([
            ops::rms_norm_backward(
                gpu,
                ops::RmsNormBackward {
                    x: &picked,
                    weight: &weights.final_norm,
                    dy: &d_normed,
                    dx: &d_picked,
                    count: &count,
                    dim: hidden,
                    epsilon: config.norm_epsilon,
                    accumulate: false,
                },
            )?,
            ops::scatter_rows(
                gpu,
                ops::ScatterRows { dy: &d_picked, indices: &rows, dx: stream_gradient, dim: hidden },
            )?,
        ]);
        Ok(Self {
            gpu: gpu.clone(),
            size,
            vocab,
            table,
            counts,
            rows,
            targets,
            weights: loss_weights,
            count,
            logits,
            base,
            loss,
            probability,
            head,
            cross_entropy,
            kl,
            log_softmax,
            back,
        })
    }

    /// Records head, loss and the gradient of the residual stream, to which it is added, of all `rows`, chunk by chunk; they
    /// are numbers `at`.. of the batch's rows with a loss. Their losses go to `results` from element `at` on, target
    /// probabilities (cross entropy) to `at + results.words() / 2`. Handed over a chunk at a time or whole
    /// ([`in_pieces`]).
    pub(crate) fn run(
        &self,
        commands: &mut Commands<'_>,
        loss: Loss<'_>,
        rows: &LossRows,
        results: &Buffer,
        at: usize,
    ) {
        let half = results.size() / 2;
        let place = |part: usize, row: usize| ((part * self.size.losses + at + row) * 4) as u64;
        self.gpu.write(&self.table, place(0, 0), &rows.rows);
        self.gpu.write(&self.table, place(1, 0), &rows.targets);
        self.gpu.write(&self.table, place(2, 0), &rows.weights);
        for first in (0..rows.len()).step_by(self.size.loss_chunk) {
            let range = first..rows.len().min(first + self.size.loss_chunk);
            let (n, bytes) = (range.len(), range.len() as u64 * 4);
            commands.copy(&self.counts, n as u64 * 16, &self.count, 0, 16);
            commands.copy(&self.table, place(0, first), &self.rows, 0, bytes);
            commands.copy(&self.table, place(2, first), &self.weights, 0, bytes);
            self.record_head(commands, n as u32);
            let offset = ((at + first) * 4) as u64;
            match loss {
                Loss::CrossEntropy => {
                    commands.copy(&self.table, place(1, first), &self.targets, 0, bytes);
                    commands.dispatch(&self.cross_entropy, n as u32);
                    commands.copy(&self.probability, 0, results, half + offset, bytes);
                }
                Loss::Kl(base) => {
                    self.copy_base(commands, base, &rows.targets[range]);
                    commands.dispatch(&self.kl, n as u32);
                }
            }
            commands.copy(&self.loss, 0, results, offset, bytes);
            for dispatch in &self.back {
                commands.dispatch(dispatch, n as u32);
            }
            if in_pieces(&self.gpu) {
                commands.flush();
            }
        }
        commands.flush();
    }

    /// Log-probabilities of the rows in `rows`, written to `store` from row `at` on, [any, vocab].
    pub(crate) fn log_probabilities(&self, rows: &[u32], store: &Buffer, at: usize) {
        let width = self.vocab as u64 * 4;
        for (i, chunk) in rows.chunks(self.size.loss_chunk).enumerate() {
            let n = chunk.len() as u32;
            self.set_chunk(chunk);
            let mut commands = self.gpu.commands("base log-probabilities");
            self.record_head(&mut commands, n);
            commands.dispatch(&self.log_softmax, n);
            commands.copy(&self.logits, 0, store, (at + i * self.size.loss_chunk) as u64 * width, u64::from(n) * width);
            commands.submit();
        }
    }

    fn set_chunk(&self, rows: &[u32]) {
        self.gpu.write(&self.rows, 0, rows);
        self.gpu.write(&self.count, 0, &[rows.len() as u32]);
    }

    fn record_head(&self, commands: &mut Commands<'_>, rows: u32) {
        for dispatch in &self.head {
            commands.dispatch(dispatch, rows);
        }
    }

    /// Copies the base rows of a chunk, runs of neighbours in one copy.
    fn copy_base(&self, commands: &mut Commands<'_>, base: &Buffer, rows: &[u32]) {
        let width = self.vocab as u64 * 4;
        let mut i = 0;
        while i < rows.len() {
            let run = (1..rows.len() - i).take_while(|&k| rows[i + k] == rows[i] + k as u32).count() + 1;
            commands.copy(base, u64::from(rows[i]) * width, &self.base, i as u64 * width, run as u64 * width);
            i += run;
        }
    }
}
