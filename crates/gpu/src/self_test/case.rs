//! One check: what is dispatched, and what every output must hold afterwards.

use crate::twins::compare;
use crate::{Buffer, Dispatch, Gpu, Result};

/// Builds a case; the device may refuse.
pub(super) type Build = fn(&Gpu) -> Result<Case>;

/// Dispatches in order, each over its number of rows, and the outputs they write.
pub(super) struct Case {
    dispatches: Vec<Dispatch>,
    rows: u32,
    keys: u32,
    outputs: Vec<Output>,
}

/// An output buffer with its content before (`start`) and what is expected in it after.
pub(super) struct Output {
    pub(super) buffer: Buffer,
    start: Buffer,
    want: Want,
}

enum Want {
    /// Values as f32, and the relative error allowed.
    Close(Vec<f64>, f64),
    /// The very words.
    Exact(Vec<u32>),
}

/// The outcome: the worst error and its tolerance, and an empty message where all is well.
pub(super) struct Finding {
    pub(super) error: f64,
    pub(super) tolerance: f64,
    pub(super) message: String,
}

impl Output {
    /// An output that is overwritten: full of NaN before, so that a value not written is seen.
    pub(super) fn fresh(gpu: &Gpu, want: Vec<f64>, tolerance: f64) -> Result<Self> {
        let start = vec![f32::NAN; want.len()];
        Self::changed(gpu, &start, want, tolerance)
    }

    /// An output that held `start` before.
    pub(super) fn changed(gpu: &Gpu, start: &[f32], want: Vec<f64>, tolerance: f64) -> Result<Self> {
        Self::new(gpu, start, Want::Close(want, tolerance))
    }

    /// An output of integers (or of copied values) that must come out to the bit.
    pub(super) fn exact<T: bytemuck::NoUninit>(gpu: &Gpu, start: &[T], want: &[T]) -> Result<Self> {
        Self::new(gpu, start, Want::Exact(bytemuck::cast_slice(want).to_vec()))
    }

    fn new<T: bytemuck::NoUninit>(gpu: &Gpu, start: &[T], want: Want) -> Result<Self> {
        let start = gpu.storage_from("start", start)?;
        Ok(Self { buffer: gpu.storage("output", start.words())?, start, want })
    }
}

impl Case {
    pub(super) fn new(dispatches: impl Into<Vec<Dispatch>>, rows: usize, outputs: impl Into<Vec<Output>>) -> Self {
        Self { dispatches: dispatches.into(), rows: rows as u32, keys: 0, outputs: outputs.into() }
    }

    /// The case with up to so many keys a row, which may then be split.
    pub(super) fn with_keys(self, keys: u32) -> Self {
        Self { keys, ..self }
    }

    /// Runs the dispatches twice from the same start, reads the outputs of both runs back at once and compares.
    pub(super) async fn run(self, gpu: &Gpu) -> Result<Finding> {
        let words: usize = self.outputs.iter().map(|output| output.buffer.words()).sum();
        let results = gpu.storage("results", 2 * words)?;
        let mut commands = gpu.commands("self-test");
        let mut end = 0;
        for _ in 0..2 {
            for Output { buffer, start, .. } in &self.outputs {
                commands.copy(start, 0, buffer, 0, buffer.size());
            }
            for dispatch in &self.dispatches {
                commands.dispatch_with_keys(dispatch, self.rows, self.keys);
            }
            for Output { buffer, .. } in &self.outputs {
                commands.copy(buffer, 0, &results, end, buffer.size());
                end += buffer.size();
            }
        }
        commands.submit();
        let read: Vec<u32> = gpu.read(&results, 0, 2 * words).await?;
        let (first, second) = read.split_at(words);
        let mut finding = Finding { error: 0.0, tolerance: 0.0, message: String::new() };
        let mut rest = first;
        for output in &self.outputs {
            let (got, others) = rest.split_at(output.buffer.words());
            rest = others;
            finding.merge(output.want.compare(got));
        }
        if finding.message.is_empty() && first != second {
            finding.message = "a second run gave other bits; they should be the same".to_owned();
        }
        Ok(finding)
    }
}

impl Want {
    fn compare(&self, got: &[u32]) -> Finding {
        let finding = |error, tolerance, message| Finding { error, tolerance, message };
        match self {
            Self::Close(want, tolerance) => match compare(bytemuck::cast_slice(got), want, *tolerance) {
                Ok(error) => finding(error, *tolerance, String::new()),
                Err(difference) => finding(difference.error, *tolerance, difference.message),
            },
            Self::Exact(want) => match got.iter().zip(want).position(|(got, want)| got != want) {
                None => finding(0.0, 0.0, String::new()),
                Some(i) => {
                    let message = format!("word {i}: got {:#x}, want {:#x} to the bit", got[i], want[i]);
                    finding(f64::INFINITY, 0.0, message)
                }
            },
        }
    }
}

impl Finding {
    /// Keeps what is worse: a difference before none, then the larger error for its tolerance.
    fn merge(&mut self, other: Self) {
        let worse = other.error * self.tolerance >= self.error * other.tolerance;
        if self.message.is_empty() && (worse || !other.message.is_empty()) {
            *self = other;
        }
    }
}
