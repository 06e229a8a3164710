//! The device: adapter choice, buffers, kernels, read-back.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

use crate::commands::Commands;
use crate::error::{GpuError, Result};
use crate::kernel::{Dispatch, Grid, Kernel, Shader};
use crate::memory::{Buffer, MemoryCounter};
use crate::tuning::Tuning;

/// Whether the adapter emulates a GPU on the processor. Kernels choose their variant by it: barriers and workgroup
/// memory are slow when emulated and fast on real hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// A software adapter (lavapipe, SwiftShader, WARP).
    Cpu,
    /// Real graphics hardware.
    Gpu,
}

/// What is asked of [`Gpu::request`].
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// Part of an adapter's name, without regard to case; the most powerful one where `None`.
    pub adapter: Option<String>,
    /// Forces the kernel variants of this kind, for tests and measurements.
    pub kernels: Option<AdapterKind>,
    /// Leaves subgroups unused, for tests and measurements of the kernels for adapters without them.
    pub without_subgroups: bool,
}

/// A device with its queue, compiled kernels and memory count. Cloning is cheap and shares all of it.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    limits: wgpu::Limits,
    features: wgpu::Features,
    kind: AdapterKind,
    memory: Arc<MemoryCounter>,
    kernels: Mutex<HashMap<KernelKey, Arc<Kernel>>>,
    failure: Arc<Mutex<Option<GpuError>>>,
    tuning: Mutex<Tuning>,
}

#[derive(PartialEq, Eq, Hash)]
struct KernelKey {
    shader: &'static str,
    entry: &'static str,
    constants: Vec<(&'static str, u64)>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("adapter", &self.0.info.name).field("kind", &self.0.kind).finish()
    }
}

impl Gpu {
    /// Opens an adapter with all the limits it offers and the optional features tmem can use.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`] and [`GpuError::NoDevice`], with what to install or switch on.
    pub async fn request(options: &GpuOptions) -> Result<Self> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = choose_adapter(&instance, options.adapter.as_deref()).await?;
        let info = adapter.get_info();
        let limits = adapter.limits();
        let mut wanted = wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
        wanted.set(wgpu::Features::SUBGROUP, !options.without_subgroups);
        let features = adapter.features() & wanted;
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("tmem"),
                required_features: features,
                required_limits: limits.clone(),
                memory_hints: wgpu::MemoryHints::Performance,
                ..Default::default()
            })
            .await
            .map_err(|e| GpuError::NoDevice { adapter: info.name.clone(), reason: e.to_string() })?;
        let failure = Arc::new(Mutex::new(None));
        watch(&device, &failure);
        let kind = options.kernels.unwrap_or_else(|| kind_of(&info));
        Ok(Self(Arc::new(Inner {
            device,
            queue,
            info,
            limits,
            features,
            kind,
            memory: Arc::default(),
            kernels: Mutex::default(),
            failure,
            tuning: Mutex::default(),
        })))
    }

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Name, vendor, driver and backend of the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.0.info
    }

    /// Adapter, driver, kernels and our own version: what a measurement, or a result to the last bit, is good for.
    pub fn identity(&self) -> String {
        let Inner { info, kind, .. } = &*self.0;
        let subgroups = if self.has_subgroups_of(8) { "subgroups" } else { "no subgroups" };
        let version = env!("CARGO_PKG_VERSION");
        let wgpu::AdapterInfo { name, driver, driver_info, backend, .. } = info;
        format!("{name} | {driver} {driver_info} | {backend:?} {kind:?} {subgroups} | {version}")
    }

    /// The device's limits (the adapter's own).
    pub fn limits(&self) -> &wgpu::Limits {
        &self.0.limits
    }

    /// Bytes of the largest storage buffer that a kernel can read or write whole.
    pub fn largest_binding(&self) -> u64 {
        self.0.limits.max_storage_buffer_binding_size.min(self.0.limits.max_buffer_size)
    }

    /// The optional features in use.
    pub fn features(&self) -> wgpu::Features {
        self.0.features
    }

    /// Which family of kernel variants this device runs.
    pub fn kind(&self) -> AdapterKind {
        self.0.kind
    }

    /// Where the variants found by measurement are kept.
    pub(crate) fn tuning_cell(&self) -> &Mutex<Tuning> {
        &self.0.tuning
    }

    /// Whether kernels may share values among `lanes` neighbouring invocations: subgroups are at least that large.
    /// Never in the page, whose WGSL needs a directive for it (`enable subgroups;`) that wgpu's own compiler refuses;
    /// the one emulated adapter there has subgroups of 4.
    pub fn has_subgroups_of(&self, lanes: u32) -> bool {
        !cfg!(target_arch = "wasm32")
            && self.0.features.contains(wgpu::Features::SUBGROUP)
            && self.0.info.subgroup_min_size >= lanes
    }

    /// Bytes held in buffers, now and at most.
    pub fn memory(&self) -> &MemoryCounter {
        &self.0.memory
    }

    /// A storage buffer of `words` 4-byte elements, zeroed by the driver, usable as source and target of copies.
    ///
    /// # Errors
    /// [`GpuError::TooLarge`] where one binding cannot hold it; a failure that the device reported earlier.
    pub fn storage(&self, label: &str, words: usize) -> Result<Buffer> {
        let size = (words.max(1) as u64) * 4;
        let limit = self.largest_binding();
        if size > limit {
            return Err(GpuError::TooLarge { label: label.to_owned(), size, limit });
        }
        self.buffer(label, size, wgpu::BufferUsages::STORAGE)
    }

    /// A storage buffer that kernels may also bind as a uniform.
    ///
    /// # Errors
    /// As [`storage`](Self::storage), with the limit of uniform bindings.
    pub fn uniform_storage(&self, label: &str, words: usize) -> Result<Buffer> {
        let (size, limit) = ((words.max(1) as u64) * 4, self.0.limits.max_uniform_buffer_binding_size);
        if size > limit {
            return Err(GpuError::TooLarge { label: label.to_owned(), size, limit });
        }
        self.buffer(label, size, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM)
    }

    /// A storage buffer holding `data`.
    ///
    /// # Errors
    /// As [`storage`](Self::storage).
    pub fn storage_from<T: bytemuck::NoUninit>(&self, label: &str, data: &[T]) -> Result<Buffer> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let buffer = self.storage(label, bytes.len().div_ceil(4))?;
        self.write(&buffer, 0, data);
        Ok(buffer)
    }

    /// A uniform buffer holding `value` (padded to 16 bytes).
    ///
    /// # Errors
    /// A failure that the device reported earlier.
    pub fn uniform<T: bytemuck::NoUninit>(&self, label: &str, value: &T) -> Result<Buffer> {
        let bytes = bytemuck::bytes_of(value);
        let buffer = self.buffer(label, (bytes.len() as u64).next_multiple_of(16), wgpu::BufferUsages::UNIFORM)?;
        self.write(&buffer, 0, bytes);
        Ok(buffer)
    }

    fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> Result<Buffer> {
        self.check()?;
        let raw = self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: usage | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.check()?;
        Ok(Buffer::new(raw, label, Arc::clone(&self.0.memory)))
    }

    /// Uploads `data` at byte `offset` before the next submit. The byte length is padded to 4 with zeroes.
    pub fn write<T: bytemuck::NoUninit>(&self, buffer: &Buffer, offset: u64, data: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let whole = bytes.len() / 4 * 4;
        self.0.queue.write_buffer(buffer.raw(), offset, &bytes[..whole]);
        if whole < bytes.len() {
            let mut last = [0u8; 4];
            last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.0.queue.write_buffer(buffer.raw(), offset + whole as u64, &last);
        }
    }

    /// The kernel for one entry point with its `override` constants, compiled on first use.
    ///
    /// # Errors
    /// A failure that the device reported earlier (natively also a refused shader; the page learns of that at the
    /// next read-back).
    pub fn kernel(
        &self,
        shader: &Shader,
        entry: &'static str,
        constants: &[(&'static str, f64)],
    ) -> Result<Arc<Kernel>> {
        let key = KernelKey {
            shader: shader.name,
            entry,
            constants: constants.iter().map(|&(name, value)| (name, value.to_bits())).collect(),
        };
        let mut kernels = self.0.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = kernels.get(&key) {
            return Ok(Arc::clone(kernel));
        }
        let label = format!("{}.{entry}", shader.name);
        let module = self.0.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(Cow::Owned(shader.source())),
        });
        let pipeline = self.0.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: None,
            module: &module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        self.check()?;
        let layout = pipeline.get_bind_group_layout(0);
        let kernel = Arc::new(Kernel { label, pipeline, layout });
        kernels.insert(key, Arc::clone(&kernel));
        Ok(kernel)
    }

    /// Binds `buffers` (binding number, buffer) to a kernel.
    ///
    /// # Errors
    /// A failure that the device reported.
    pub fn bind(&self, kernel: &Arc<Kernel>, grid: Grid, buffers: &[(u32, &Buffer)]) -> Result<Dispatch> {
        let entries: Vec<_> = buffers
            .iter()
            .map(|&(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.raw().as_entire_binding() })
            .collect();
        let bind_group = self.0.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&kernel.label),
            layout: &kernel.layout,
            entries: &entries,
        });
        self.check()?;
        let held = buffers.iter().map(|&(_, buffer)| buffer.clone()).collect();
        Ok(Dispatch::new(Arc::clone(kernel), bind_group, grid, held))
    }

    /// Starts recording.
    pub fn commands(&self, label: &str) -> Commands<'_> {
        Commands::new(self, label)
    }

    /// Reads `words` 4-byte elements from element `offset`, after everything submitted so far.
    ///
    /// # Errors
    /// A lost device, or whatever the device refused since the last check.
    pub async fn read<T: bytemuck::Pod>(&self, buffer: &Buffer, offset: usize, words: usize) -> Result<Vec<T>> {
        self.start_read(buffer, offset, words)?.finish().await
    }

    /// Queues a read-back and returns at once; the copy takes its place behind everything submitted so far.
    ///
    /// # Errors
    /// A failure that the device reported earlier.
    pub fn start_read(&self, buffer: &Buffer, offset: usize, words: usize) -> Result<ReadBack> {
        self.check()?;
        let size = words as u64 * 4;
        let staging = self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read-back"),
            size: size.max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.0.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer.raw(), offset as u64 * 4, &staging, 0, size);
        let submission = self.0.queue.submit([encoder.finish()]);
        let (sender, receiver) = oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only when nobody wants the data any more.
            let _ = sender.send(result);
        });
        Ok(ReadBack { gpu: self.clone(), staging, size, submission, receiver })
    }

    /// Waits for a mapped staging buffer.
    pub(crate) async fn wait_for_map(
        &self,
        submission: wgpu::SubmissionIndex,
        receiver: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
    ) -> Result<()> {
        // Natively this blocks until the copy is done; in the browser it returns at once and the event loop delivers
        // the callback. It is the one place where the two differ, and wgpu hides it.
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        let polled = self.0.device.poll(wait);
        let mapped = receiver.await;
        self.check()?;
        polled.map_err(|e| GpuError::DeviceLost(e.to_string()))?;
        match mapped {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(GpuError::DeviceLost(e.to_string())),
            Err(_) => Err(GpuError::DeviceLost("the read-back was dropped".into())),
        }
    }

    /// Waits until everything submitted has run.
    ///
    /// # Errors
    /// A lost device, or whatever the device refused since the last check.
    pub async fn finish(&self) -> Result<()> {
        let probe = self.uniform("finish", &0u32)?;
        self.read::<u32>(&probe, 0, 1).await.map(drop)
    }

    /// The first failure that the device reported, if any. A lost device stays lost; other failures are told once.
    ///
    /// # Errors
    /// That failure.
    pub fn check(&self) -> Result<()> {
        let mut failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failure {
            None => Ok(()),
            Some(lost @ GpuError::DeviceLost(_)) => Err(lost.clone()),
            Some(_) => failure.take().map_or(Ok(()), Err),
        }
    }
}

/// A read-back on its way.
pub struct ReadBack {
    gpu: Gpu,
    staging: wgpu::Buffer,
    size: u64,
    submission: wgpu::SubmissionIndex,
    receiver: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl ReadBack {
    /// Waits for the data.
    ///
    /// # Errors
    /// A lost device, or whatever the device refused since the last check.
    pub async fn finish<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        self.gpu.wait_for_map(self.submission, self.receiver).await?;
        let view = self.staging.get_mapped_range(0..self.size).map_err(|e| GpuError::Validation(e.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }
}

fn kind_of(info: &wgpu::AdapterInfo) -> AdapterKind {
    // In the browser the device type is always `Other`; the software adapter gives itself away by name.
    let name = format!("{} {} {}", info.name, info.driver, info.driver_info).to_lowercase();
    let software = ["swiftshader", "llvmpipe", "lavapipe", "basic render", "warp"];
    if info.device_type == wgpu::DeviceType::Cpu || software.iter().any(|s| name.contains(s)) {
        AdapterKind::Cpu
    } else {
        AdapterKind::Gpu
    }
}

async fn choose_adapter(instance: &wgpu::Instance, name: Option<&str>) -> Result<wgpu::Adapter> {
    let hint = if cfg!(target_arch = "wasm32") {
        "This browser has no WebGPU here: use a current Chrome, Edge, Safari or Firefox and switch on hardware acceleration"
    } else {
        "Install a Vulkan driver (on Debian or Ubuntu: `apt-get install mesa-vulkan-drivers`)"
    };
    let missing = |wish: String| GpuError::NoAdapter { wish, hint: hint.to_owned() };
    let Some(name) = name else {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        return instance.request_adapter(&options).await.map_err(|_| missing(String::new()));
    };
    let wanted = name.to_lowercase();
    let adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let names: Vec<_> = adapters.iter().map(|a| a.get_info().name).collect();
    adapters
        .into_iter()
        .find(|a| a.get_info().name.to_lowercase().contains(&wanted))
        .ok_or_else(|| missing(format!(" matching `{name}` (there are: {})", names.join(", "))))
}

fn watch(device: &wgpu::Device, failure: &Arc<Mutex<Option<GpuError>>>) {
    let record = |failure: &Mutex<Option<GpuError>>, error: GpuError| {
        let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() || matches!(error, GpuError::DeviceLost(_)) {
            *first = Some(error);
        }
    };
    let target = Arc::clone(failure);
    device.on_uncaptured_error(Arc::new(move |error| {
        record(
            &target,
            match error {
                wgpu::Error::OutOfMemory { source } => GpuError::OutOfMemory(source.to_string()),
                wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                    GpuError::Validation(description)
                }
            },
        );
    }));
    let target = Arc::clone(failure);
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            record(&target, GpuError::DeviceLost(message));
        }
    });
}
