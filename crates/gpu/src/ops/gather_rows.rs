//! Choosing rows.

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("gather_rows");

/// `y[r] = x[indices[r]]`: `x` of any number of rows of `dim`, `indices` \[rows\] of u32, `y` as many rows of `dim`.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn gather_rows(gpu: &Gpu, x: &Buffer, indices: &Buffer, y: &Buffer, dim: usize) -> Result<Dispatch> {
    require("gather_rows", x, dim)?;
    require("gather_rows", y, dim)?;
    let kernel = gpu.kernel(&SHADER, "gather_rows", &[("DIM", dim as f64)])?;
    gpu.bind(&kernel, Grid::over_rows(dim.div_ceil(64) as u32, 1), &[(0, x), (1, indices), (2, y)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, on_every_kind};

    #[test]
    fn copies_the_chosen_rows() {
        on_every_kind(|gpu| {
            for (dim, indices) in [(1, vec![2u32]), (63, vec![0, 6, 6]), (257, vec![6, 5, 0, 1])] {
                let x = Rng::new(dim as u64).normal(7 * dim);
                let y = gpu.poisoned("y", indices.len() * dim);
                let dispatch = gather_rows(gpu, &gpu.upload(&x), &gpu.upload(&indices), &y, dim).unwrap();
                let want: Vec<f32> =
                    indices.iter().flat_map(|&i| x[i as usize * dim..][..dim].iter().copied()).collect();
                assert_eq!(gpu.run(&dispatch, indices.len(), &y), want);
            }
        });
    }
}
