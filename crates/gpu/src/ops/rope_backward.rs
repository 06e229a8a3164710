//! Gradient of rotary position embedding.

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("rope_backward");

/// Arguments of [`rope_backward`].
#[derive(Debug, Clone, Copy)]
pub struct RopeBackward<'a> {
    /// Gradients of queries, keys and values, [rows, (heads + 2 · kv_heads) · head_dim]; queries and keys are turned
    /// in place.
    pub dqkv: &'a Buffer,
    /// (cos, sin) of the forward pass, [positions, head_dim / 2].
    pub table: &'a Buffer,
    /// The batch's [`Row`](crate::Row)s.
    pub rows: &'a Buffer,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Length of a head, even.
    pub head_dim: usize,
    /// Pairs are (2i, 2i + 1); else (i, i + head_dim / 2).
    pub interleaved: bool,
}

/// Turns the gradients of rotated queries and keys back into those of the unrotated ones.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn rope_backward(gpu: &Gpu, args: RopeBackward<'_>) -> Result<Dispatch> {
    let turned = args.heads + args.kv_heads;
    let stride = (turned + args.kv_heads) * args.head_dim;
    require("rope_backward", args.dqkv, stride)?;
    require("rope_backward", args.table, args.head_dim)?;
    let constants = [
        ("HEADS", turned as f64),
        ("HEAD_DIM", args.head_dim as f64),
        ("STRIDE", stride as f64),
        ("INTERLEAVED", f64::from(u8::from(args.interleaved))),
    ];
    let kernel = gpu.kernel(&SHADER, "rope_backward", &constants)?;
    let grid = Grid::over_rows((turned * args.head_dim / 2).div_ceil(64) as u32, 1);
    gpu.bind(&kernel, grid, &[(0, args.dqkv), (1, args.table), (2, args.rows)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Row;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins::{self, AttentionShape};

    #[test]
    fn is_the_inverse_rotation_in_both_pairings() {
        on_every_kind(|gpu| {
            for (heads, kv_heads, dim, interleaved) in
                [(1, 1, 2, true), (3, 1, 6, false), (4, 2, 64, true), (9, 3, 64, false)]
            {
                let mut rng = Rng::new((heads * 100 + dim) as u64);
                let (positions, pairs, stride) = ([4u32, 0, 2, 6, 3], dim / 2, (heads + 2 * kv_heads) * dim);
                let angles = rng.normal(7 * pairs);
                let table: Vec<f32> = angles.iter().flat_map(|a| [a.cos(), a.sin()]).collect();
                let before = rng.normal(positions.len() * stride);
                let mut want = twins::double(&before);
                let rows: Vec<Row> = positions.iter().map(|&position| Row { position, ..Row::default() }).collect();
                let shape = AttentionShape { heads, kv_heads, dim };
                twins::Rope { shape, rows: &rows, table: &table, interleaved }.turn(&mut want, true);
                let dqkv = gpu.upload(&before);
                let args = RopeBackward {
                    dqkv: &dqkv,
                    table: &gpu.upload(&table),
                    rows: &gpu.upload(&rows),
                    heads,
                    kv_heads,
                    head_dim: dim,
                    interleaved,
                };
                let dispatch = rope_backward(gpu, args).unwrap();
                let first = gpu.run(&dispatch, rows.len(), &dqkv);
                assert_close(&first, &want, 1e-6);
                gpu.write(&dqkv, 0, &before);
                assert_eq!(first, gpu.run(&dispatch, rows.len(), &dqkv), "a second run must give the same bits");
            }
        });
    }
}
