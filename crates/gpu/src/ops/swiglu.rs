//! The gated activation of the feed-forward block.

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("swiglu");

/// h[r, i] = silu(gate\[r, i]) · up[r, i], from `gate_up` [rows, 2 · `ffn`] (gate first) to `h` [rows, `ffn`].
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn swiglu(gpu: &Gpu, gate_up: &Buffer, h: &Buffer, ffn: usize) -> Result<Dispatch> {
    require("swiglu", gate_up, 2 * ffn)?;
    require("swiglu", h, ffn)?;
    let (entry, elements) = if ffn.is_multiple_of(4) { ("swiglu_by_fours", 256) } else { ("swiglu", 64) };
    let kernel = gpu.kernel(&SHADER, entry, &[("FFN", ffn as f64)])?;
    gpu.bind(&kernel, Grid::over_rows(ffn.div_ceil(elements) as u32, 1), &[(0, gate_up), (1, h)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins;

    #[test]
    fn agrees_with_its_twin_on_ragged_shapes() {
        on_every_kind(|gpu| {
            for (rows, ffn) in [(1, 1), (3, 5), (7, 255), (2, 256), (9, 257)] {
                let mut x = Rng::new(ffn as u64).normal(rows * 2 * ffn);
                x[0] = -100.0; // exp overflows here; the result must still be zero
                let h = gpu.poisoned("h", rows * ffn);
                let dispatch = swiglu(gpu, &gpu.upload(&x), &h, ffn).unwrap();
                let want = twins::swiglu(&x, ffn);
                let first = gpu.run(&dispatch, rows, &h);
                if want.len() > 1 {
                    assert_close(&first, &want, 1e-6);
                } else {
                    assert_eq!(first, [0.0]);
                }
                assert_eq!(first, gpu.run(&dispatch, rows, &h), "a second run must give the same bits");
            }
        });
    }
}
