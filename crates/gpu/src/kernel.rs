//! Shaders, compiled kernels and dispatches.
//!
//! A [`Shader`] is a WGSL text, a [`Kernel`] one entry point of it compiled with its `override` constants, a
//! [`Dispatch`] a kernel bound to buffers with its grid. A dispatch is built once and recorded as often as wanted.

use std::sync::Arc;

use crate::memory::Buffer;

/// One WGSL file (with its includes already in front).
#[derive(Debug, Clone, Copy)]
pub struct Shader {
    /// File name without `.wgsl`, with `+` and the name of each include: unique among all shaders.
    pub name: &'static str,
    /// The WGSL text, each include apart, so that a program holds it once for all shaders that include it.
    pub parts: &'static [&'static str],
}

impl Shader {
    /// The whole WGSL text.
    pub fn source(&self) -> String {
        self.parts.join("\n")
    }
}

/// Declares a [`Shader`] from files below `shaders/`, which the build script has taken comments out of: `shader!("rms_norm")`,
/// `shader!("matmul", include "weights")` puts `shaders/include/weights.wgsl` in front.
macro_rules! shader {
    ($name:literal $(, include $include:literal)*) => {
        $crate::Shader {
            name: concat!($name $(, "+", $include)*),
            parts: &[
                $(include_str!(concat!(env!("OUT_DIR"), "/shaders/include/", $include, ".wgsl")),)*
                include_str!(concat!(env!("OUT_DIR"), "/shaders/", $name, ".wgsl")),
            ],
        }
    };
}
pub(crate) use shader;

/// A compiled entry point.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) label: String,
    pub(crate) shader: Shader,
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// What a kernel was compiled from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its shader.
    pub shader: Shader,
    /// Its entry point.
    pub entry: &'static str,
    /// Its `override` constants.
    pub constants: Vec<(&'static str, f64)>,
}

/// How many workgroups a dispatch takes. By convention of this crate the y axis covers rows, so that one dispatch
/// built for the largest batch serves every smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Workgroups along x.
    pub x: u32,
    /// Rows that one workgroup covers along y; 0 where the kernel does not go over rows (y = 1).
    pub rows_per_group: u32,
    /// Workgroups along z.
    pub z: Depth,
}

/// Workgroups along z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// As many for every batch.
    Fixed(u32),
    /// One for each span where the keys of rows are split; else 1.
    Spans(KeySplit),
    /// 1 where the keys of rows are split; else none, so that the dispatch is left out.
    WhereSplit(KeySplit),
}

/// When the keys of a batch's rows are divided among several workgroups each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySplit {
    /// Workgroups that a row's keys are divided among.
    pub spans: u32,
    /// They are where a row has more keys than this,
    pub longer_than: u32,
    /// and the batch at most so many rows.
    pub most_rows: u32,
}

impl KeySplit {
    /// Whether it applies to a batch of `rows` rows with up to `keys` keys each.
    pub const fn applies(self, rows: u32, keys: u32) -> bool {
        keys > self.longer_than && rows <= self.most_rows
    }
}

impl Grid {
    /// A grid over `x` workgroups alone.
    pub const fn flat(x: u32) -> Self {
        Self { x, rows_per_group: 0, z: Depth::Fixed(1) }
    }

    /// A grid of `x` workgroups by rows, `rows_per_group` of them to a workgroup.
    pub const fn over_rows(x: u32, rows_per_group: u32) -> Self {
        Self { x, rows_per_group, z: Depth::Fixed(1) }
    }

    /// Workgroup counts for a batch of `rows` with up to `keys` keys each.
    pub const fn workgroups(self, rows: u32, keys: u32) -> [u32; 3] {
        let y = if self.rows_per_group == 0 { 1 } else { rows.div_ceil(self.rows_per_group) };
        let z = match self.z {
            Depth::Fixed(z) => z,
            Depth::Spans(split) => {
                if split.applies(rows, keys) {
                    split.spans
                } else {
                    1
                }
            }
            Depth::WhereSplit(split) => split.applies(rows, keys) as u32,
        };
        [self.x, y, z]
    }
}

/// A kernel bound to its buffers. Keeps the buffers alive.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) bind_group: wgpu::BindGroup,
    pub(crate) grid: Grid,
    /// Held so that no bound buffer is freed before the dispatch is.
    _buffers: Vec<Buffer>,
}

impl Dispatch {
    pub(crate) fn new(kernel: Arc<Kernel>, bind_group: wgpu::BindGroup, grid: Grid, buffers: Vec<Buffer>) -> Self {
        Self { kernel, bind_group, grid, _buffers: buffers }
    }

    /// Records it for these numbers of workgroups.
    pub(crate) fn record(&self, pass: &mut wgpu::ComputePass<'_>, [x, y, z]: [u32; 3]) {
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }

    /// Name of the kernel, for profiles and errors.
    pub fn label(&self) -> &str {
        &self.kernel.label
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }
}
