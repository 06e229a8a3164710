//! Zeroing all but some columns: how one matrix of a stack is looked at alone.

use std::ops::Range;

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("keep_columns");

/// y [rows, stride] ← 0 outside `columns`.
///
/// # Errors
/// A buffer too small, or a failure of the device.
pub fn keep_columns(gpu: &Gpu, y: &Buffer, stride: usize, columns: Range<usize>) -> Result<Dispatch> {
    require("keep_columns", y, stride)?;
    let constants = [("STRIDE", stride as f64), ("FIRST", columns.start as f64), ("LAST", columns.end as f64)];
    let kernel = gpu.kernel(&SHADER, "main", &constants)?;
    gpu.bind(&kernel, Grid::over_rows(stride.div_ceil(64) as u32, 1), &[(0, y)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, on_every_kind};

    #[test]
    fn other_columns_become_zero_and_the_kept_ones_stay() {
        on_every_kind(|gpu| {
            for (rows, stride, columns) in [(1, 1, 0..1), (3, 7, 2..5), (5, 257, 0..255), (2, 64, 64..64)] {
                let data = Rng::new(stride as u64).normal(rows * stride);
                let y = gpu.upload(&data);
                let kept = gpu.run(&keep_columns(gpu, &y, stride, columns.clone()).unwrap(), rows, &y);
                for (i, (&got, &was)) in kept.iter().zip(&data).enumerate() {
                    assert_eq!(got, if columns.contains(&(i % stride)) { was } else { 0.0 }, "element {i}");
                }
            }
        });
    }
}
