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

mod blocks;
mod q16;
mod source;
mod super_blocks;

pub use q16::encode_q16;
pub use source::{SourceType, dequantise};

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

    /// Bytes of an `n` × `k` matrix on the device; the largest number there is where they are more than that.
    pub const fn bytes(self, n: usize, k: usize) -> u64 {
        (n as u64).saturating_mul((self.row_words(k) + self.row_scales(k)) as u64).saturating_mul(4)
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
    match source {
        // Stands by itself in the file, and in a block on the device.
        SourceType::Bf16 => source.unit().1 * BLOCK,
        _ if source.format().is_quantised() => source.unit().1,
        _ => row_bytes,
    }
}

/// Appends a unit of a row ([`unit_of_upload`]) as the device holds it.
fn repack(source: SourceType, unit: &[u8], quants: &mut Vec<u32>, scales: &mut Vec<u32>) {
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    match source {
        SourceType::Q4_0 | SourceType::Q4_1 => {
            let (d, m, nibbles) = blocks::nibble_block(source, unit);
            push_q4(d, m, |i| blocks::nibble(nibbles, i), quants, scales);
        }
        SourceType::Q4K => {
            for part in 0..super_blocks::ELEMENTS / BLOCK {
                let (d, m) = super_blocks::scale_and_offset(unit, part);
                let quant = |i| super_blocks::q4(unit, part * BLOCK + i);
                push_q4(f16::from_f32(d), f16::from_f32(m), quant, quants, scales);
            }
        }
        SourceType::Q8_0 => {
            scales.push(blocks::half_at(unit, 0).to_f32().to_bits());
            quants.extend(unit[2..].chunks_exact(4).map(word));
        }
        SourceType::Q5_0 | SourceType::Iq4Nl => {
            scales.push(blocks::half_at(unit, 0).to_f32().to_bits());
            let bytes: [u8; BLOCK] = std::array::from_fn(|i| blocks::signed_quant(source, unit, i).cast_unsigned());
            quants.extend(bytes.chunks_exact(4).map(word));
        }
        SourceType::Q16 => q16::repack(unit, quants, scales),
        SourceType::F16 => quants.extend(unit.chunks(4).map(|b| {
            let high = if b.len() == 4 { [b[2], b[3]] } else { [0; 2] };
            u32::from_le_bytes([b[0], b[1], high[0], high[1]])
        })),
        SourceType::F32 => quants.extend(unit.chunks_exact(4).map(word)),
        SourceType::Bf16 | SourceType::Q5_1 | SourceType::Q2K | SourceType::Q3K | SourceType::Q5K | SourceType::Q6K => {
            for block in encode_q16(&dequantise(source, unit)).chunks_exact(q16::BLOCK_BYTES) {
                q16::repack(block, quants, scales);
            }
        }
    }
}

/// Appends a block of Q4: d·q + m, element by element.
fn push_q4(d: f16, m: f16, quant: impl Fn(usize) -> u8, quants: &mut Vec<u32>, scales: &mut Vec<u32>) {
    scales.push(u32::from(d.to_bits()) | u32::from(m.to_bits()) << 16);
    quants.extend((0..4).map(|w| (0..8).fold(0, |word, i| word | u32::from(quant(8 * w + i)) << (4 * i))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Row;
    use crate::ops::{Embed, embed};
    use crate::testing::{SOURCES, any_gpu, random_source};

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

    /// A kernel reads back what was uploaded, to what the format can hold of it.
    #[test]
    fn every_source_is_held_as_closely_as_its_format_can() {
        const LOSSY: [SourceType; 7] = [
            SourceType::Q5_1,
            SourceType::Q2K,
            SourceType::Q3K,
            SourceType::Q4K,
            SourceType::Q5K,
            SourceType::Q6K,
            SourceType::Bf16,
        ];
        let gpu = any_gpu();
        let (rows, k) = (3, 512);
        for source in SOURCES.into_iter().chain(LOSSY).chain([SourceType::Q5_0, SourceType::Iq4Nl]) {
            let (weight, values) = gpu.weight(source, rows, k, 7);
            let tokens: Vec<_> = (0..rows as u32).map(|token| Row { token, ..Row::default() }).collect();
            let (batch, x) = (gpu.upload(&tokens), gpu.poisoned("x", rows * k));
            let args = Embed { rows: &batch, weight: &weight, x: &x, first: 0, vocabulary: rows };
            let held = gpu.run(&embed(&gpu, args).unwrap(), rows, &x);
            for (held, values) in held.chunks(BLOCK).zip(values.chunks(BLOCK)) {
                let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
                let allowed = match source {
                    SourceType::Q4K => 2e-3,
                    _ if LOSSY.contains(&source) => 0.51 / 32767.0,
                    _ => 2e-7,
                };
                for (held, value) in held.iter().zip(values) {
                    assert!((held - value).abs() <= allowed * largest, "{source:?}: {held} {value} {largest}");
                }
            }
        }
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
