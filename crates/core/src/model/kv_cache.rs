//! Keys and values of past tokens, and which rows of them are taken.

use tmem_gpu::{Buffer, Gpu, GpuError};

use super::ModelConfig;

/// The cache: one buffer a layer, [slots, 2 · kv_heads · head_dim] f32, keys before values.
#[derive(Debug)]
pub(crate) struct KvCache {
    pub(crate) layers: Vec<Buffer>,
    width: usize,
    slots: usize,
    /// Taken ranges, sorted by start.
    taken: Vec<Range>,
}

/// A run of cache slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl KvCache {
    /// Bytes of a cache of `slots` tokens.
    pub(crate) fn bytes(config: &ModelConfig, slots: usize) -> u64 {
        (config.layers * slots * 2 * config.kv_heads * config.head_dim * 4) as u64
    }

    pub(crate) fn new(gpu: &Gpu, config: &ModelConfig, slots: usize) -> Result<Self, GpuError> {
        let width = 2 * config.kv_heads * config.head_dim;
        let layers = (0..config.layers)
            .map(|layer| gpu.storage(&format!("kv cache, layer {layer}"), slots * width))
            .collect::<Result<_, _>>()?;
        Ok(Self { layers, width, slots, taken: Vec::new() })
    }

    /// Numbers that a layer keeps of a token.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Slots in all.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Takes the first free run of `length` slots; `None` where there is none.
    pub(crate) fn take(&mut self, length: usize) -> Option<Range> {
        let mut start = 0;
        let mut at = self.taken.len();
        for (i, range) in self.taken.iter().enumerate() {
            if range.start - start >= length {
                at = i;
                break;
            }
            start = range.start + range.length;
        }
        if at == self.taken.len() && self.slots - start < length {
            return None;
        }
        let range = Range { start, length };
        self.taken.insert(at, range);
        Some(range)
    }

    /// Makes a taken range shorter or longer without moving it; `None`, and the range as it was, where the slots behind
    /// it are taken.
    pub(crate) fn resize(&mut self, range: Range, length: usize) -> Option<Range> {
        let at = self.taken.iter().position(|&taken| taken == range)?;
        let end = self.taken.get(at + 1).map_or(self.slots, |next| next.start);
        if end - range.start < length {
            return None;
        }
        self.taken[at].length = length;
        Some(self.taken[at])
    }

    /// Gives a range back.
    pub(crate) fn release(&mut self, range: Range) {
        self.taken.retain(|&r| r != range);
    }
}
