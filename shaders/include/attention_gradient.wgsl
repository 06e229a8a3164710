// What the kernels of attention_backward*.wgsl share: sizes, bindings, offsets, which rows see which keys, and the way from
// a score to its gradient. Shapes: those of attention_backward.wgsl; lse and o, which only the preparation reads, are bound
// there. Needs include/rows.

override KV_HEADS: u32;
override GROUP: u32;
override HEAD_DIM: u32;
override SCALE: f32;
// Query heads of one key head that are taken together: at most 4 (3 for queries_by_lane), and a divisor of GROUP but for
// queries_by_block.
override SHARED: u32 = 1u;

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> kv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> upstream: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> rows: array<Row>;
@group(0) @binding(5) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> query_end: array<u32>;
@group(0) @binding(8) var<uniform> count: vec4<u32>;

// Offset of query head h, or of key head h - HEADS, of a row in qkv and dqkv; value heads follow the key heads. All
// offsets count vec4.
fn qkv_at(row: u32, head: u32) -> u32 {
    return (row * (GROUP + 2u) * KV_HEADS + head) * (HEAD_DIM / 4u);
}

fn kv_at(row: u32, head: u32) -> u32 {
    return (row * 2u * KV_HEADS + head) * (HEAD_DIM / 4u);
}

fn upstream_at(row: u32, head: u32) -> u32 {
    return (row * GROUP * KV_HEADS + head) * (HEAD_DIM / 4u);
}

// Keys that a row sees: [prefix_start, prefix_end) and [start, end).
struct Keys {
    prefix_start: u32,
    prefix_end: u32,
    start: u32,
    end: u32,
}

fn keys_of(row: u32) -> Keys {
    let s = sequences[rows[row].sequence];
    let seen = rows[row].position + 1u;
    let shared_keys = min(s.prefix_length, seen);
    return Keys(s.prefix_start, s.prefix_start + shared_keys, s.start, s.start + seen - shared_keys);
}

fn sees(keys: Keys, j: u32) -> bool {
    return (j >= keys.prefix_start && j < keys.prefix_end) || (j >= keys.start && j < keys.end);
}

// Four scores at a time: probabilities, and gradients of the scores.
struct Weighed {
    p: vec4<f32>,
    ds: vec4<f32>,
}

fn weigh(score: vec4<f32>, dp: vec4<f32>, lse_of: vec4<f32>, d_of: vec4<f32>, seen: vec4<bool>) -> Weighed {
    let p = select(vec4(0.0), exp(SCALE * score - lse_of), seen);
    return Weighed(p, SCALE * p * (dp - d_of));
}
