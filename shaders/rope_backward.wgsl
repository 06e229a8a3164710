// Gradient of rotary position embedding, in place on the query and key heads of dqkv: the inverse rotation,
//   (a, b) <- (a cos + b sin, b cos - a sin), for the pairs of each head.
// Pairs: (2i, 2i + 1) where INTERLEAVED, else (i, i + HEAD_DIM / 2); 0 <= i < HEAD_DIM / 2.
// Shapes: dqkv [rows, STRIDE], the first HEADS heads (queries and keys) of HEAD_DIM; table [positions, HEAD_DIM / 2]
// of (cos, sin); rows of (token, position, sequence, slot). Element-wise: one form for all adapters.

override HEADS: u32;
override HEAD_DIM: u32;
override STRIDE: u32;
override INTERLEAVED: bool;

@group(0) @binding(0) var<storage, read_write> dqkv: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> rows: array<vec4<u32>>;

@compute @workgroup_size(64)
fn rope_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pairs = HEAD_DIM / 2u;
    let index = group.x * 64u + lane;
    if index >= HEADS * pairs {
        return;
    }
    let head = index / pairs;
    let i = index % pairs;
    let turn = table[rows[group.y].y * pairs + i];
    let base = group.y * STRIDE + head * HEAD_DIM;
    let first = base + select(i, 2u * i, INTERLEAVED);
    let second = select(first + pairs, first + 1u, INTERLEAVED);
    let a = dqkv[first];
    let b = dqkv[second];
    dqkv[first] = a * turn.x + b * turn.y;
    dqkv[second] = b * turn.x - a * turn.y;
}
