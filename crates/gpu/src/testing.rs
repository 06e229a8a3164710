//! What the kernel tests share: a device of each kind, poisoned buffers, comparison with a twin.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ops::Deref;

use crate::seeded::random_weight;
pub(crate) use crate::seeded::{PackedBatch, Rng, random_source};
use crate::twins::compare;
use crate::{AdapterKind, Buffer, Dispatch, Gpu, GpuOptions, SourceType, Weight};

/// Every source type, and with it every weight format.
pub(crate) const SOURCES: [SourceType; 6] =
    [SourceType::Q4_0, SourceType::Q4_1, SourceType::Q8_0, SourceType::Q16, SourceType::F16, SourceType::F32];

/// A device for tests.
pub(crate) struct TestGpu(Gpu);

impl Deref for TestGpu {
    type Target = Gpu;
    fn deref(&self) -> &Gpu {
        &self.0
    }
}

/// Runs a test with the kernel variants for emulated adapters, with subgroups (where there are any) and without, and
/// again with those for real GPUs. Without an adapter the test fails: a kernel that was not run is not a kernel that works.
pub(crate) fn on_every_kind(test: impl Fn(&TestGpu)) {
    for (kind, without_subgroups) in [(AdapterKind::Cpu, false), (AdapterKind::Cpu, true), (AdapterKind::Gpu, false)] {
        test(&open(GpuOptions { kernels: Some(kind), without_subgroups, ..GpuOptions::default() }));
    }
}

/// A device with the kernel variants for real GPUs, and products in half precision.
pub(crate) fn gpu_with_half_products() -> TestGpu {
    open(GpuOptions { kernels: Some(AdapterKind::Gpu), half_products: true, ..GpuOptions::default() })
}

/// A device with the kernel variants of its own kind.
pub(crate) fn any_gpu() -> TestGpu {
    open(GpuOptions::default())
}

/// The adapter that `TMEM_ADAPTER` names, else the default one.
fn open(options: GpuOptions) -> TestGpu {
    let options = GpuOptions { adapter: std::env::var("TMEM_ADAPTER").ok(), ..options };
    TestGpu(pollster::block_on(Gpu::request(&options)).unwrap())
}

impl TestGpu {
    /// A random weight matrix with its values, [n, k].
    pub(crate) fn weight(&self, source: SourceType, n: usize, k: usize, seed: u64) -> (Weight, Vec<f32>) {
        random_weight(self, source, n, k, seed).unwrap()
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

/// Panics where [`compare`] finds a difference.
pub(crate) fn assert_close(got: &[f32], want: &[f64], tolerance: f64) {
    if let Err(difference) = compare(got, want, tolerance) {
        panic!("{difference}");
    }
}
