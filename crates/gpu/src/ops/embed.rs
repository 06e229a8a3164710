//! Token embeddings.

use super::{FORMATS, require, shader_for, shader_per_format};
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, Weight, shader};

pub(super) const SHADERS: [Shader; FORMATS] = shader_per_format!("embed", include "rows");

/// Arguments of [`embed`].
#[derive(Debug, Clone, Copy)]
pub struct Embed<'a> {
    /// The batch's [`Row`](crate::Row)s.
    pub rows: &'a Buffer,
    /// Embeddings of the tokens from `first` on, [tokens, dim].
    pub weight: &'a Weight,
    /// The first token that `weight` has.
    pub first: usize,
    /// Tokens that there are in all.
    pub vocabulary: usize,
    /// Output, [rows, dim].
    pub x: &'a Buffer,
}

/// `x[r]` = embedding of the token of row r, where `weight` has it; other rows stay as they are. A token beyond the vocabulary
/// reads the last entry.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn embed(gpu: &Gpu, args: Embed<'_>) -> Result<Dispatch> {
    let Weight { outputs, inputs, format, buffer } = args.weight;
    require("embed", args.rows, 4)?;
    require("embed", args.x, *inputs)?;
    let (first, vocabulary) = (args.first as f64, args.vocabulary as f64);
    let constants = [("N", *outputs as f64), ("K", *inputs as f64), ("FIRST", first), ("VOCABULARY", vocabulary)];
    let kernel = gpu.kernel(shader_for(&SHADERS, *format), "embed", &constants)?;
    let grid = Grid::over_rows(inputs.div_ceil(64) as u32, 1);
    gpu.bind(&kernel, grid, &[(0, args.rows), (1, buffer), (2, args.x)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Row;
    use crate::testing::{SOURCES, assert_close, on_every_kind};
    use crate::twins;

    #[test]
    fn reads_the_row_of_each_token_in_every_format() {
        on_every_kind(|gpu| {
            for source in SOURCES {
                let (vocabulary, dim) = (9, if source.format().is_quantised() { 288 } else { 257 });
                let (weight, w) = gpu.weight(source, vocabulary, dim, 5);
                let tokens = [0u32, 8, 3, 3, 5, u32::MAX];
                let rows = tokens.map(|token| Row { token, ..Row::default() });
                let x = gpu.poisoned("x", tokens.len() * dim);
                let args = Embed { rows: &gpu.upload(&rows), weight: &weight, x: &x, first: 0, vocabulary };
                let dispatch = embed(gpu, args).unwrap();
                let want = twins::embed(&tokens, &w, dim);
                let first = gpu.run(&dispatch, tokens.len(), &x);
                assert_close(&first, &want, 1e-7);
                assert_eq!(first, gpu.run(&dispatch, tokens.len(), &x), "a second run must give the same bits");
            }
        });
    }

    #[test]
    fn shards_leave_the_tokens_of_others_alone() {
        on_every_kind(|gpu| {
            let (dim, tokens) = (7, [0u32, 4, 5, 6, 8, u32::MAX]);
            let rows = gpu.upload(&tokens.map(|token| Row { token, ..Row::default() }));
            let x = gpu.upload(&vec![-1.0f32; tokens.len() * dim]);
            // Tokens 5 to 7 of 9, and then the last one.
            for (first, held, of) in [(5, 3, [2, 3].as_slice()), (8, 1, &[2, 3, 4, 5])] {
                let (weight, w) = gpu.weight(crate::SourceType::F32, held, dim, first as u64);
                let args = Embed { rows: &rows, weight: &weight, x: &x, first, vocabulary: 9 };
                let got = gpu.run(&embed(gpu, args).unwrap(), tokens.len(), &x);
                for (row, values) in got.chunks(dim).enumerate() {
                    assert_eq!(values.iter().all(|v| *v == -1.0), !of.contains(&row), "row {row}");
                    let own = (tokens[row] as usize).min(8).checked_sub(first).filter(|&at| at < held);
                    if let Some(at) = own {
                        assert!(values.iter().zip(&w[at * dim..]).all(|(v, w)| f64::from(*v) == *w as f64));
                    }
                }
            }
        });
    }
}
