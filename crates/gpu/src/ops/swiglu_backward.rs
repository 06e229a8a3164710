//! Gradient of the gated activation of the feed-forward block.

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("swiglu_backward");

/// Arguments of [`swiglu_backward`].
#[derive(Debug, Clone, Copy)]
pub struct SwigluBackward<'a> {
    /// The forward input, [rows, 2 · ffn]: gate, then up.
    pub gate_up: &'a Buffer,
    /// Gradient of the forward output, [rows, ffn].
    pub dh: &'a Buffer,
    /// Output, [rows, 2 · ffn]; must not be `gate_up`.
    pub d_gate_up: &'a Buffer,
    /// Width of the feed-forward block.
    pub ffn: usize,
}

/// Gradient through h = silu(gate) · up, row by row.
///
/// # Errors
/// A buffer too small for one row, or a failure of the device.
pub fn swiglu_backward(gpu: &Gpu, args: SwigluBackward<'_>) -> Result<Dispatch> {
    require("swiglu_backward", args.gate_up, 2 * args.ffn)?;
    require("swiglu_backward", args.dh, args.ffn)?;
    require("swiglu_backward", args.d_gate_up, 2 * args.ffn)?;
    let entry = if args.ffn.is_multiple_of(4) { "swiglu_backward_by_fours" } else { "swiglu_backward" };
    let kernel = gpu.kernel(&SHADER, entry, &[("FFN", args.ffn as f64)])?;
    let grid = Grid::over_rows(args.ffn.div_ceil(256) as u32, 1);
    gpu.bind(&kernel, grid, &[(0, args.gate_up), (1, args.dh), (2, args.d_gate_up)])
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
                let mut rng = Rng::new((rows * 1000 + ffn) as u64);
                let (gate_up, dh) = (rng.normal(rows * 2 * ffn), rng.normal(rows * ffn));
                let out = gpu.poisoned("d_gate_up", rows * 2 * ffn);
                let args =
                    SwigluBackward { gate_up: &gpu.upload(&gate_up), dh: &gpu.upload(&dh), d_gate_up: &out, ffn };
                let dispatch = swiglu_backward(gpu, args).unwrap();
                let first = gpu.run(&dispatch, rows, &out);
                assert_close(&first, &twins::swiglu_backward(&gate_up, &dh, ffn), 2e-6);
                assert_eq!(first, gpu.run(&dispatch, rows, &out), "a second run must give the same bits");
            }
        });
    }
}
