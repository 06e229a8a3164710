// Rotary position embedding, (a, b) -> (a cos - b sin, a sin + b cos) for the pairs of each query and key head, and
// the way of keys and values into the cache: queries are turned in place; turned keys, and values, are written to the
// cache at the row's KV index (include rows).
// Pairs: (2i, 2i + 1) where INTERLEAVED, else (i, i + HEAD_DIM / 2); 0 <= i < HEAD_DIM / 2.
// Shapes: qkv [rows, (HEADS + 2 KV_HEADS) HEAD_DIM]; table [positions, HEAD_DIM / 2] of (cos, sin);
// cache [indices, 2 KV_HEADS HEAD_DIM], keys first. Element-wise: one form for all adapters. Needs include/rows and
// include/turn. On GPUs decoding steps have attention_step.wgsl in its place.

override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
override INTERLEAVED: bool;

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> cache: array<f32>;

@compute @workgroup_size(64)
fn rope_cache(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pairs = HEAD_DIM / 2u;
    let head = (group.x * 64u + lane) / pairs;
    let i = (group.x * 64u + lane) % pairs;
    if head >= HEADS + 2u * KV_HEADS {
        return;
    }
    let row = rows[group.y];
    let in_head = select(i, 2u * i, INTERLEAVED);
    let step = select(pairs, 1u, INTERLEAVED);
    let at = (group.y * (HEADS + 2u * KV_HEADS) + head) * HEAD_DIM + in_head;
    var a = qkv[at];
    var b = qkv[at + step];
    if head < HEADS + KV_HEADS {
        let pair = turned(a, b, table[row.position * pairs + i]);
        a = pair.x;
        b = pair.y;
    }
    if head < HEADS {
        qkv[at] = a;
        qkv[at + step] = b;
    } else {
        let index = kv_index(sequences[row.sequence], row.position);
        let place = (index * 2u * KV_HEADS + head - HEADS) * HEAD_DIM + in_head;
        if place + step < arrayLength(&cache) {
            cache[place] = a;
            cache[place + step] = b;
        }
    }
}
