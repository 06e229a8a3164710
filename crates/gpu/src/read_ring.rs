//! Read-backs that never stall: a ring of staging buffers, made once and used again.

use std::collections::VecDeque;

use crate::commands::Commands;
use crate::context::Gpu;
use crate::error::{GpuError, Result};
use crate::memory::Buffer;
use crate::read_back::{StagedCopy, staging_buffer};

/// A fixed number of small read-backs in flight. A decode loop submits step after step and collects the tokens of
/// earlier steps as they arrive; no buffer is created on the way.
pub struct ReadRing {
    gpu: Gpu,
    words: usize,
    free: Vec<wgpu::Buffer>,
    in_flight: VecDeque<StagedCopy>,
}

impl ReadRing {
    /// A ring of `depth` read-backs of `words` 4-byte elements each.
    ///
    /// # Errors
    /// A failure that the device reported.
    pub fn new(gpu: &Gpu, depth: usize, words: usize) -> Result<Self> {
        let free = (0..depth).map(|_| staging_buffer(gpu, "read ring", words)).collect();
        gpu.check()?;
        Ok(Self { gpu: gpu.clone(), words, free, in_flight: VecDeque::with_capacity(depth) })
    }

    /// Whether every staging buffer is on its way; then [`next`](Self::next) must be called first.
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Read-backs on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Appends a copy of the ring's number of words from `source` (at element `offset`) to `commands`, submits them
    /// and starts the read-back.
    ///
    /// # Errors
    /// A full ring, or a failure that the device reported.
    pub fn submit(&mut self, commands: Commands<'_>, source: &Buffer, offset: usize) -> Result<()> {
        self.gpu.check()?;
        let staging = self.free.pop().ok_or(GpuError::Shape {
            op: "read ring",
            reason: "more read-backs in flight than the ring holds".into(),
        })?;
        self.in_flight.push_back(StagedCopy::start(commands, source, offset, staging, self.words));
        Ok(())
    }

    /// The oldest read-back on its way, `None` where there is none.
    ///
    /// # Errors
    /// A lost device, or whatever the device refused since the last check.
    pub async fn next<T: bytemuck::Pod>(&mut self) -> Result<Option<Vec<T>>> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(None) };
        let (data, staging) = oldest.finish(&self.gpu).await?;
        self.free.push(staging);
        Ok(Some(data))
    }
}
