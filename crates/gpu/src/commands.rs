//! Recording and submitting work.

use crate::context::Gpu;
use crate::kernel::Dispatch;
use crate::memory::Buffer;

/// Work being recorded. Consecutive dispatches share one compute pass; nothing runs before [`submit`](Self::submit) or
/// [`flush`](Self::flush).
pub struct Commands<'g> {
    gpu: &'g Gpu,
    label: &'g str,
    /// `None` where nothing is recorded.
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    dispatches: usize,
}

impl<'g> Commands<'g> {
    pub(crate) const fn new(gpu: &'g Gpu, label: &'g str) -> Self {
        Self { gpu, label, encoder: None, pass: None, dispatches: 0 }
    }

    /// The encoder, between passes.
    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some(self.label) };
        self.encoder.get_or_insert_with(|| self.gpu.device().create_command_encoder(&descriptor))
    }

    /// Records a dispatch over `rows` rows (ignored by kernels whose grid is flat), whose keys are not split. Zero rows
    /// record nothing.
    pub fn dispatch(&mut self, dispatch: &Dispatch, rows: u32) {
        self.dispatch_with_keys(dispatch, rows, 0);
    }

    /// Records a dispatch over `rows` rows, of which none has more than `keys` keys. Keys are split where that pays
    /// ([`KeySplit`](crate::KeySplit)), which changes no bit of a result.
    pub fn dispatch_with_keys(&mut self, dispatch: &Dispatch, rows: u32, keys: u32) {
        let workgroups = dispatch.grid.workgroups(rows, keys);
        if workgroups.contains(&0) {
            return;
        }
        let mut pass = self.pass.take().unwrap_or_else(|| {
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes: None };
            self.encoder().begin_compute_pass(&descriptor).forget_lifetime()
        });
        dispatch.record(&mut pass, workgroups);
        self.pass = Some(pass);
        self.dispatches += 1;
    }

    /// Copies `size` bytes between buffers (offsets and size in bytes, multiples of 4).
    pub fn copy(&mut self, source: &Buffer, source_offset: u64, target: &Buffer, target_offset: u64, size: u64) {
        self.encoder().copy_buffer_to_buffer(source.raw(), source_offset, target.raw(), target_offset, size);
    }

    /// Fills `size` bytes from `offset` with zero.
    pub fn clear(&mut self, buffer: &Buffer, offset: u64, size: u64) {
        self.encoder().clear_buffer(buffer.raw(), offset, Some(size));
    }

    /// Hands what was recorded since the last time, if anything, to the GPU, and goes on recording.
    pub fn flush(&mut self) {
        self.pass = None;
        if let Some(encoder) = self.encoder.take() {
            self.gpu.queue().submit([encoder.finish()]);
        }
    }

    /// Dispatches recorded so far.
    pub fn dispatches(&self) -> usize {
        self.dispatches
    }

    /// Appends a copy to a mappable buffer and submits everything.
    pub(crate) fn submit_with_copy(
        mut self,
        source: &Buffer,
        offset: u64,
        staging: &wgpu::Buffer,
        size: u64,
    ) -> wgpu::SubmissionIndex {
        self.encoder().copy_buffer_to_buffer(source.raw(), offset, staging, 0, size);
        self.pass = None;
        self.gpu.queue().submit(self.encoder.map(wgpu::CommandEncoder::finish))
    }

    /// Hands everything recorded to the GPU and returns at once.
    pub fn submit(mut self) {
        self.flush();
    }
}
