//! Drawing the next token on the GPU.

use super::require;
use crate::{Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("sample", include "rows");

/// How one sequence's tokens are drawn. Order: repetition penalty, temperature, top-k, top-p, min-p.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Sampling {
    /// Low and high word of the seed. The draw at a position depends on the seed, the position and the logits alone.
    pub seed: [u32; 2],
    /// Divides the logits; 0 = always the likeliest token, whatever the cuts below say.
    pub temperature: f32,
    /// Share of the probability that the kept tokens reach (nucleus); 1 = off.
    pub top_p: f32,
    /// Least probability of a kept token, relative to the likeliest; 0 = off.
    pub min_p: f32,
    /// Divides positive logits of tokens seen before and multiplies negative ones; 1 = off.
    pub repetition_penalty: f32,
    /// Number of tokens kept (more at ties); 0 = off.
    pub top_k: u32,
    /// The [`Sequence`](crate::Sequence) of the row that is written.
    pub sequence: u32,
    /// The adapter slot of the row that is written.
    pub slot: u32,
}

impl Sampling {
    /// Always the likeliest token.
    pub const fn greedy(sequence: u32, slot: u32) -> Self {
        Self {
            seed: [0; 2],
            temperature: 0.0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            top_k: 0,
            sequence,
            slot,
        }
    }
}

/// Where a sequence stands; counted up by each draw.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Progress {
    /// Position of the token that is drawn next.
    pub position: u32,
    /// Draws so far; decides the line of the ring.
    pub step: u32,
}

/// A drawn token as it lies in the ring.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Drawn {
    /// The token; [`NO_TOKEN`](Self::NO_TOKEN) where the logits held NaN or +∞.
    pub token: u32,
    /// Its log-probability at this temperature (at temperature 1 for greedy choice) with the repetition penalty, over
    /// the whole vocabulary: what the cuts leave is not renormalised.
    pub log_probability: f32,
}

impl Drawn {
    /// Stands for "no token could be drawn".
    pub const NO_TOKEN: u32 = u32::MAX;
}

/// Arguments of [`sample`].
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// [sequences, vocabulary].
    pub logits: &'a Buffer,
    /// A [`Sampling`] per sequence.
    pub settings: &'a Buffer,
    /// A [`Progress`] per sequence, counted up.
    pub progress: &'a Buffer,
    /// A bit per sequence and token, [sequences, ⌈vocabulary / 32⌉]: the tokens that the repetition penalty is for.
    /// The drawn token's bit is set.
    pub seen: &'a Buffer,
    /// A [`Drawn`] per step and sequence, [steps, sequences]; step s goes to line s mod steps.
    pub ring: &'a Buffer,
    /// [`Row`](crate::Row)s of the next step, one per sequence, written: drawn token, its position, sequence, slot.
    pub rows: &'a Buffer,
    /// Entries of a row of `logits`.
    pub vocabulary: usize,
    /// Entries of a line of `ring`: the most sequences that this dispatch is recorded with.
    pub sequences: usize,
    /// Lines of `ring`.
    pub steps: usize,
}

/// Draws one token per sequence (the dispatch's rows are sequences) by the Gumbel-max trick.
///
/// # Errors
/// An empty shape, buffers that are too small, or a failure of the device.
pub fn sample(gpu: &Gpu, args: Sample<'_>) -> Result<Dispatch> {
    let Sample { vocabulary, sequences, steps, .. } = args;
    if vocabulary == 0 || sequences == 0 || steps == 0 {
        return Err(GpuError::Shape {
            op: "sample",
            reason: format!("{sequences} sequences over {vocabulary} tokens with {steps} steps: none may be 0"),
        });
    }
    require("sample", args.logits, sequences * vocabulary)?;
    require("sample", args.settings, sequences * size_of::<Sampling>() / 4)?;
    require("sample", args.progress, sequences * size_of::<Progress>() / 4)?;
    require("sample", args.seen, sequences * vocabulary.div_ceil(32))?;
    require("sample", args.ring, sequences * steps * size_of::<Drawn>() / 4)?;
    require("sample", args.rows, sequences * size_of::<crate::Row>() / 4)?;
    let constants = [("VOCABULARY", vocabulary as f64), ("SEQUENCES", sequences as f64), ("STEPS", steps as f64)];
    let kernel = gpu.kernel(&SHADER, "sample", &constants)?;
    gpu.bind(
        &kernel,
        Grid::over_rows(1, 1),
        &[(0, args.logits), (1, args.settings), (2, args.progress), (3, args.seen), (4, args.ring), (5, args.rows)],
    )
}

#[cfg(test)]
#[path = "sample_tests.rs"]
mod tests;
