//! Gradient of a gather of rows.

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("scatter_rows");

/// Arguments of [`scatter_rows`].
#[derive(Debug, Clone, Copy)]
pub struct ScatterRows<'a> {
    /// What is added, [rows, dim].
    pub dy: &'a Buffer,
    /// Where to (u32), \[rows\]; no two alike.
    pub indices: &'a Buffer,
    /// Added to, [any, dim].
    pub dx: &'a Buffer,
    /// Length of a row.
    pub dim: usize,
}

/// dx\[indices\[i\], :\] += dy\[i, :\].
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn scatter_rows(gpu: &Gpu, args: ScatterRows<'_>) -> Result<Dispatch> {
    require("scatter_rows", args.dy, args.dim)?;
    require("scatter_rows", args.dx, args.dim)?;
    let kernel = gpu.kernel(&SHADER, "scatter_rows", &[("DIM", args.dim as f64)])?;
    let grid = Grid::over_rows(args.dim.div_ceil(256) as u32, 1);
    gpu.bind(&kernel, grid, &[(0, args.dy), (1, args.indices), (2, args.dx)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, on_every_kind};

    #[test]
    fn adds_each_row_where_its_index_points() {
        on_every_kind(|gpu| {
            for dim in [1, 3, 255, 256, 257] {
                let mut rng = Rng::new(dim as u64);
                let (dy, before) = (rng.normal(3 * dim), rng.normal(7 * dim));
                let indices = [5u32, 0, 2];
                let mut want = before.clone();
                for (row, &index) in dy.chunks(dim).zip(&indices) {
                    let target = &mut want[index as usize * dim..][..dim];
                    target.iter_mut().zip(row).for_each(|(t, v)| *t += v);
                }
                let dx = gpu.upload(&before);
                let args = ScatterRows { dy: &gpu.upload(&dy), indices: &gpu.upload(&indices), dx: &dx, dim };
                assert_eq!(gpu.run(&scatter_rows(gpu, args).unwrap(), 3, &dx), want);
            }
        });
    }
}
