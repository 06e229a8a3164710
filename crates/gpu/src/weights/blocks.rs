//! Blocks of 32 elements as GGUF has them.

use half::f16;

use super::SourceType;

/// What the 16 quants of IQ4_NL stand for.
const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(super) fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Scale and offset of a block of Q4_0 or Q4_1, and its 16 bytes of nibbles.
pub(super) fn nibble_block(source: SourceType, block: &[u8]) -> (f16, f16, &[u8]) {
    let d = half_at(block, 0);
    if source == SourceType::Q4_1 {
        (d, half_at(block, 2), &block[4..])
    } else {
        // Exact unless it overflows: a multiplication by a power of two.
        (d, f16::from_f32(-8.0 * d.to_f32()), &block[2..])
    }
}

/// Element `i` of 16 bytes of nibbles: the low ones first.
pub(super) fn nibble(nibbles: &[u8], i: usize) -> u8 {
    if i < 16 { nibbles[i] & 15 } else { nibbles[i - 16] >> 4 }
}

/// Element `i` of 4 bytes of fifth bits and 16 bytes of nibbles.
pub(super) fn five_bits(bytes: &[u8], i: usize) -> u8 {
    nibble(&bytes[4..], i) | (bytes[i / 8] >> (i % 8) & 1) << 4
}

/// What the scale of a block without an offset is multiplied by, for element `i`.
pub(super) fn signed_quant(source: SourceType, block: &[u8], i: usize) -> i8 {
    match source {
        SourceType::Q5_0 => five_bits(&block[2..], i).cast_signed() - 16,
        SourceType::Iq4Nl => IQ4_NL[usize::from(nibble(&block[2..], i))],
        _ => block[2 + i].cast_signed(),
    }
}
