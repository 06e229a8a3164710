//! Gram matrices of adapters, for their norms.

use super::require;
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("gram");

/// Arguments of [`gram`].
#[derive(Debug, Clone, Copy)]
pub struct Gram<'a> {
    /// B of all slots, slot s ≥ 1 from element (s − 1) · `slot_stride` on.
    pub b: &'a Buffer,
    /// \[sites\] pairs of u32: offset in a slot, outputs.
    pub sites: &'a Buffer,
    /// Output, [sites, rank, rank].
    pub gram: &'a Buffer,
    /// Uniform, the slot in its second word.
    pub count: &'a Buffer,
    /// Number of sites.
    pub site_count: usize,
    /// Rank of the adapter.
    pub rank: usize,
    /// Elements of a slot.
    pub slot_stride: usize,
}

/// BᵀB of every site of one slot. With A Aᵀ it gives ‖BA‖_F² = Σ_ij (BᵀB)_ij (AAᵀ)_ij.
///
/// # Errors
/// A buffer too small, or a failure of the device.
pub fn gram(gpu: &Gpu, args: Gram<'_>) -> Result<Dispatch> {
    require("gram", args.b, args.slot_stride)?;
    require("gram", args.sites, 2 * args.site_count)?;
    require("gram", args.gram, args.site_count * args.rank * args.rank)?;
    let constants = [("RANK", args.rank as f64), ("SLOT_STRIDE", args.slot_stride as f64)];
    let kernel = gpu.kernel(&SHADER, "gram", &constants)?;
    let buffers = [(0, args.b), (1, args.sites), (2, args.gram), (3, args.count)];
    gpu.bind(&kernel, Grid::flat(args.site_count as u32), &buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins;

    #[test]
    fn agrees_with_its_twin_for_sites_of_different_sizes() {
        on_every_kind(|gpu| {
            for rank in [1, 3, 6, 9] {
                let outputs = [5usize, 1, 257];
                let (mut sites, mut stride) = (vec![], 0);
                for n in outputs {
                    sites.push([stride as u32, n as u32]);
                    stride += n * rank;
                }
                let b = Rng::new(rank as u64).normal(2 * stride);
                let mut want = vec![];
                for [offset, n] in &sites {
                    let site = &b[stride + *offset as usize..][..*n as usize * rank];
                    want.extend(twins::gram(site, rank));
                }
                let out = gpu.poisoned("gram", sites.len() * rank * rank);
                let args = Gram {
                    b: &gpu.upload(&b),
                    sites: &gpu.upload(&sites),
                    gram: &out,
                    count: &gpu.uniform("count", &[0u32, 2, 0, 0]).unwrap(),
                    site_count: sites.len(),
                    rank,
                    slot_stride: stride,
                };
                let dispatch = gram(gpu, args).unwrap();
                let first = gpu.run(&dispatch, 1, &out);
                assert_close(&first, &want, 2e-6);
                assert_eq!(first, gpu.run(&dispatch, 1, &out), "a second run must give the same bits");
            }
        });
    }
}
