//! What comes back from the device.

use futures::channel::oneshot;

use crate::context::Gpu;
use crate::error::{GpuError, Result};
use crate::memory::Buffer;

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
        let size = words as u64 * 4;
        let staging = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("read-back"),
            size: size.max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer.raw(), offset as u64 * 4, &staging, 0, size);
        let submission = self.queue().submit([encoder.finish()]);
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
        let polled = self.device().poll(wait);
        let mapped = receiver.await;
        self.check()?;
        polled.map_err(|e| GpuError::DeviceLost(e.to_string()))?;
        match mapped {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(GpuError::DeviceLost(e.to_string())),
            Err(_) => Err(GpuError::DeviceLost("the read-back was dropped".into())),
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
