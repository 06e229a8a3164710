//! What the kernel tests share: a device of each kind, poisoned buffers, seeded data, comparison with a twin.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ops::Deref;

use rand::{Rng as _, SeedableRng};

use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuOptions};

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

impl TestGpu {
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
