//! Seeded data: what the self-test and the kernel tests run on.

use half::f16;
use rand::{Rng as _, SeedableRng};

use crate::{Gpu, Result, Row, Sequence, SourceType, Weight, dequantise};

/// Seeded numbers.
pub(crate) struct Rng(rand_chacha::ChaCha8Rng);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(rand_chacha::ChaCha8Rng::seed_from_u64(seed))
    }

    /// Roughly normal values (sum of twelve uniforms).
    pub(crate) fn normal(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (0..12).map(|_| self.0.random::<f32>()).sum::<f32>() - 6.0).collect()
    }

    /// Integers below `end`.
    pub(crate) fn below(&mut self, end: u32, n: usize) -> Vec<u32> {
        (0..n).map(|_| self.0.random_range(0..end)).collect()
    }
}

/// Where a block has f16 numbers, in bytes: what its quants are multiplied by, and an offset or a factor of offsets.
const fn halves_of(source: SourceType) -> &'static [usize] {
    match source {
        SourceType::Q4_1 | SourceType::Q5_1 | SourceType::Q4K | SourceType::Q5K => &[0, 2],
        SourceType::Q2K => &[80, 82],
        SourceType::Q3K => &[108],
        SourceType::Q6K => &[208],
        _ => &[0],
    }
}

/// Bytes of `n` rows of `k` elements (whole blocks) as they might stand in a model file, values of the order of 1.
pub(crate) fn random_source(source: SourceType, n: usize, k: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let (elements, unit_bytes) = source.unit();
    let mut bytes = Vec::with_capacity(n * k / elements * unit_bytes);
    // Quants, and the scales of parts of a block, are of the order of this.
    let spread = match source {
        SourceType::Q4_0 | SourceType::Q4_1 => 5.0,
        SourceType::Q5_0 | SourceType::Q5_1 => 10.0,
        SourceType::Q3K | SourceType::Q2K => 20.0,
        SourceType::Q4K | SourceType::Q5K => 300.0,
        SourceType::Q6K => 1000.0,
        _ => 100.0,
    };
    for _ in 0..n * k / elements {
        let value = rng.normal(2);
        match source {
            SourceType::F32 => bytes.extend(value[0].to_le_bytes()),
            SourceType::F16 => bytes.extend(f16::from_f32(value[0]).to_le_bytes()),
            SourceType::Bf16 => bytes.extend(&value[0].to_le_bytes()[2..]),
            SourceType::Q16 => {
                bytes.extend((value[0] * 4e-5).to_le_bytes());
                bytes.extend(rng.below(256, unit_bytes - 4).into_iter().map(|b| b as u8));
            }
            _ => {
                let mut unit: Vec<u8> = rng.below(256, unit_bytes).into_iter().map(|b| b as u8).collect();
                let offset = if elements == 256 { value[1] / 50.0 } else { value[1] };
                for (&at, half) in halves_of(source).iter().zip([value[0] / spread, offset]) {
                    unit[at..at + 2].copy_from_slice(&f16::from_f32(half).to_le_bytes());
                }
                bytes.extend(unit);
            }
        }
    }
    bytes
}

/// A random weight matrix with its values, [n, k].
pub(crate) fn random_weight(
    gpu: &Gpu,
    source: SourceType,
    n: usize,
    k: usize,
    seed: u64,
) -> Result<(Weight, Vec<f32>)> {
    let bytes = random_source(source, n, k, seed);
    let weight = Weight::new(gpu, "weight", source.format(), n, k)?;
    weight.upload_rows(gpu, 0, source, &bytes)?;
    Ok((weight, dequantise(source, &bytes)))
}

/// A packed training batch: a shared prefix as sequence 0, then sequences that go on from it.
pub(crate) struct PackedBatch {
    pub(crate) rows: Vec<Row>,
    pub(crate) sequences: Vec<Sequence>,
    /// For each row, one past the last row that sees its key.
    pub(crate) query_end: Vec<u32>,
}

impl PackedBatch {
    /// `prefix` shared rows, then one sequence of each length; all in adapter slot 1.
    pub(crate) fn new(prefix: usize, lengths: &[usize]) -> Self {
        let total = prefix + lengths.iter().sum::<usize>();
        let mut batch = Self { rows: vec![], sequences: vec![Sequence::new(0)], query_end: vec![total as u32; prefix] };
        for position in 0..prefix as u32 {
            batch.rows.push(Row { position, slot: 1, ..Row::default() });
        }
        for &length in lengths {
            let (start, sequence) = (batch.rows.len() as u32, batch.sequences.len() as u32);
            batch.sequences.push(Sequence { prefix_start: 0, prefix_length: prefix as u32, start, gate: 1.0 });
            for i in 0..length as u32 {
                batch.rows.push(Row { position: prefix as u32 + i, sequence, slot: 1, ..Row::default() });
                batch.query_end.push(start + length as u32);
            }
        }
        batch
    }

    /// The rows whose keys row `t` sees.
    pub(crate) fn keys(&self, t: usize) -> Vec<usize> {
        let sequence = &self.sequences[self.rows[t].sequence as usize];
        (0..=self.rows[t].position).map(|p| sequence.kv_index(p) as usize).collect()
    }
}
