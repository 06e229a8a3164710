//! Weight matrices on the device: how they are laid out, and how rows of a model file get there.
//!
//! A [`Weight`] is one storage buffer, `[quants of all rows][scales of all rows]`, read in kernels through one of
//! `shaders/include/weights_*.wgsl`. A block is 32 consecutive elements of a row.
//!
//! | format | value | quants, in words | scales |
//! |---|---|---|---|
//! | Q4 | d·q + m, q in 0..16 | word w of a block: elements 8w..8w+8, element i at bits 4i | a word per block: f16 d (low), f16 m (high) |
//! | Q8 | d·q, q in -128..128 | word w of a block: elements 4w..4w+4, a signed byte each | a word per block: f32 d |
//! | Q16 | d·q, q in -32767..=32767 | word w of a block: elements 2w (low), 2w+1 (high), 16 signed bits each | a word per block: f32 d / 65536 |
//! | F16 | itself | two elements a word, rows padded to even length | none |
//! | F32 | itself | one element a word | none |

use half::f16;

use crate::{Buffer, Gpu, GpuError, Result};

mod q16;

pub use q16::encode_q16;

/// Elements of a quantised block.
pub(crate) const BLOCK: usize = 32;

/// How a weight matrix lies on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// 4 bits an element with a scale and an offset per block of 32.
    Q4,
    /// 8 bits an element with a scale per block of 32.
    Q8,
    /// 16 bits an element with a scale per block of 32.
    Q16,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

impl WeightFormat {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Q4, Self::Q8, Self::Q16, Self::F16, Self::F32];

    /// Whether rows consist of blocks of 32.
    pub const fn is_quantised(self) -> bool {
        matches!(self, Self::Q4 | Self::Q8 | Self::Q16)
    }

    /// Words of quants in a row of `k` elements.
    pub(crate) const fn row_words(self, k: usize) -> usize {
        match self {
            Self::Q4 => k / 8,
            Self::Q8 => k / 4,
            Self::Q16 => k / 2,
            Self::F16 => k.div_ceil(2),
            Self::F32 => k,
        }
    }

    /// Words of scales for a row of `k` elements.
    pub(crate) const fn row_scales(self, k: usize) -> usize {
        if self.is_quantised() { k / BLOCK } else { 0 }
    }

    /// Bytes of an `n` × `k` matrix on the device.
    pub const fn bytes(self, n: usize, k: usize) -> u64 {
        n as u64 * (self.row_words(k) + self.row_scales(k)) as u64 * 4
    }
}

/// How rows lie in a model file. The block formats are those of GGUF, but for Q16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// GGUF Q4_0: f16 d, 16 bytes; w = d·(q − 8); low nibbles hold elements 0..16, high nibbles 16..32.
    Q4_0,
    /// GGUF Q4_1: f16 d, f16 m, 16 bytes; w = d·q + m; nibbles as in Q4_0.
    Q4_1,
    /// GGUF Q8_0: f16 d, 32 signed bytes; w = d·q.
    Q8_0,
    /// f32 d, 32 signed 16-bit integers, little-endian; w = d·q. Our own, for what is computed while a model loads
    /// ([`encode_q16`]): no file has it.
    Q16,
    /// Little-endian half precision.
    F16,
    /// Little-endian single precision.
    F32,
}

impl SourceType {
    /// The device format that holds these values without loss.
    pub const fn format(self) -> WeightFormat {
        match self {
            Self::Q4_0 | Self::Q4_1 => WeightFormat::Q4,
            Self::Q8_0 => WeightFormat::Q8,
            Self::Q16 => WeightFormat::Q16,
            Self::F16 => WeightFormat::F16,
            Self::F32 => WeightFormat::F32,
        }
    }

    /// Elements and bytes of the smallest unit that stands by itself.
    pub const fn unit(self) -> (usize, usize) {
        match self {
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q16 => (BLOCK, q16::BLOCK_BYTES),
            Self::F16 => (1, 2),
            Self::F32 => (1, 4),
        }
    }

    /// Bytes of a row of `k` elements; `None` where `k` is no whole number of blocks.
    pub const fn row_bytes(self, k: usize) -> Option<usize> {
        let (elements, bytes) = self.unit();
        if k.is_multiple_of(elements) { (k / elements).checked_mul(bytes) } else { None }
    }
}

/// A weight matrix W [outputs, inputs] on the device. Cloning shares the buffer.
#[derive(Debug, Clone)]
pub struct Weight {
    /// The words described in the module documentation.
    pub buffer: Buffer,
    /// How they are to be read.
    pub format: WeightFormat,
    /// Rows (n).
    pub outputs: usize,
    /// Columns (k).
    pub inputs: usize,
}

impl Weight {
    /// Room for an `n` × `k` matrix, zero until rows are uploaded.
    ///
    /// # Errors
    /// A quantised format with `k` not a multiple of 32, an empty matrix, one that the device cannot bind at once.
    pub fn new(gpu: &Gpu, label: &str, format: WeightFormat, n: usize, k: usize) -> Result<Self> {
        if n == 0 || k == 0 || (format.is_quantised() && !k.is_multiple_of(BLOCK)) {
            return Err(shape(format!(
                "`{label}` is {n} × {k}: rows must not be empty, and those of {format:?} are whole blocks of {BLOCK}"
            )));
        }
        let words = n
            .checked_mul(format.row_words(k) + format.row_scales(k))
            .filter(|&words| u32::try_from(words).is_ok())
            .ok_or_else(|| GpuError::TooLarge {
                label: label.to_owned(),
                size: u64::MAX,
                limit: u64::from(u32::MAX),
            })?;
        Ok(Self { buffer: gpu.storage(label, words)?, format, outputs: n, inputs: k })
    }

    /// Repacks and uploads whole rows from `first_row` on. A tensor may come in pieces, and several tensors may stand
    /// one below the other in one matrix (q, k, v; gate, up).
    ///
    /// # Errors
    /// Bytes that are no whole number of rows, rows beyond the end, a source that does not fit the matrix's format.
    pub fn upload_rows(&self, gpu: &Gpu, first_row: usize, source: SourceType, bytes: &[u8]) -> Result<()> {
        let label = self.buffer.label();
        if source.format() != self.format {
            return Err(shape(format!("`{label}` is held as {:?}, which cannot take {source:?}", self.format)));
        }
        let row_bytes =
            source.row_bytes(self.inputs).filter(|&row| bytes.len().is_multiple_of(row)).ok_or_else(|| {
                shape(format!(
                    "`{label}`: {} bytes are no whole number of {source:?} rows of {}",
                    bytes.len(),
                    self.inputs
                ))
            })?;
        let rows = bytes.len() / row_bytes;
        if first_row.checked_add(rows).is_none_or(|end| end > self.outputs) {
            return Err(shape(format!(
                "`{label}` has {} rows; {rows} from row {first_row} on do not fit",
                self.outputs
            )));
        }
        let (row_words, row_scales) = (self.format.row_words(self.inputs), self.format.row_scales(self.inputs));
        let mut quants: Vec<u32> = Vec::with_capacity(rows * row_words);
        let mut scales: Vec<u32> = Vec::with_capacity(rows * row_scales);
        for row in bytes.chunks_exact(row_bytes) {
            for unit in row.chunks_exact(unit_of_upload(source, row_bytes)) {
                repack(source, unit, &mut quants, &mut scales);
            }
        }
        gpu.write(&self.buffer, (first_row * row_words * 4) as u64, &quants);
        if row_scales > 0 {
            gpu.write(&self.buffer, ((self.outputs * row_words + first_row * row_scales) * 4) as u64, &scales);
        }
        Ok(())
    }
}

fn shape(reason: String) -> GpuError {
    GpuError::Shape { op: "weight", reason }
}

/// Bytes repacked at a time: a block, or a whole row where there are no blocks (its end may need padding).
const fn unit_of_upload(source: SourceType, row_bytes: usize) -> usize {
    if source.format().is_quantised() { source.unit().1 } else { row_bytes }
}

fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Scale and offset of a 4-bit block and its 16 bytes of nibbles.
fn nibble_block(source: SourceType, block: &[u8]) -> (f16, f16, &[u8]) {
    let d = half_at(block, 0);
    if source == SourceType::Q4_1 {
        (d, half_at(block, 2), &block[4..])
    } else {
        // Exact unless it overflows: a multiplication by a power of two.
        (d, f16::from_f32(-8.0 * d.to_f32()), &block[2..])
    }
}

/// Element `i` of a 4-bit block in GGUF order.
fn nibble(nibbles: &[u8], i: usize) -> u8 {
    if i < 16 { nibbles[i] & 15 } else { nibbles[i - 16] >> 4 }
}

fn repack(source: SourceType, unit: &[u8], quants: &mut Vec<u32>, scales: &mut Vec<u32>) {
    match source {
        SourceType::Q4_0 | SourceType::Q4_1 => {
            let (d, m, nibbles) = nibble_block(source, unit);
            scales.push(u32::from(d.to_bits()) | u32::from(m.to_bits()) << 16);
            quants.extend(
                (0..4).map(|w| (0..8).fold(0, |word, i| word | u32::from(nibble(nibbles, 8 * w + i)) << (4 * i))),
            );
        }
        SourceType::Q8_0 => {
            scales.push(half_at(unit, 0).to_f32().to_bits());
            quants.extend(unit[2..].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        }
        SourceType::Q16 => q16::repack(unit, quants, scales),
        SourceType::F16 => quants.extend(unit.chunks(4).map(|b| {
            let high = if b.len() == 4 { [b[2], b[3]] } else { [0; 2] };
            u32::from_le_bytes([b[0], b[1], high[0], high[1]])
        })),
        SourceType::F32 => quants.extend(unit.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
    }
}

/// The values that `bytes` stand for, in file order; bytes after the last whole block are ignored.
pub fn dequantise(source: SourceType, bytes: &[u8]) -> Vec<f32> {
    let (elements, unit_bytes) = source.unit();
    let mut values = Vec::with_capacity(bytes.len() / unit_bytes * elements);
    for unit in bytes.chunks_exact(unit_bytes) {
        match source {
            SourceType::Q4_0 | SourceType::Q4_1 => {
                let (d, m, nibbles) = nibble_block(source, unit);
                values.extend((0..BLOCK).map(|i| d.to_f32() * f32::from(nibble(nibbles, i)) + m.to_f32()));
            }
            SourceType::Q8_0 => {
                let d = half_at(unit, 0).to_f32();
                values.extend(unit[2..].iter().map(|&q| d * f32::from(q.cast_signed())));
            }
            SourceType::Q16 => q16::dequantise(unit, &mut values),
            SourceType::F16 => values.push(half_at(unit, 0).to_f32()),
            SourceType::F32 => values.push(f32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])),
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SOURCES, any_gpu, random_source};

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

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let gpu = any_gpu();
        assert!(Weight::new(&gpu, "w", WeightFormat::Q4, 3, 33).is_err());
        assert!(Weight::new(&gpu, "w", WeightFormat::F32, 0, 33).is_err());
        assert!(Weight::new(&gpu, "w", WeightFormat::F32, usize::MAX, 3).is_err());
        let weight = Weight::new(&gpu, "w", WeightFormat::Q4, 3, 64).unwrap();
        let row = [0u8; 36];
        assert!(weight.upload_rows(&gpu, 0, SourceType::Q4_0, &row).is_ok());
        assert!(weight.upload_rows(&gpu, 3, SourceType::Q4_0, &row).is_err());
        assert!(weight.upload_rows(&gpu, usize::MAX, SourceType::Q4_0, &row).is_err());
        assert!(weight.upload_rows(&gpu, 0, SourceType::Q4_0, &row[1..]).is_err());
        assert!(weight.upload_rows(&gpu, 0, SourceType::Q8_0, &[0; 68]).is_err());
    }

    #[test]
    fn rows_in_pieces_give_the_buffer_of_rows_at_once() {
        let gpu = any_gpu();
        for source in SOURCES {
            let k = if source.format().is_quantised() { 96 } else { 97 };
            let bytes = random_source(source, 5, k, 3);
            let row = source.row_bytes(k).unwrap();
            let whole = Weight::new(&gpu, "whole", source.format(), 5, k).unwrap();
            whole.upload_rows(&gpu, 0, source, &bytes).unwrap();
            let pieces = Weight::new(&gpu, "pieces", source.format(), 5, k).unwrap();
            pieces.upload_rows(&gpu, 3, source, &bytes[3 * row..]).unwrap();
            pieces.upload_rows(&gpu, 0, source, &bytes[..3 * row]).unwrap();
            let read = |w: &Weight| pollster::block_on(gpu.read::<u32>(&w.buffer, 0, w.buffer.words())).unwrap();
            assert_eq!(read(&whole), read(&pieces), "{source:?}");
            assert_eq!(whole.buffer.size(), source.format().bytes(5, k));
        }
    }
}
