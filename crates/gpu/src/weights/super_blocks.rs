//! Blocks of 256 elements as GGUF has them: "K-quants". Scales of their parts are quantised too.
//!
//! What lies where, in bytes (ggml's `block_q2_K` to `block_q6_K`):
//!
//! | type | scales of parts | high bits | quants | d | d′ |
//! |---|---|---|---|---|---|
//! | Q2_K | 0..16, low nibble s, high m | | 16..80 | 80 | 82 |
//! | Q3_K | 96..108 | 0..32 | 32..96 | 108 | |
//! | Q4_K | 4..16 | | 16..144 | 0 | 2 |
//! | Q5_K | 4..16 | 16..48 | 48..176 | 0 | 2 |
//! | Q6_K | 192..208 | 128..192 | 0..128 | 208 | |

use super::SourceType;
use super::blocks::half_at;

/// Elements of a block.
pub(super) const ELEMENTS: usize = 256;

/// Appends what a block stands for.
pub(super) fn dequantise(source: SourceType, block: &[u8], values: &mut Vec<f32>) {
    match source {
        SourceType::Q2K => {
            let (d, least) = (half_at(block, 80).to_f32(), half_at(block, 82).to_f32());
            let scale = |part: usize| {
                let packed = block[part];
                (d * f32::from(packed & 15), -(least * f32::from(packed >> 4)))
            };
            push_parts::<16>(scale, |i| two_bits(&block[16..], i).cast_signed(), values);
        }
        SourceType::Q3K => {
            let d = half_at(block, 108).to_f32();
            let scale = |part| (d * f32::from(q3_scale(&block[96..], part)), NO_OFFSET);
            let high = |i: usize| block[i % 32] >> (i / 32) & 1;
            push_parts::<16>(scale, |i| (two_bits(&block[32..], i) | high(i) << 2).cast_signed() - 4, values);
        }
        SourceType::Q6K => {
            let d = half_at(block, 208).to_f32();
            let scale = |part: usize| (d * f32::from(block[192 + part].cast_signed()), NO_OFFSET);
            push_parts::<16>(scale, |i| q6(block, i), values);
        }
        SourceType::Q5K => {
            let high = |i: usize| block[16 + i % 32] >> (i / 32) & 1;
            let quant = |i| (q4(&block[32..], i) | high(i) << 4).cast_signed();
            push_parts::<32>(|part| scale_and_offset(block, part), quant, values);
        }
        _ => push_parts::<32>(|part| scale_and_offset(block, part), |i| q4(block, i).cast_signed(), values),
    }
}

/// Changes nothing when it is added, not the sign of a zero either.
const NO_OFFSET: f32 = -0.0;

/// Appends scale · quant + offset of all elements; the `PART` elements of a part share scale and offset.
fn push_parts<const PART: usize>(
    scale_and_offset: impl Fn(usize) -> (f32, f32),
    quant: impl Fn(usize) -> i8,
    values: &mut Vec<f32>,
) {
    for part in 0..ELEMENTS / PART {
        let (scale, offset) = scale_and_offset(part);
        values.extend((part * PART..(part + 1) * PART).map(|i| scale * f32::from(quant(i)) + offset));
    }
}

/// Scale and offset of part `part` (32 elements) of Q4_K or Q5_K: each a factor for the block times 6 bits.
pub(super) fn scale_and_offset(block: &[u8], part: usize) -> (f32, f32) {
    let packed = &block[4..];
    let (scale, least) = if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        let high = |byte: u8| byte >> 6 << 4;
        (packed[part + 4] & 15 | high(packed[part - 4]), packed[part + 4] >> 4 | high(packed[part]))
    };
    (half_at(block, 0).to_f32() * f32::from(scale), -(half_at(block, 2).to_f32() * f32::from(least)))
}

/// Quant `i` of Q4_K: 32 bytes hold two parts, the first in their low nibbles.
pub(super) fn q4(block: &[u8], i: usize) -> u8 {
    let byte = block[16 + i / 64 * 32 + i % 32];
    if i % 64 < 32 { byte & 15 } else { byte >> 4 }
}

/// Quant `i` of Q2_K, or the low bits of that of Q3_K: 32 bytes hold four parts of 32.
fn two_bits(quants: &[u8], i: usize) -> u8 {
    quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3
}

/// Scale of part `part` (16 elements) of Q3_K: 4 bits of 8 bytes, then 2 bits of 4 bytes.
fn q3_scale(packed: &[u8], part: usize) -> i8 {
    let low = if part < 8 { packed[part] & 15 } else { packed[part - 8] >> 4 };
    let high = packed[8 + part % 4] >> (part / 4 * 2) & 3;
    (low | high << 4).cast_signed() - 32
}

/// Quant `i` of Q6_K: of a half block, 64 bytes hold the low bits of two quarters each, 32 bytes the high bits of all four.
fn q6(block: &[u8], i: usize) -> i8 {
    let (half, quarter, at) = (i / 128, i / 32 % 4, i % 32);
    let byte = block[64 * half + 32 * (quarter % 2) + at];
    let low = if quarter < 2 { byte & 15 } else { byte >> 4 };
    let high = block[128 + 32 * half + at] >> (2 * quarter) & 3;
    (low | high << 4).cast_signed() - 32
}
