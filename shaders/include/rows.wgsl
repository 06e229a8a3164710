// The rows of a batch and where their keys and values lie; twins of crates/gpu/src/layout.rs.

struct Row {
    token: u32,
    position: u32,
    sequence: u32,
    slot: u32,
}

struct Sequence {
    prefix_start: u32,
    prefix_length: u32,
    start: u32,
    gate: f32,
}

// Cache index of position p of a sequence.
fn kv_index(s: Sequence, p: u32) -> u32 {
    return select(s.start + p - s.prefix_length, s.prefix_start + p, p < s.prefix_length);
}
