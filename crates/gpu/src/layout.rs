//! What a batch is made of. The same two structures stand in `shaders/include/rows.wgsl`.

/// One row of a batch: one token of one sequence, computed under one adapter.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Row {
    /// Token id.
    pub token: u32,
    /// Position of the token in its sequence, counted from 0 with the shared prefix included.
    pub position: u32,
    /// Index of the row's [`Sequence`].
    pub sequence: u32,
    /// Adapter slot; 0 = the frozen model.
    pub slot: u32,
}

/// Where the keys and values of one sequence lie in the cache. Several sequences may share one computed prefix (the
/// system prompt, say): position p lies at `prefix_start + p` while p < `prefix_length`, and at
/// `start + p - prefix_length` from there on. In a packed training batch the "cache" holds one entry per row and the
/// same structure points at row numbers.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Sequence {
    /// Cache index of position 0 of the shared prefix.
    pub prefix_start: u32,
    /// Positions that lie in the shared prefix; 0 = none.
    pub prefix_length: u32,
    /// Cache index of position `prefix_length`.
    pub start: u32,
    /// Factor on what the adapter adds, 0 to 1.
    pub gate: f32,
}

impl Sequence {
    /// A sequence of its own from cache index `start`, with the adapter fully on.
    pub const fn new(start: u32) -> Self {
        Self { prefix_start: 0, prefix_length: 0, start, gate: 1.0 }
    }

    /// Cache index of `position`.
    pub const fn kv_index(&self, position: u32) -> u32 {
        if position < self.prefix_length {
            self.prefix_start + position
        } else {
            self.start + position - self.prefix_length
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_after_the_shared_prefix_follow_the_start() {
        let sequence = Sequence { prefix_start: 10, prefix_length: 3, start: 50, gate: 1.0 };
        assert_eq!([0, 2, 3, 4].map(|p| sequence.kv_index(p)), [10, 12, 50, 51]);
        assert_eq!(Sequence::new(7).kv_index(2), 9);
    }

    #[test]
    fn the_structures_have_the_size_of_their_wgsl_twins() {
        assert_eq!(size_of::<Row>(), 16);
        assert_eq!(size_of::<Sequence>(), 16);
    }
}
