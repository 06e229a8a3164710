//! The device: buffers and kernels.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::adapter::{AdapterKind, GpuOptions, choose_adapter, kind_of};
use crate::commands::Commands;
use crate::error::{GpuError, Result};
use crate::kernel::{Dispatch, Grid, Kernel, Origin, Shader};
use crate::memory::{Buffer, MemoryCounter};
use crate::tuning::Tuning;

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
    half_products: bool,
    memory: Arc<MemoryCounter>,
    /// Parsed shaders, by the address of their text.
    modules: Mutex<HashMap<usize, wgpu::ShaderModule>>,
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
            half_products: options.half_products && kind == AdapterKind::Gpu,
            memory: Arc::default(),
            modules: Mutex::default(),
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
        let precision = self.product_precision();
        let version = env!("CARGO_PKG_VERSION");
        let wgpu::AdapterInfo { name, driver, driver_info, backend, .. } = info;
        format!("{name} | {driver} {driver_info} | {backend:?} {kind:?} {subgroups} {precision} products | {version}")
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

    /// Whether the products of prefill and training ([`ops::matmul`](crate::ops::matmul)) take rows and weights in half
    /// precision.
    pub fn has_half_products(&self) -> bool {
        self.0.half_products
    }

    /// The same in a word: `full` or `half`.
    pub fn product_precision(&self) -> &'static str {
        if self.has_half_products() { "half" } else { "full" }
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
        let module = self.module(shader);
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
        let kernel = Arc::new(Kernel { label, shader: *shader, pipeline, layout });
        kernels.insert(key, Arc::clone(&kernel));
        Ok(kernel)
    }

    /// The shader's text, taken apart on first use: many kernels are one text with other constants.
    fn module(&self, shader: &Shader) -> wgpu::ShaderModule {
        let mut modules = self.0.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            self.0.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(shader.name),
                source: wgpu::ShaderSource::Wgsl(Cow::Owned(shader.source())),
            })
        };
        modules.entry(shader.parts.as_ptr() as usize).or_insert_with(make).clone()
    }

    /// What was compiled so far, in no particular order: for checks that give the same to other compilers.
    pub fn compiled(&self) -> Vec<Origin> {
        let kernels = self.0.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = |(key, kernel): (&KernelKey, &Arc<Kernel>)| Origin {
            shader: kernel.shader,
            entry: key.entry,
            constants: key.constants.iter().map(|&(name, bits)| (name, f64::from_bits(bits))).collect(),
        };
        kernels.iter().map(origin).collect()
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
    pub const fn commands<'g>(&'g self, label: &'g str) -> Commands<'g> {
        Commands::new(self, label)
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
