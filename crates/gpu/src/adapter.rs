//! Which adapter is taken, and of which kind it is.

use crate::error::{GpuError, Result};

/// Whether the adapter emulates a GPU on the processor. Kernels choose their variant by it: barriers and workgroup
/// memory are slow when emulated and fast on real hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// A software adapter (lavapipe, SwiftShader, WARP).
    Cpu,
    /// Real graphics hardware.
    Gpu,
}

/// What is asked of [`Gpu::request`](crate::Gpu::request).
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// Part of an adapter's name, without regard to case; the most powerful one where `None`.
    pub adapter: Option<String>,
    /// Forces the kernel variants of this kind, for tests and measurements.
    pub kernels: Option<AdapterKind>,
    /// Leaves subgroups unused, for tests and measurements of the kernels for adapters without them.
    pub without_subgroups: bool,
    /// Rounds what goes into large products to half precision, which halves what goes through workgroup memory. Sums stay
    /// f32. For the kernels for GPUs.
    pub half_products: bool,
}

pub(crate) fn kind_of(info: &wgpu::AdapterInfo) -> AdapterKind {
    // In the browser the device type is always `Other`; the software adapter gives itself away by name.
    let name = format!("{} {} {}", info.name, info.driver, info.driver_info).to_lowercase();
    let software = ["swiftshader", "llvmpipe", "lavapipe", "basic render", "warp"];
    if info.device_type == wgpu::DeviceType::Cpu || software.iter().any(|s| name.contains(s)) {
        AdapterKind::Cpu
    } else {
        AdapterKind::Gpu
    }
}

pub(crate) async fn choose_adapter(instance: &wgpu::Instance, name: Option<&str>) -> Result<wgpu::Adapter> {
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
