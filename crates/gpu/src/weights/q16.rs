//! Blocks of 32 signed 16-bit integers with a scale: w = d·q. No model file has them; weights that are computed while a
//! model loads are held so. For values that spread like a normal distribution the error is a seventh of half
//! precision's, and no device needs an instruction of its own to take them apart.

use super::BLOCK;

/// Bytes of a block: f32 d, then 32 i16, little-endian.
pub(super) const BLOCK_BYTES: usize = 4 + 2 * BLOCK;

/// What kernels get the quants multiplied by (`shaders/include/weights_q16.wgsl`).
const IN_PLACE: f32 = 65536.0;

/// The least scale that there is. Below, d / [`IN_PLACE`] would be subnormal, which a device may take for zero.
const LEAST_SCALE: f32 = f32::MIN_POSITIVE * IN_PLACE;

/// Rounds what is added to it, at most 2²² in magnitude, to the nearest integer, ties to even: the lower bits of the sum
/// are that integer in two's complement.
const ROUNDING: f32 = 12_582_912.0;

/// `values` as [`SourceType::Q16`](super::SourceType::Q16), each block with the scale of its largest magnitude; values
/// after the last whole block are ignored. Blocks without a magnitude of 2⁻⁹⁵ are zero. A block with a value that is not
/// finite has none that is.
pub fn encode_q16(values: &[f32]) -> Vec<u8> {
    let (blocks, _) = values.as_chunks::<BLOCK>();
    let mut bytes = vec![0; blocks.len() * BLOCK_BYTES];
    for (block, bytes) in blocks.iter().zip(bytes.as_chunks_mut::<BLOCK_BYTES>().0) {
        // Magnitudes are ordered as their bits are, NaN above all.
        let largest = block.iter().fold(0, |largest, w| largest.max(w.abs().to_bits()));
        let d = f32::from_bits(largest) / 32767.0;
        if d < LEAST_SCALE {
            continue;
        }
        let inverse = 1.0 / d;
        let (scale, quants) = bytes.split_at_mut(4);
        scale.copy_from_slice(&d.to_le_bytes());
        for (quant, w) in quants.as_chunks_mut().0.iter_mut().zip(block) {
            *quant = ((w * inverse + ROUNDING).to_bits() as u16).to_le_bytes();
        }
    }
    bytes
}

/// d and the bytes of the quants of a block.
fn split(block: &[u8]) -> (f32, &[u8]) {
    (f32::from_le_bytes([block[0], block[1], block[2], block[3]]), &block[4..])
}

/// A block's 16 words of quants and its word of scale, as kernels read them.
pub(super) fn repack(block: &[u8], quants: &mut Vec<u32>, scales: &mut Vec<u32>) {
    let (d, halves) = split(block);
    scales.push((d / IN_PLACE).to_bits());
    quants.extend(halves.as_chunks().0.iter().map(|&pair| u32::from_le_bytes(pair)));
}

/// A block's values, bit by bit those that kernels compute.
pub(super) fn dequantise(block: &[u8], values: &mut Vec<f32>) {
    let (d, halves) = split(block);
    values.extend(halves.as_chunks().0.iter().map(|&q| d * f32::from(i16::from_le_bytes(q))));
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::ops::{Embed, embed};
    use crate::testing::{Rng, on_every_kind};
    use crate::{Row, SourceType, Weight, dequantise};

    fn there_and_back(values: &[f32]) -> Vec<f32> {
        dequantise(SourceType::Q16, &encode_q16(values))
    }

    /// 32 values of a kind each.
    fn blocks() -> Vec<f32> {
        let mut values = Vec::new();
        let mut block = |of: &dyn Fn(usize) -> f32| values.extend((0..BLOCK).map(of));
        block(&|_| 0.0);
        block(&|_| -0.0);
        // All the same; of both signs.
        block(&|_| 0.37);
        block(&|i| if i % 2 == 0 { 1.5 } else { -1.5 });
        // One that leaves the others next to nothing.
        block(&|i| if i == 17 { -1e3 } else { 1e-2 * i as f32 });
        // Scales at the edge of what single precision holds.
        block(&|i| if i == 3 { 3e38 } else { 1e37 * i as f32 });
        block(&|i| i as f32 * 2f32.powi(-98));
        block(&|i| i as f32 * 2f32.powi(-102));
        block(&|i| i as f32 * f32::from_bits(1));
        values.extend(Rng::new(1).normal(7 * BLOCK).iter().map(|w| 0.04 * w));
        values
    }

    /// Half a step of the block's scale, and the rounding of d and of d·q themselves.
    #[test]
    fn no_value_is_off_by_more_than_half_a_step() {
        let values = blocks();
        let back = there_and_back(&values);
        assert_eq!(back.len(), values.len());
        for (block, back) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
            let largest = block.iter().fold(0f32, |largest, w| largest.max(w.abs()));
            let step = f64::from(largest) / 32767.0;
            for (w, back) in block.iter().zip(back) {
                let error = (f64::from(*w) - f64::from(*back)).abs();
                let bound = if largest < 2f32.powi(-95) { 2f64.powi(-95) } else { 0.51 * step };
                assert!(error <= bound, "{w:e} became {back:e} beside {largest:e}");
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_quant_and_ties_are_even() {
        let mut values = [0.0f32; BLOCK];
        values[..8].copy_from_slice(&[32767.0, -32767.0, 0.5, 1.5, -0.5, -2.5, 0.49, -1234.6]);
        let want = [32767.0, -32767.0, 0.0, 2.0, 0.0, -2.0, 0.0, -1235.0];
        assert_eq!(there_and_back(&values)[..8], want);
    }

    #[test]
    fn what_was_encoded_stays_as_it_is_when_it_is_encoded_again() {
        let once = there_and_back(&Rng::new(2).normal(64 * BLOCK));
        let bits = |values: &[f32]| values.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&there_and_back(&once)), bits(&once));
    }

    #[test]
    fn a_block_with_a_value_that_is_not_finite_tells_so() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1.0f32; 2 * BLOCK];
            values[BLOCK + 9] = bad;
            let back = there_and_back(&values);
            assert!(back[..BLOCK].iter().all(|w| *w == 1.0));
            assert!(back[BLOCK..].iter().all(|w| !w.is_finite()), "{bad}");
        }
    }

    #[test]
    fn values_after_the_last_whole_block_are_ignored() {
        assert_eq!(encode_q16(&[1.0; BLOCK + 5]).len(), BLOCK_BYTES);
        assert!(encode_q16(&[1.0; BLOCK - 1]).is_empty());
    }

    /// Against half precision, in root mean square, on values that spread as weights do.
    #[test]
    fn the_error_is_a_fifth_of_half_precisions_at_most() {
        let values: Vec<f32> = Rng::new(3).normal(1000 * BLOCK).iter().map(|w| 0.04 * w).collect();
        let error = |back: &mut dyn Iterator<Item = f32>| {
            let sum: f64 = values.iter().zip(back).map(|(w, b)| (f64::from(*w) - f64::from(b)).powi(2)).sum();
            (sum / values.len() as f64).sqrt()
        };
        let q16 = error(&mut there_and_back(&values).into_iter());
        let halves = error(&mut values.iter().map(|&w| f16::from_f32(w).to_f32()));
        assert!(5.0 * q16 < halves, "{q16:e}, half precision {halves:e}");
    }

    #[test]
    fn kernels_compute_the_same_bits() {
        let values = blocks();
        let (n, k) = (values.len() / BLOCK, BLOCK);
        let want = there_and_back(&values);
        on_every_kind(|gpu| {
            let weight = Weight::new(gpu, "w", SourceType::Q16.format(), n, k).unwrap();
            weight.upload_rows(gpu, 0, SourceType::Q16, &encode_q16(&values)).unwrap();
            let rows: Vec<Row> = (0..n as u32).map(|token| Row { token, ..Row::default() }).collect();
            let x = gpu.poisoned("x", n * k);
            let args = Embed { rows: &gpu.upload(&rows), weight: &weight, x: &x, first: 0, vocabulary: n };
            let got = gpu.run(&embed(gpu, args).unwrap(), n, &x);
            for (got, want) in got.iter().zip(&want) {
                assert!(got.to_bits() == want.to_bits() || (*got == 0.0 && *want == 0.0), "{got:e} {want:e}");
            }
        });
    }
}
