//! The trust region of an adapter.

use super::{Gram, require};
use crate::{Buffer, Dispatch, Gpu, Grid, Result, Shader, shader};

pub(super) const SHADER: Shader = shader!("trust_region");

/// Arguments of [`trust_region`].
#[derive(Debug, Clone, Copy)]
pub struct TrustRegion<'a> {
    /// B of all slots, its sites, and BᵀB of every site as [`gram`](super::gram) left it.
    pub gram: Gram<'a>,
    /// A Aᵀ of every site, [sites, rank, rank].
    pub gram_a: &'a Buffer,
    /// ‖W‖_F of every site, \[sites\].
    pub weight_norms: &'a Buffer,
    /// Uniform, in its first word the largest ‖B A‖_F / ‖W‖_F of a site, as f32.
    pub limit: &'a Buffer,
}

/// Scales the B of every site of one slot whose ‖B A‖_F / ‖W‖_F is above the limit back to it.
///
/// # Errors
/// A buffer too small, or a failure of the device.
pub fn trust_region(gpu: &Gpu, args: TrustRegion<'_>) -> Result<Dispatch> {
    let Gram { b, sites, gram, count, site_count, rank, slot_stride } = args.gram;
    require("trust_region", b, slot_stride)?;
    require("trust_region", sites, 2 * site_count)?;
    require("trust_region", gram, site_count * rank * rank)?;
    require("trust_region", args.gram_a, site_count * rank * rank)?;
    require("trust_region", args.weight_norms, site_count)?;
    let constants = [("RANK", rank as f64), ("SLOT_STRIDE", slot_stride as f64)];
    let kernel = gpu.kernel(&SHADER, "trust_region", &constants)?;
    let buffers =
        [(0, b), (1, sites), (2, gram), (3, count), (4, args.gram_a), (5, args.weight_norms), (6, args.limit)];
    gpu.bind(&kernel, Grid::flat(site_count as u32), &buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gram;
    use crate::testing::{Rng, assert_close, on_every_kind};
    use crate::twins;

    #[test]
    fn only_sites_beyond_the_limit_are_scaled_back_to_it() {
        on_every_kind(|gpu| {
            for rank in [1, 3, 6] {
                let (outputs, slot) = ([5usize, 130, 1], 2u32);
                let (mut table, mut stride) = (vec![], 0);
                for n in outputs {
                    table.push([stride as u32, n as u32]);
                    stride += n * rank;
                }
                let mut rng = Rng::new(rank as u64);
                let before = rng.normal(3 * stride);
                let a: Vec<Vec<f32>> = outputs.iter().map(|_| rng.normal(11 * rank)).collect();
                // Of A [rank, 11]: A Aᵀ is BᵀB of its transpose.
                let grams_a: Vec<Vec<f64>> = a.iter().map(|a| twins::gram(a, rank)).collect();
                // The first site is at half of the limit, the second one at twice, the third one at three times it.
                let limit = 0.25f64;
                let site = |i: usize| &before[stride + table[i][0] as usize..][..outputs[i] * rank];
                let length = |i: usize| {
                    let gram_b = twins::gram(site(i), rank);
                    gram_b.iter().zip(&grams_a[i]).map(|(b, a)| b * a).sum::<f64>().sqrt()
                };
                let times = [0.5, 2.0, 3.0];
                let norms: Vec<f32> = (0..3).map(|i| (length(i) / (limit * times[i])) as f32).collect();
                let mut want: Vec<f64> = twins::double(&before);
                for i in 0..3 {
                    let scale = if times[i] > 1.0 { 1.0 / times[i] } else { 1.0 };
                    let start = stride + table[i][0] as usize;
                    want[start..start + outputs[i] * rank].iter_mut().for_each(|b| *b *= scale);
                }
                let b = gpu.upload(&before);
                let args = Gram {
                    b: &b,
                    sites: &gpu.upload(&table),
                    gram: &gpu.poisoned("gram", 3 * rank * rank),
                    count: &gpu.uniform("count", &[0, slot, 0, 0]).unwrap(),
                    site_count: 3,
                    rank,
                    slot_stride: stride,
                };
                let flat: Vec<f32> = grams_a.iter().flatten().map(|&g| g as f32).collect();
                let region = TrustRegion {
                    gram: args,
                    gram_a: &gpu.upload(&flat),
                    weight_norms: &gpu.upload(&norms),
                    limit: &gpu.uniform("limit", &[limit as f32, 0.0, 0.0, 0.0]).unwrap(),
                };
                gpu.run(&gram(gpu, args).unwrap(), 1, args.gram);
                let got = gpu.run(&trust_region(gpu, region).unwrap(), 1, &b);
                assert_close(&got, &want, 2e-6);
                // The first site and the other slots are untouched to the bit.
                assert_eq!(got[..stride + table[1][0] as usize], before[..stride + table[1][0] as usize]);
                assert_eq!(got[2 * stride..], before[2 * stride..]);
            }
        });
    }
}
