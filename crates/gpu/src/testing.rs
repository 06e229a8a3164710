//! What the kernel tests share: a device of each kind, poisoned buffers, seeded data, comparison with a twin.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ops::Deref;

use rand::{Rng as _, SeedableRng};

use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuOptions, Row, Sequence, SourceType, Weight, dequantise};

/// A device for tests.
pub(crate) struct TestGpu(Gpu);

impl Deref for TestGpu {
    type Target = Gpu;
    fn deref(&self) -> &Gpu {
        &self.0
    }
}

/// Runs a test with the kernel variants for emulated adapters and again with those for real GPUs. Without an adapter
/// the test fails: a kernel that was not run is not a kernel that works.
pub(crate) fn on_every_kind(test: impl Fn(&TestGpu)) {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let options = GpuOptions { adapter: std::env::var("TMEM_ADAPTER").ok(), kernels: Some(kind) };
        let gpu = pollster::block_on(Gpu::request(&options)).unwrap();
        test(&TestGpu(gpu));
    }
}

/// A device with the kernel variants of its own kind.
pub(crate) fn any_gpu() -> TestGpu {
    let options = GpuOptions { adapter: std::env::var("TMEM_ADAPTER").ok(), kernels: None };
    TestGpu(pollster::block_on(Gpu::request(&options)).unwrap())
}

/// Every source type, and with it every weight format.
pub(crate) const SOURCES: [SourceType; 5] =
    [SourceType::Q4_0, SourceType::Q4_1, SourceType::Q8_0, SourceType::F16, SourceType::F32];

/// Bytes of `n` rows of `k` elements as they might stand in a model file, values of the order of 1.
pub(crate) fn random_source(source: SourceType, n: usize, k: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let (elements, unit_bytes) = source.unit();
    let mut bytes = Vec::with_capacity(source.row_bytes(k).unwrap() * n);
    for _ in 0..n * k / elements {
        let value = rng.normal(2);
        match source {
            SourceType::F32 => bytes.extend(value[0].to_le_bytes()),
            SourceType::F16 => bytes.extend(half::f16::from_f32(value[0]).to_le_bytes()),
            _ => {
                let scale = if source == SourceType::Q8_0 { 0.01 } else { 0.2 };
                bytes.extend(half::f16::from_f32(value[0] * scale).to_le_bytes());
                if source == SourceType::Q4_1 {
                    bytes.extend(half::f16::from_f32(value[1]).to_le_bytes());
                }
                let quants = unit_bytes - if source == SourceType::Q4_1 { 4 } else { 2 };
                bytes.extend(rng.below(256, quants).into_iter().map(|b| b as u8));
            }
        }
    }
    bytes
}

impl TestGpu {
    /// A random weight matrix with its values, [n, k].
    pub(crate) fn weight(&self, source: SourceType, n: usize, k: usize, seed: u64) -> (Weight, Vec<f32>) {
        let bytes = random_source(source, n, k, seed);
        let weight = Weight::new(self, "weight", source.format(), n, k).unwrap();
        weight.upload_rows(self, 0, source, &bytes).unwrap();
        (weight, dequantise(source, &bytes))
    }

    /// A buffer full of NaN, so that nobody relies on zeroes.
    pub(crate) fn poisoned(&self, label: &str, words: usize) -> Buffer {
        self.storage_from(label, &vec![f32::NAN; words.max(1)]).unwrap()
    }

    /// A storage buffer holding `data`.
    pub(crate) fn upload<T: bytemuck::NoUninit>(&self, data: &[T]) -> Buffer {
        self.storage_from("data", data).unwrap()
    }

    /// A row count.
    pub(crate) fn count(&self, rows: usize) -> Buffer {
        self.uniform("count", &[rows as u32, 0, 0, 0]).unwrap()
    }

    /// Runs one dispatch over `rows` rows and reads `output` whole.
    pub(crate) fn run(&self, dispatch: &Dispatch, rows: usize, output: &Buffer) -> Vec<f32> {
        let mut commands = self.commands("test");
        commands.dispatch(dispatch, rows as u32);
        commands.submit();
        self.floats(output)
    }

    /// The whole buffer as f32.
    pub(crate) fn floats(&self, buffer: &Buffer) -> Vec<f32> {
        pollster::block_on(self.read(buffer, 0, buffer.words())).unwrap()
    }
}

/// Seeded test data.
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

/// Normalised mean squared error at most `tolerance`² and no value further off than 30 times the typical error
/// allowed; NaN anywhere fails.
pub(crate) fn assert_close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    let scale = (want.iter().map(|w| w * w).sum::<f64>() / want.len().max(1) as f64).sqrt().max(1e-30);
    let mut square = 0.0;
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(g) - w).abs();
        assert!(error <= 30.0 * tolerance * scale.max(w.abs()), "element {i}: got {g}, want {w} (scale {scale:e})");
        square += error * error;
    }
    let rms = (square / want.len().max(1) as f64).sqrt();
    assert!(rms <= tolerance * scale, "root mean square error {rms:e} against scale {scale:e}");
}

/// Softmax of a row, in f64.
pub(crate) fn softmax(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let powers: Vec<f64> = row.iter().map(|&v| f64::from(v - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
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
