//! GPU buffers and the count of bytes they hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes in live buffers of one device, and the most there ever were at once.
#[derive(Debug, Default)]
pub struct MemoryCounter {
    live: AtomicU64,
    peak: AtomicU64,
    largest: AtomicU64,
}

impl MemoryCounter {
    /// Bytes in buffers alive now.
    pub fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// The largest value [`live`](Self::live) ever had.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Bytes of the largest buffer there ever was.
    pub fn largest(&self) -> u64 {
        self.largest.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.largest.fetch_max(bytes, Ordering::Relaxed);
        let now = self.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A storage, uniform or read-back buffer. Freed (and no longer counted) when the last clone goes.
#[derive(Debug, Clone)]
pub struct Buffer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    raw: wgpu::Buffer,
    size: u64,
    label: String,
    counter: Arc<MemoryCounter>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.counter.subtract(self.size);
    }
}

impl Buffer {
    pub(crate) fn new(raw: wgpu::Buffer, label: &str, counter: Arc<MemoryCounter>) -> Self {
        let size = raw.size();
        counter.add(size);
        Self(Arc::new(Inner { raw, size, label: label.to_owned(), counter }))
    }

    /// The wgpu buffer itself.
    pub fn raw(&self) -> &wgpu::Buffer {
        &self.0.raw
    }

    /// Size in bytes (a multiple of 4).
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Number of 4-byte elements.
    pub fn words(&self) -> usize {
        (self.0.size / 4) as usize
    }

    /// What the buffer is for.
    pub fn label(&self) -> &str {
        &self.0.label
    }
}
