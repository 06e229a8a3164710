// The attention of attention.wgsl, same shapes, for emulated adapters without subgroups and the rows of decoding steps: a
// workgroup takes one row and the heads that share keys, up to four, the components of each vector of scores. It walks over
// the keys in blocks of 64, with the online softmax:
//   1. an invocation scores 8 keys of the block, four at a time, so that a query read once serves four keys
//   2. it weighs them by the largest score so far
//   3. it sums two vec4 of the values over all keys of the block, and the next two, until the head is whole
// Outputs live in `out` between blocks. A row's result depends on nothing but the row.
// Entry point: attention_row. HEAD_DIM a multiple of 4.

override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
// Heads taken together.
override SHARED: u32;

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> cache: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

const LANES = 8u;
const KEYS = 64u;
const LEAST = -3e38;

// The largest score among each invocation's keys; at the end the sum of its weights.
var<workgroup> highest: array<vec4<f32>, LANES>;
var<workgroup> chances: array<vec4<f32>, KEYS>;
// Where the keys of the block lie in the cache, in vec4.
var<workgroup> places: array<u32, KEYS>;

// Scores of four keys.
struct Scores {
    k0: vec4<f32>,
    k1: vec4<f32>,
    k2: vec4<f32>,
    k3: vec4<f32>,
}

// Products of four elements of a query with those of four keys.
fn products(q: vec4<f32>, k0: vec4<f32>, k1: vec4<f32>, k2: vec4<f32>, k3: vec4<f32>) -> vec4<f32> {
    return vec4(dot(q, k0), dot(q, k1), dot(q, k2), dot(q, k3));
}

// `q`: where the queries of the four heads begin; past the last head the last one again. `at`: where the keys do.
fn score_keys(q: vec4<u32>, at: vec4<u32>) -> Scores {
    // Of each head, the scores of the four keys.
    var h0 = vec4(0.0);
    var h1 = vec4(0.0);
    var h2 = vec4(0.0);
    var h3 = vec4(0.0);
    for (var i = 0u; i < HEAD_DIM / 4u; i++) {
        let k0 = cache[at.x + i];
        let k1 = cache[at.y + i];
        let k2 = cache[at.z + i];
        let k3 = cache[at.w + i];
        h0 += products(qkv[q.x + i], k0, k1, k2, k3);
        if SHARED > 1u {
            h1 += products(qkv[q.y + i], k0, k1, k2, k3);
        }
        if SHARED > 2u {
            h2 += products(qkv[q.z + i], k0, k1, k2, k3);
        }
        if SHARED > 3u {
            h3 += products(qkv[q.w + i], k0, k1, k2, k3);
        }
    }
    let keys = transpose(mat4x4(h0, h1, h2, h3));
    return Scores(keys[0], keys[1], keys[2], keys[3]);
}

fn highest_of(s: Scores) -> vec4<f32> {
    return max(max(s.k0, s.k1), max(s.k2, s.k3));
}

// Scaled scores of keys `first` to `first + 3`, LEAST past the last key.
fn masked(s: Scores, first: u32, keys: u32) -> Scores {
    let scale = inverseSqrt(f32(HEAD_DIM));
    return Scores(
        select(vec4(LEAST), s.k0 * scale, first < keys),
        select(vec4(LEAST), s.k1 * scale, first + 1u < keys),
        select(vec4(LEAST), s.k2 * scale, first + 2u < keys),
        select(vec4(LEAST), s.k3 * scale, first + 3u < keys),
    );
}

// Weighs keys `first` to `first + 3` of the block; returns the sum of their weights.
fn weigh(s: Scores, first: u32, largest: vec4<f32>) -> vec4<f32> {
    let p = Scores(exp(s.k0 - largest), exp(s.k1 - largest), exp(s.k2 - largest), exp(s.k3 - largest));
    chances[first] = p.k0;
    chances[first + 1u] = p.k1;
    chances[first + 2u] = p.k2;
    chances[first + 3u] = p.k3;
    return (p.k0 + p.k1) + (p.k2 + p.k3);
}

// Two vec4 of the outputs of four heads.
struct Sums {
    a0: vec4<f32>,
    b0: vec4<f32>,
    a1: vec4<f32>,
    b1: vec4<f32>,
    a2: vec4<f32>,
    b2: vec4<f32>,
    a3: vec4<f32>,
    b3: vec4<f32>,
}

fn add_value(sum: Sums, p: vec4<f32>, a: vec4<f32>, b: vec4<f32>) -> Sums {
    var s = sum;
    s.a0 += p.x * a;
    s.b0 += p.x * b;
    if SHARED > 1u {
        s.a1 += p.y * a;
        s.b1 += p.y * b;
    }
    if SHARED > 2u {
        s.a2 += p.z * a;
        s.b2 += p.z * b;
    }
    if SHARED > 3u {
        s.a3 += p.w * a;
        s.b3 += p.w * b;
    }
    return s;
}

// out = out * fade + more; the first block finds nothing in `out` that counts.
fn put(at: u32, begun: bool, fade: f32, more: vec4<f32>) {
    var before = vec4(0.0);
    if begun {
        before = out[at] * fade;
    }
    out[at] = before + more;
}

@compute @workgroup_size(LANES)
fn attention_row(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let depth = HEAD_DIM / 4u;
    let sharing = HEADS / KV_HEADS;
    let shares = (sharing + SHARED - 1u) / SHARED;
    let kv_head = group.x / shares;
    let first_head = kv_head * sharing + group.x % shares * SHARED;
    // The last share of a key head may have fewer heads; the last one then stands in for those missing.
    let heads = min(SHARED, (kv_head + 1u) * sharing - first_head);
    let head = first_head + min(vec4(0u, 1u, 2u, 3u), vec4(heads - 1u));
    let q = (group.y * (HEADS + 2u * KV_HEADS) + head) * depth;
    let o = (group.y * HEADS + head) * depth;
    let row = rows[group.y];
    let sequence = sequences[row.sequence];
    let keys = row.position + 1u;
    let stride = 2u * KV_HEADS * depth;
    let v_offset = KV_HEADS * depth;
    var largest = vec4(LEAST);
    // Of the invocation's own keys.
    var total = vec4(0.0);
    for (var start = 0u; start < keys; start += KEYS) {
        let own = 8u * lane;
        let a = start + own + vec4(0u, 1u, 2u, 3u);
        let b = a + 4u;
        let near = min(a, vec4(keys - 1u));
        let far = min(b, vec4(keys - 1u));
        let at = stride * vec4(
            kv_index(sequence, near.x), kv_index(sequence, near.y), kv_index(sequence, near.z), kv_index(sequence, near.w),
        ) + kv_head * depth;
        let on = stride * vec4(
            kv_index(sequence, far.x), kv_index(sequence, far.y), kv_index(sequence, far.z), kv_index(sequence, far.w),
        ) + kv_head * depth;
        let s = masked(score_keys(q, at), a.x, keys);
        let t = masked(score_keys(q, on), b.x, keys);
        highest[lane] = max(highest_of(s), highest_of(t));
        workgroupBarrier();
        let before = largest;
        for (var i = 0u; i < LANES; i++) {
            largest = max(largest, highest[i]);
        }
        let fade = exp(before - largest);
        total = total * fade + (weigh(s, own, largest) + weigh(t, own + 4u, largest));
        for (var i = 0u; i < 4u; i++) {
            places[own + i] = at[i] + v_offset;
            places[own + 4u + i] = on[i] + v_offset;
        }
        workgroupBarrier();
        let width = min(KEYS, keys - start);
        for (var d = 2u * lane; d < depth; d += 2u * LANES) {
            // Where a head ends between the two, the second one is the first again, and is not stored.
            let e = min(d + 1u, depth - 1u);
            var sum = Sums();
            for (var i = 0u; i < width; i++) {
                let place = places[i];
                sum = add_value(sum, chances[i], cache[place + d], cache[place + e]);
            }
            let begun = start > 0u;
            put(o.x + d, begun, fade.x, sum.a0);
            if SHARED > 1u && heads > 1u {
                put(o.y + d, begun, fade.y, sum.a1);
            }
            if SHARED > 2u && heads > 2u {
                put(o.z + d, begun, fade.z, sum.a2);
            }
            if SHARED > 3u && heads > 3u {
                put(o.w + d, begun, fade.w, sum.a3);
            }
            if e > d {
                put(o.x + e, begun, fade.x, sum.b0);
                if SHARED > 1u && heads > 1u {
                    put(o.y + e, begun, fade.y, sum.b1);
                }
                if SHARED > 2u && heads > 2u {
                    put(o.z + e, begun, fade.z, sum.b2);
                }
                if SHARED > 3u && heads > 3u {
                    put(o.w + e, begun, fade.w, sum.b3);
                }
            }
        }
        workgroupBarrier();
    }
    highest[lane] = total;
    workgroupBarrier();
    total = highest[0];
    for (var i = 1u; i < LANES; i++) {
        total += highest[i];
    }
    for (var h = 0u; h < heads; h++) {
        for (var d = 2u * lane; d < depth; d += 2u * LANES) {
            for (var e = d; e < min(d + 2u, depth); e++) {
                out[o[h] + e] /= total[h];
            }
        }
    }
}
