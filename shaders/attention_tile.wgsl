// The attention of attention.wgsl for emulated adapters, where barriers and workgroup memory are slow: same bindings
// and shapes, and count.x = rows.
// An invocation takes one head of four rows, the components of each vector below, and the keys in blocks
// of 8, so that each key and value is read once for all its rows. Rows of one tile may belong to different sequences:
// the tile then walks over the keys of each. Partial sums live in `out`, in a fixed order.
// Entry points: attention_tile; attention_tile_lse writes lse, too.

override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> cache: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<uniform> count: vec4<u32>;

const LANES = 8u;
const LEAST = -3e38;
// Lavapipe leaves every loop once an invocation has gone round 65535 times in all its loops together. Eight elements of
// a head in one round keep four sequences of 4096 keys below that.
const STRIDE = 8u;

struct Tile {
    head: u32,
    // Rows of the tile, the last one repeated, and how many are real.
    rows: vec4<u32>,
    real: u32,
}

fn tile_of(group: vec3<u32>, lane: u32) -> Tile {
    let first = (group.y * LANES + lane) * 4u;
    let real = min(count.x - min(first, count.x), 4u);
    return Tile(group.x, min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(count.x - 1u)), real);
}

fn gather(at: vec4<u32>) -> vec4<f32> {
    return vec4(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]);
}

// out = out * fade + more, for the real rows.
fn accumulate(tile: Tile, at: vec4<u32>, fade: vec4<f32>, more: vec4<f32>) {
    out[at.x] = out[at.x] * fade.x + more.x;
    if tile.real > 1u {
        out[at.y] = out[at.y] * fade.y + more.y;
    }
    if tile.real > 2u {
        out[at.z] = out[at.z] * fade.z + more.z;
    }
    if tile.real > 3u {
        out[at.w] = out[at.w] * fade.w + more.w;
    }
}

// Scores of one key, LEAST for the rows that do not see it.
fn masked(score: vec4<f32>, key: u32, limits: vec4<u32>) -> vec4<f32> {
    return select(vec4(LEAST), score, vec4(key) < limits);
}

fn chance(score: vec4<f32>, largest: vec4<f32>) -> vec4<f32> {
    return select(vec4(0.0), exp(score - largest), score > vec4(LEAST));
}

// One value of each row for each of 8 keys.
struct Eight {
    s0: vec4<f32>,
    s1: vec4<f32>,
    s2: vec4<f32>,
    s3: vec4<f32>,
    s4: vec4<f32>,
    s5: vec4<f32>,
    s6: vec4<f32>,
    s7: vec4<f32>,
}

// Adds one element's products of queries x and keys at offset `at` to the scores.
fn score(s: Eight, x: vec4<f32>, ka: vec4<u32>, kb: vec4<u32>, at: u32) -> Eight {
    return Eight(
        s.s0 + x * cache[ka.x + at], s.s1 + x * cache[ka.y + at], s.s2 + x * cache[ka.z + at], s.s3 + x * cache[ka.w + at],
        s.s4 + x * cache[kb.x + at], s.s5 + x * cache[kb.y + at], s.s6 + x * cache[kb.z + at], s.s7 + x * cache[kb.w + at],
    );
}

// One element of the values at offset `at`, weighted.
fn weigh(p: Eight, ka: vec4<u32>, kb: vec4<u32>, at: u32) -> vec4<f32> {
    var sum = p.s0 * cache[ka.x + at];
    sum += p.s1 * cache[ka.y + at];
    sum += p.s2 * cache[ka.z + at];
    sum += p.s3 * cache[ka.w + at];
    sum += p.s4 * cache[kb.x + at];
    sum += p.s5 * cache[kb.y + at];
    sum += p.s6 * cache[kb.z + at];
    sum += p.s7 * cache[kb.w + at];
    return sum;
}

// Computes the tile; returns the log-sum-exp of each row.
fn attend(tile: Tile) -> vec4<f32> {
    let q = (tile.rows * (HEADS + 2u * KV_HEADS) + tile.head) * HEAD_DIM;
    let o = (tile.rows * HEADS + tile.head) * HEAD_DIM;
    let stride = 2u * KV_HEADS * HEAD_DIM;
    let k_offset = tile.head / (HEADS / KV_HEADS) * HEAD_DIM;
    let v_offset = k_offset + KV_HEADS * HEAD_DIM;
    let scale = inverseSqrt(f32(HEAD_DIM));
    var owners = vec4<u32>();
    var lengths = vec4<u32>();
    for (var r = 0u; r < tile.real; r++) {
        owners[r] = rows[tile.rows[r]].sequence;
        lengths[r] = rows[tile.rows[r]].position + 1u;
    }
    for (var i = 0u; i < HEAD_DIM; i++) {
        for (var r = 0u; r < tile.real; r++) {
            out[o[r] + i] = 0.0;
        }
    }
    var largest = vec4(LEAST);
    var total = vec4(0.0);
    var open = lengths > vec4(0u);
    while any(open) {
        // The sequence of the first row that is still open, and the rows that share it.
        let owner = select(select(select(owners.w, owners.z, open.z), owners.y, open.y), owners.x, open.x);
        let now = open & (owners == vec4(owner));
        open = open & !now;
        let limits = select(vec4(0u), lengths, now);
        let keys = max(max(limits.x, limits.y), max(limits.z, limits.w));
        let sequence = sequences[owner];
        for (var start = 0u; start < keys; start += 8u) {
            let a = min(vec4(start) + vec4(0u, 1u, 2u, 3u), vec4(keys - 1u));
            let b = min(vec4(start) + vec4(4u, 5u, 6u, 7u), vec4(keys - 1u));
            let ka = vec4(kv_index(sequence, a.x), kv_index(sequence, a.y), kv_index(sequence, a.z), kv_index(sequence, a.w)) * stride;
            let kb = vec4(kv_index(sequence, b.x), kv_index(sequence, b.y), kv_index(sequence, b.z), kv_index(sequence, b.w)) * stride;
            var s = Eight();
            for (var i = 0u; i + STRIDE <= HEAD_DIM; i += STRIDE) {
                s = score(s, gather(q + i + 0u), ka, kb, k_offset + i + 0u);
                s = score(s, gather(q + i + 1u), ka, kb, k_offset + i + 1u);
                s = score(s, gather(q + i + 2u), ka, kb, k_offset + i + 2u);
                s = score(s, gather(q + i + 3u), ka, kb, k_offset + i + 3u);
                s = score(s, gather(q + i + 4u), ka, kb, k_offset + i + 4u);
                s = score(s, gather(q + i + 5u), ka, kb, k_offset + i + 5u);
                s = score(s, gather(q + i + 6u), ka, kb, k_offset + i + 6u);
                s = score(s, gather(q + i + 7u), ka, kb, k_offset + i + 7u);
            }
            for (var i = HEAD_DIM / STRIDE * STRIDE; i < HEAD_DIM; i++) {
                s = score(s, gather(q + i), ka, kb, k_offset + i);
            }
            s.s0 = masked(s.s0 * scale, start, limits);
            s.s1 = masked(s.s1 * scale, start + 1u, limits);
            s.s2 = masked(s.s2 * scale, start + 2u, limits);
            s.s3 = masked(s.s3 * scale, start + 3u, limits);
            s.s4 = masked(s.s4 * scale, start + 4u, limits);
            s.s5 = masked(s.s5 * scale, start + 5u, limits);
            s.s6 = masked(s.s6 * scale, start + 6u, limits);
            s.s7 = masked(s.s7 * scale, start + 7u, limits);
            let before = largest;
            largest = max(largest, max(max(max(s.s0, s.s1), max(s.s2, s.s3)), max(max(s.s4, s.s5), max(s.s6, s.s7))));
            s.s0 = chance(s.s0, largest);
            s.s1 = chance(s.s1, largest);
            s.s2 = chance(s.s2, largest);
            s.s3 = chance(s.s3, largest);
            s.s4 = chance(s.s4, largest);
            s.s5 = chance(s.s5, largest);
            s.s6 = chance(s.s6, largest);
            s.s7 = chance(s.s7, largest);
            let fade = exp(before - largest);
            total = total * fade + (((s.s0 + s.s1) + (s.s2 + s.s3)) + ((s.s4 + s.s5) + (s.s6 + s.s7)));
            for (var i = 0u; i + STRIDE <= HEAD_DIM; i += STRIDE) {
                accumulate(tile, o + i + 0u, fade, weigh(s, ka, kb, v_offset + i + 0u));
                accumulate(tile, o + i + 1u, fade, weigh(s, ka, kb, v_offset + i + 1u));
                accumulate(tile, o + i + 2u, fade, weigh(s, ka, kb, v_offset + i + 2u));
                accumulate(tile, o + i + 3u, fade, weigh(s, ka, kb, v_offset + i + 3u));
                accumulate(tile, o + i + 4u, fade, weigh(s, ka, kb, v_offset + i + 4u));
                accumulate(tile, o + i + 5u, fade, weigh(s, ka, kb, v_offset + i + 5u));
                accumulate(tile, o + i + 6u, fade, weigh(s, ka, kb, v_offset + i + 6u));
                accumulate(tile, o + i + 7u, fade, weigh(s, ka, kb, v_offset + i + 7u));
            }
            for (var i = HEAD_DIM / STRIDE * STRIDE; i < HEAD_DIM; i++) {
                accumulate(tile, o + i, fade, weigh(s, ka, kb, v_offset + i));
            }
        }
    }
    for (var i = 0u; i < HEAD_DIM; i++) {
        accumulate(tile, o + i, 1.0 / total, vec4(0.0));
    }
    return largest + log(total);
}

@compute @workgroup_size(LANES)
fn attention_tile(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group, lane);
    if tile.real > 0u {
        _ = attend(tile);
    }
}

@compute @workgroup_size(LANES)
fn attention_tile_lse(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group, lane);
    if tile.real > 0u {
        let value = attend(tile);
        for (var r = 0u; r < tile.real; r++) {
            lse[tile.rows[r] * HEADS + tile.head] = value[r];
        }
    }
}
