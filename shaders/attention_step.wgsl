// A decoding step's attention in one launch, for GPUs: rope_cache.wgsl and the attention of attention.wgsl, same shapes and
// the same bits, for rows of which each has a sequence of its own. A workgroup turns its queries as it loads them, and turns
// the row's new key, which it takes, as the new value, from qkv and not from the cache; the first share of the last span
// writes both to the cache. So no workgroup reads what another one of the launch writes: the new key of a row is seen by no
// other row. qkv stays as it was.
// What a workgroup does otherwise is in include/attention_walk.wgsl, and how keys are split in include/attention_spans.wgsl.
// Pairs as in rope_cache.wgsl. HEAD_DIM a multiple of 4, at most 256, and of 8 where pairs are not INTERLEAVED.
// table [positions, HEAD_DIM / 4] of (cos, sin, cos, sin). Needs include/rows, include/turn and the three for
// attention_decode.wgsl. Workgroup memory: 15872 bytes.

override INTERLEAVED: bool;

@group(0) @binding(1) var<storage, read_write> cache: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> table: array<vec4<f32>>;

// Four elements from 4 d on of a head at offset `at` of qkv, turned.
fn turned_at(at: u32, d: u32, position: u32) -> vec4<f32> {
    let depth = HEAD_DIM / 4u;
    let x = qkv[at + d];
    if INTERLEAVED {
        let turns = table[position * depth + d];
        return vec4(turned(x.x, x.y, turns.xy), turned(x.z, x.w, turns.zw));
    }
    let apart = depth / 2u;
    let is_second = d >= apart;
    let i = d % apart;
    let other = qkv[at + select(i + apart, i, is_second)];
    let a = select(x, other, is_second);
    let b = select(other, x, is_second);
    let low = table[position * depth + 2u * i];
    let high = table[position * depth + 2u * i + 1u];
    let p = turned(a.x, b.x, low.xy);
    let q = turned(a.y, b.y, low.zw);
    let r = turned(a.z, b.z, high.xy);
    let s = turned(a.w, b.w, high.zw);
    return select(vec4(p.x, q.x, r.x, s.x), vec4(p.y, q.y, r.y, s.y), is_second);
}

fn query_of(work: Work, at: u32, d: u32) -> vec4<f32> {
    return turned_at(at, d, work.position);
}

@compute @workgroup_size(LANES)
fn attention_step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let work = work_of(group, groups);
    if work.first >= work.keys {
        return;
    }
    stage_queries(work, lane);
    let depth = HEAD_DIM / 4u;
    if work.keys > work.position && lane < depth {
        let key = turned_at(head_at(work, HEADS + work.kv_head), lane, work.position);
        own_key[lane] = key;
        let k_at = place(work.sequence, work.position) + work.kv_head * depth + lane;
        let v_at = k_at + KV_HEADS * depth;
        if group.x % shares() == 0u && v_at < arrayLength(&cache) {
            cache[k_at] = key;
            cache[v_at] = qkv[head_at(work, HEADS + KV_HEADS + work.kv_head) + lane];
        }
    }
    walk(work, work.position, group, lane);
}
