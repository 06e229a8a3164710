//! How numbers lie in a model file.

use super::{BLOCK, WeightFormat, blocks, q16, super_blocks};

/// How rows lie in a model file. The block formats are those of GGUF, but for Q16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// GGUF Q4_0: f16 d, 16 bytes; w = d·(q − 8); low nibbles hold elements 0..16, high nibbles 16..32.
    Q4_0,
    /// GGUF Q4_1: f16 d, f16 m, 16 bytes; w = d·q + m; nibbles as in Q4_0.
    Q4_1,
    /// GGUF Q5_0: f16 d, fifth bits of all elements, 16 bytes; w = d·(q − 16); nibbles as in Q4_0.
    Q5_0,
    /// GGUF Q5_1: f16 d, f16 m, fifth bits of all elements, 16 bytes; w = d·q + m; nibbles as in Q4_0.
    Q5_1,
    /// GGUF Q8_0: f16 d, 32 signed bytes; w = d·q.
    Q8_0,
    /// GGUF IQ4_NL: f16 d, 16 bytes; w = d·v(q), v of a table; nibbles as in Q4_0.
    Iq4Nl,
    /// GGUF Q2_K: 256 elements; w = d·s·q − d′·m, q of 2 bits, s and m of 4 bits for every 16 elements.
    Q2K,
    /// GGUF Q3_K: 256 elements; w = d·s·q, q of 3 bits with a sign, s of 6 bits with a sign for every 16.
    Q3K,
    /// GGUF Q4_K: 256 elements; w = d·s·q − d′·m, q of 4 bits, s and m of 6 bits for every 32.
    Q4K,
    /// GGUF Q5_K: Q4_K with q of 5 bits.
    Q5K,
    /// GGUF Q6_K: 256 elements; w = d·s·q, q of 6 bits with a sign, s a signed byte for every 16.
    Q6K,
    /// f32 d, 32 signed 16-bit integers, little-endian; w = d·q. Our own, for what is computed while a model loads
    /// ([`encode_q16`](super::encode_q16)): no file has it.
    Q16,
    /// Little-endian half precision.
    F16,
    /// The upper half of a little-endian single precision number.
    Bf16,
    /// Little-endian single precision.
    F32,
}

impl SourceType {
    /// The device format that holds these values. Most are held as they are. Where a format has no place for them they are
    /// rounded: scales and offsets of Q4_K to half precision, which moves a weight by about a hundredth of what lies
    /// between two quants at most, and what becomes Q16 to a 32767th of the largest of 32 weights.
    pub const fn format(self) -> WeightFormat {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => WeightFormat::Q4,
            Self::Q5_0 | Self::Q8_0 | Self::Iq4Nl => WeightFormat::Q8,
            Self::Q5_1 | Self::Q2K | Self::Q3K | Self::Q5K | Self::Q6K | Self::Q16 | Self::Bf16 => WeightFormat::Q16,
            Self::F16 => WeightFormat::F16,
            Self::F32 => WeightFormat::F32,
        }
    }

    /// Elements and bytes of the smallest unit that stands by itself.
    pub const fn unit(self) -> (usize, usize) {
        match self {
            Self::Q4_0 | Self::Iq4Nl => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
            Self::Q5_0 => (BLOCK, 22),
            Self::Q5_1 => (BLOCK, 24),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q2K => (super_blocks::ELEMENTS, 84),
            Self::Q3K => (super_blocks::ELEMENTS, 110),
            Self::Q4K => (super_blocks::ELEMENTS, 144),
            Self::Q5K => (super_blocks::ELEMENTS, 176),
            Self::Q6K => (super_blocks::ELEMENTS, 210),
            Self::Q16 => (BLOCK, q16::BLOCK_BYTES),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::F32 => (1, 4),
        }
    }

    /// Bytes of a row of `k` elements; `None` where `k` is no whole number of blocks.
    pub const fn row_bytes(self, k: usize) -> Option<usize> {
        let (elements, bytes) = self.unit();
        if k.is_multiple_of(elements) { (k / elements).checked_mul(bytes) } else { None }
    }
}

/// The values that `bytes` stand for, in file order; bytes after the last whole block are ignored.
pub fn dequantise(source: SourceType, bytes: &[u8]) -> Vec<f32> {
    let (elements, unit_bytes) = source.unit();
    let mut values = Vec::with_capacity(bytes.len() / unit_bytes * elements);
    for unit in bytes.chunks_exact(unit_bytes) {
        match source {
            SourceType::Q4_0 | SourceType::Q4_1 => {
                let (d, m, nibbles) = blocks::nibble_block(source, unit);
                let (d, m) = (d.to_f32(), m.to_f32());
                values.extend((0..BLOCK).map(|i| d * f32::from(blocks::nibble(nibbles, i)) + m));
            }
            SourceType::Q5_1 => {
                let (d, m) = (blocks::half_at(unit, 0).to_f32(), blocks::half_at(unit, 2).to_f32());
                values.extend((0..BLOCK).map(|i| d * f32::from(blocks::five_bits(&unit[4..], i)) + m));
            }
            SourceType::Q5_0 | SourceType::Q8_0 | SourceType::Iq4Nl => {
                let d = blocks::half_at(unit, 0).to_f32();
                values.extend((0..BLOCK).map(|i| d * f32::from(blocks::signed_quant(source, unit, i))));
            }
            SourceType::Q2K | SourceType::Q3K | SourceType::Q4K | SourceType::Q5K | SourceType::Q6K => {
                super_blocks::dequantise(source, unit, &mut values);
            }
            SourceType::Q16 => q16::dequantise(unit, &mut values),
            SourceType::F16 => values.push(blocks::half_at(unit, 0).to_f32()),
            SourceType::Bf16 => values.push(f32::from_le_bytes([0, 0, unit[0], unit[1]])),
            SourceType::F32 => values.push(f32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])),
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn nibbles_are_read_in_the_order_of_gguf() {
        let mut block = vec![0u8; 18];
        block[..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        (0..16).for_each(|i| block[2 + i] = (i as u8) | (15 - i as u8) << 4);
        let values = dequantise(SourceType::Q4_0, &block);
        assert_eq!(values[0], -4.0);
        assert_eq!(values[15], 3.5);
        assert_eq!(values[16], 3.5);
        assert_eq!(values[31], -4.0);
    }
}
