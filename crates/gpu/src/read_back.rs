//! What comes back from the device.

use futures::channel::oneshot;

use crate::commands::Commands;
use crate::context::Gpu;
use crate::error::{GpuError, Result};
use crate::memory::Buffer;

/// A buffer that a copy on the device can be read from.
pub(crate) fn staging_buffer(gpu: &Gpu, label: &str, words: usize) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: (words as u64 * 4).max(4),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// A copy into a staging buffer on its way.
pub(crate) struct StagedCopy {
    staging: wgpu::Buffer,
    size: u64,
    submission: wgpu::SubmissionIndex,
    receiver: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl StagedCopy {
    /// Appends a copy of `words` elements of `source`, from element `offset` on, to `commands`, and submits them.
    pub(crate) fn start(
        commands: Commands<'_>,
        source: &Buffer,
        offset: usize,
        staging: wgpu::Buffer,
        words: usize,
    ) -> Self {
        let size = words as u64 * 4;
        let submission = commands.submit_with_copy(source, offset as u64 * 4, &staging, size);
        let (sender, receiver) = oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only when nobody wants the data any more.
            let _ = sender.send(result);
        });
        Self { staging, size, submission, receiver }
    }

    /// Waits for the data; gives the staging buffer back.
    ///
    /// # Errors
    /// A lost device, or whatever the device refused since the last check.
    pub(crate) async fn finish<T: bytemuck::Pod>(self, gpu: &Gpu) -> Result<(Vec<T>, wgpu::Buffer)> {
        let Self { staging, size, submission, receiver } = self;
        // Natively this blocks until the copy is done; in the browser it returns at once and the event loop delivers
        // the callback. It is the one place where the two differ, and wgpu hides it.
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        let polled = gpu.device().poll(wait);
        let mapped = receiver.await;
        gpu.check()?;
        polled.map_err(|e| GpuError::DeviceLost(e.to_string()))?;
        match mapped {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(GpuError::DeviceLost(e.to_string())),
            Err(_) => return Err(GpuError::DeviceLost("the read-back was dropped".into())),
        }
        let data = {
            let view = staging.get_mapped_range(0..size).map_err(|e| GpuError::Validation(e.to_string()))?;
            bytemuck::pod_collect_to_vec(&view)
        };
        staging.unmap();
        Ok((data, staging))
    }
}

impl Gpu {
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
        let staging = staging_buffer(self, "read-back", words);
        let copy = StagedCopy::start(self.commands("read-back"), buffer, offset, staging, words);
        Ok(ReadBack { gpu: self.clone(), copy })
    }
}

/// A read-back on its way.
pub struct ReadBack {
    gpu: Gpu,
    copy: StagedCopy,
}

impl ReadBack {
    /// Waits for the data.
    ///
    /// # Errors
    /// A lost device, or whatever the device refused since the last check.
    pub async fn finish<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        Ok(self.copy.finish(&self.gpu).await?.0)
    }
}
