// The attention of attention.wgsl, same shapes, for emulated adapters with subgroups of at least 8 invocations
// (matmul_subgroup.wgsl says why). Everything is read four elements at a time; what the invocations of a subgroup need
// in common, each reads a share of, and the others have it by broadcast. count.x = rows. Online softmax in a fixed order.
// Entry points:
//   tile_per_subgroup      8 rows of up to four heads that share keys, or with fewer heads more rows: an invocation takes
//                          up to four pairs of a row and a head. Keys in blocks of 16; HEAD_DIM a multiple of 4
//   tile_per_subgroup_lse  writes lse, too
//   row_per_subgroup       one row and up to four heads that share keys, keys in blocks of 8, one an invocation;
//                          HEAD_DIM a multiple of 32, at most 128

override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
// Heads that share keys and that an invocation of a tile takes together: 1, 2, 3 or 4, a divisor of HEADS / KV_HEADS.
override SHARED: u32 = 1u;
// Rows of each of them, and pairs of a row and a head.
override TILE_ROWS: u32 = 4u / SHARED;
override PAIRS: u32 = TILE_ROWS * SHARED;

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> cache: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<uniform> count: vec4<u32>;

const LEAST = -3e38;
const NOBODY = 0xffffffffu;

// Fours of elements from one row of qkv, and of the cache, to the next.
fn query_stride() -> u32 {
    return (HEADS + 2u * KV_HEADS) * HEAD_DIM / 4u;
}

fn cache_stride() -> u32 {
    return 2u * KV_HEADS * HEAD_DIM / 4u;
}

// One value of each of PAIRS rows and heads, for each of 8 keys.
struct Eight {
    k0: vec4<f32>,
    k1: vec4<f32>,
    k2: vec4<f32>,
    k3: vec4<f32>,
    k4: vec4<f32>,
    k5: vec4<f32>,
    k6: vec4<f32>,
    k7: vec4<f32>,
}

// Adds the products of one element of PAIRS queries with that of 8 keys, of which each invocation holds one.
fn score(s: Eight, q: vec4<f32>, own: f32) -> Eight {
    let low = from_lower(own);
    let high = from_upper(own);
    return Eight(
        s.k0 + q * low.x, s.k1 + q * low.y, s.k2 + q * low.z, s.k3 + q * low.w,
        s.k4 + q * high.x, s.k5 + q * high.y, s.k6 + q * high.z, s.k7 + q * high.w,
    );
}

// Scaled, and LEAST for those that do not see the key.
fn masked(s: vec4<f32>, key: u32, limits: vec4<u32>) -> vec4<f32> {
    return select(vec4(LEAST), s * inverseSqrt(f32(HEAD_DIM)), vec4(key) < limits);
}

fn mask(s: Eight, first: u32, limits: vec4<u32>) -> Eight {
    return Eight(
        masked(s.k0, first, limits), masked(s.k1, first + 1u, limits),
        masked(s.k2, first + 2u, limits), masked(s.k3, first + 3u, limits),
        masked(s.k4, first + 4u, limits), masked(s.k5, first + 5u, limits),
        masked(s.k6, first + 6u, limits), masked(s.k7, first + 7u, limits),
    );
}

fn largest_of(s: Eight) -> vec4<f32> {
    return max(max(max(s.k0, s.k1), max(s.k2, s.k3)), max(max(s.k4, s.k5), max(s.k6, s.k7)));
}

fn chance(s: vec4<f32>, largest: vec4<f32>) -> vec4<f32> {
    return select(vec4(0.0), exp(s - largest), s > vec4(LEAST));
}

fn chances(s: Eight, largest: vec4<f32>) -> Eight {
    return Eight(
        chance(s.k0, largest), chance(s.k1, largest), chance(s.k2, largest), chance(s.k3, largest),
        chance(s.k4, largest), chance(s.k5, largest), chance(s.k6, largest), chance(s.k7, largest),
    );
}

fn total_of(p: Eight) -> vec4<f32> {
    return ((p.k0 + p.k1) + (p.k2 + p.k3)) + ((p.k4 + p.k5) + (p.k6 + p.k7));
}

// Four elements of each of PAIRS rows and heads.
struct Square {
    r0: vec4<f32>,
    r1: vec4<f32>,
    r2: vec4<f32>,
    r3: vec4<f32>,
}

fn add(sum: Square, p: vec4<f32>, v: vec4<f32>) -> Square {
    return Square(sum.r0 + p.x * v, sum.r1 + p.y * v, sum.r2 + p.z * v, sum.r3 + p.w * v);
}

// Adds four elements of 8 values, of which each invocation holds one, weighted.
fn weigh(sum: Square, p: Eight, own: vec4<f32>) -> Square {
    var s = add(sum, p.k0, subgroupBroadcast(own, 0u));
    s = add(s, p.k1, subgroupBroadcast(own, 1u));
    s = add(s, p.k2, subgroupBroadcast(own, 2u));
    s = add(s, p.k3, subgroupBroadcast(own, 3u));
    s = add(s, p.k4, subgroupBroadcast(own, 4u));
    s = add(s, p.k5, subgroupBroadcast(own, 5u));
    s = add(s, p.k6, subgroupBroadcast(own, 6u));
    return add(s, p.k7, subgroupBroadcast(own, 7u));
}

// The invocation's pairs of a row and a head, and how many of them are real: rows beyond the last one repeat it, and pairs
// beyond PAIRS repeat the last pair.
struct Tile {
    rows: vec4<u32>,
    heads: vec4<u32>,
    real: u32,
}

fn tile_of(group: vec3<u32>, lane: u32) -> Tile {
    let first = (group.y * LANES + lane) * TILE_ROWS;
    let real = min(count.x - min(first, count.x), TILE_ROWS) * SHARED;
    let pair = min(vec4(0u, 1u, 2u, 3u), vec4(PAIRS - 1u));
    return Tile(min(vec4(first) + pair / SHARED, vec4(count.x - 1u)), vec4(group.x * SHARED) + pair % SHARED, real);
}

fn keep(tile: Tile, at: vec4<u32>, value: Square) {
    if tile.real > 0u {
        out[at.x] = value.r0;
    }
    if PAIRS > 1u && tile.real > 1u {
        out[at.y] = value.r1;
    }
    if PAIRS > 2u && tile.real > 2u {
        out[at.z] = value.r2;
    }
    if PAIRS > 3u && tile.real > 3u {
        out[at.w] = value.r3;
    }
}

fn kept(at: vec4<u32>, factor: vec4<f32>) -> Square {
    var value = Square(out[at.x] * factor.x, vec4(0.0), vec4(0.0), vec4(0.0));
    if PAIRS > 1u {
        value.r1 = out[at.y] * factor.y;
    }
    if PAIRS > 2u {
        value.r2 = out[at.z] * factor.z;
    }
    if PAIRS > 3u {
        value.r3 = out[at.w] * factor.w;
    }
    return value;
}

// Four elements of each query.
fn queries_of(at: vec4<u32>) -> Square {
    var q = Square(qkv[at.x], vec4(0.0), vec4(0.0), vec4(0.0));
    if PAIRS > 1u {
        q.r1 = qkv[at.y];
    }
    if PAIRS > 2u {
        q.r2 = qkv[at.z];
    }
    if PAIRS > 3u {
        q.r3 = qkv[at.w];
    }
    return q;
}

// Attends from the tile's rows and heads; partial sums live in `out`. Returns the log-sum-exp of each.
// Rows may belong to different sequences: the subgroup walks over the keys of each.
fn attend(tile: Tile, lane: u32) -> vec4<f32> {
    let q = tile.rows * query_stride() + tile.heads * (HEAD_DIM / 4u);
    let o = (tile.rows * HEADS + tile.heads) * (HEAD_DIM / 4u);
    let k_offset = tile.heads.x / (HEADS / KV_HEADS) * (HEAD_DIM / 4u);
    let v_offset = k_offset + KV_HEADS * HEAD_DIM / 4u;
    let real = vec4(0u, 1u, 2u, 3u) < vec4(tile.real);
    let row0 = rows[tile.rows.x];
    let row1 = rows[tile.rows.y];
    let row2 = rows[tile.rows.z];
    let row3 = rows[tile.rows.w];
    var owners = select(vec4(NOBODY), vec4(row0.sequence, row1.sequence, row2.sequence, row3.sequence), real);
    let lengths = vec4(row0.position, row1.position, row2.position, row3.position) + 1u;
    for (var i = 0u; i < HEAD_DIM / 4u; i++) {
        keep(tile, o + i, Square());
    }
    var largest = vec4(LEAST);
    var total = vec4(0.0);
    var owner = subgroupMin(min(min(owners.x, owners.y), min(owners.z, owners.w)));
    while owner != NOBODY {
        let limits = select(vec4(0u), lengths, owners == vec4(owner));
        let keys = subgroupMax(max(max(limits.x, limits.y), max(limits.z, limits.w)));
        let sequence = sequences[owner];
        for (var start = 0u; start < keys; start += 16u) {
            let ka = kv_index(sequence, min(start + lane, keys - 1u)) * cache_stride();
            let kb = kv_index(sequence, min(start + 8u + lane, keys - 1u)) * cache_stride();
            var sa = Eight();
            var sb = Eight();
            for (var i = 0u; i < HEAD_DIM / 4u; i++) {
                let query = queries_of(q + i);
                let a = cache[ka + k_offset + i];
                let b = cache[kb + k_offset + i];
                let x = vec4(query.r0.x, query.r1.x, query.r2.x, query.r3.x);
                sa = score(sa, x, a.x);
                sb = score(sb, x, b.x);
                let y = vec4(query.r0.y, query.r1.y, query.r2.y, query.r3.y);
                sa = score(sa, y, a.y);
                sb = score(sb, y, b.y);
                let z = vec4(query.r0.z, query.r1.z, query.r2.z, query.r3.z);
                sa = score(sa, z, a.z);
                sb = score(sb, z, b.z);
                let w = vec4(query.r0.w, query.r1.w, query.r2.w, query.r3.w);
                sa = score(sa, w, a.w);
                sb = score(sb, w, b.w);
            }
            sa = mask(sa, start, limits);
            sb = mask(sb, start + 8u, limits);
            let before = largest;
            largest = max(largest, max(largest_of(sa), largest_of(sb)));
            sa = chances(sa, largest);
            sb = chances(sb, largest);
            let fade = exp(before - largest);
            total = total * fade + (total_of(sa) + total_of(sb));
            for (var i = 0u; i < HEAD_DIM / 4u; i++) {
                let a = cache[ka + v_offset + i];
                let b = cache[kb + v_offset + i];
                let sum = weigh(kept(o + i, fade), sa, a);
                keep(tile, o + i, weigh(sum, sb, b));
            }
        }
        owners = select(owners, vec4(NOBODY), owners == vec4(owner));
        owner = subgroupMin(min(min(owners.x, owners.y), min(owners.z, owners.w)));
    }
    for (var i = 0u; i < HEAD_DIM / 4u; i++) {
        let sum = kept(o + i, vec4(1.0));
        keep(tile, o + i, Square(sum.r0 / total.x, sum.r1 / total.y, sum.r2 / total.z, sum.r3 / total.w));
    }
    return largest + log(total);
}

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    _ = attend(tile_of(group, lane), lane);
}

@compute @workgroup_size(LANES)
fn tile_per_subgroup_lse(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group, lane);
    let value = attend(tile, lane);
    let at = tile.rows * HEADS + tile.heads;
    if tile.real > 0u {
        lse[at.x] = value.x;
    }
    if PAIRS > 1u && tile.real > 1u {
        lse[at.y] = value.y;
    }
    if PAIRS > 2u && tile.real > 2u {
        lse[at.z] = value.z;
    }
    if PAIRS > 3u && tile.real > 3u {
        lse[at.w] = value.w;
    }
}

// Four elements of four heads.
struct Heads {
    h0: vec4<f32>,
    h1: vec4<f32>,
    h2: vec4<f32>,
    h3: vec4<f32>,
}

fn queries(q: vec4<u32>, at: u32) -> Heads {
    return Heads(qkv[q.x + at], qkv[q.y + at], qkv[q.z + at], qkv[q.w + at]);
}

// Products of four elements of a key with those of four queries, which another invocation holds.
fn dots(k: vec4<f32>, q0: vec4<f32>, q1: vec4<f32>, q2: vec4<f32>, q3: vec4<f32>) -> vec4<f32> {
    return vec4(dot(k, q0), dot(k, q1), dot(k, q2), dot(k, q3));
}

// 32 elements of one key from `at` on, with those of four queries, of which each invocation holds four.
fn score_part(at: u32, q: Heads) -> vec4<f32> {
    var s = dots(cache[at], subgroupBroadcast(q.h0, 0u), subgroupBroadcast(q.h1, 0u), subgroupBroadcast(q.h2, 0u), subgroupBroadcast(q.h3, 0u));
    s += dots(cache[at + 1u], subgroupBroadcast(q.h0, 1u), subgroupBroadcast(q.h1, 1u), subgroupBroadcast(q.h2, 1u), subgroupBroadcast(q.h3, 1u));
    s += dots(cache[at + 2u], subgroupBroadcast(q.h0, 2u), subgroupBroadcast(q.h1, 2u), subgroupBroadcast(q.h2, 2u), subgroupBroadcast(q.h3, 2u));
    s += dots(cache[at + 3u], subgroupBroadcast(q.h0, 3u), subgroupBroadcast(q.h1, 3u), subgroupBroadcast(q.h2, 3u), subgroupBroadcast(q.h3, 3u));
    s += dots(cache[at + 4u], subgroupBroadcast(q.h0, 4u), subgroupBroadcast(q.h1, 4u), subgroupBroadcast(q.h2, 4u), subgroupBroadcast(q.h3, 4u));
    s += dots(cache[at + 5u], subgroupBroadcast(q.h0, 5u), subgroupBroadcast(q.h1, 5u), subgroupBroadcast(q.h2, 5u), subgroupBroadcast(q.h3, 5u));
    s += dots(cache[at + 6u], subgroupBroadcast(q.h0, 6u), subgroupBroadcast(q.h1, 6u), subgroupBroadcast(q.h2, 6u), subgroupBroadcast(q.h3, 6u));
    s += dots(cache[at + 7u], subgroupBroadcast(q.h0, 7u), subgroupBroadcast(q.h1, 7u), subgroupBroadcast(q.h2, 7u), subgroupBroadcast(q.h3, 7u));
    return s;
}

fn weigh_one(sum: Heads, p: vec4<f32>, v: vec4<f32>) -> Heads {
    return Heads(sum.h0 + p.x * v, sum.h1 + p.y * v, sum.h2 + p.z * v, sum.h3 + p.w * v);
}

// Adds this invocation's four elements (offset `at`) of 8 values, whose places and weights the invocations hold.
fn weigh_part(sum: Heads, fade: vec4<f32>, place: u32, p: vec4<f32>, at: u32) -> Heads {
    var s = Heads(sum.h0 * fade.x, sum.h1 * fade.y, sum.h2 * fade.z, sum.h3 * fade.w);
    s = weigh_one(s, subgroupBroadcast(p, 0u), cache[subgroupBroadcast(place, 0u) + at]);
    s = weigh_one(s, subgroupBroadcast(p, 1u), cache[subgroupBroadcast(place, 1u) + at]);
    s = weigh_one(s, subgroupBroadcast(p, 2u), cache[subgroupBroadcast(place, 2u) + at]);
    s = weigh_one(s, subgroupBroadcast(p, 3u), cache[subgroupBroadcast(place, 3u) + at]);
    s = weigh_one(s, subgroupBroadcast(p, 4u), cache[subgroupBroadcast(place, 4u) + at]);
    s = weigh_one(s, subgroupBroadcast(p, 5u), cache[subgroupBroadcast(place, 5u) + at]);
    s = weigh_one(s, subgroupBroadcast(p, 6u), cache[subgroupBroadcast(place, 6u) + at]);
    return weigh_one(s, subgroupBroadcast(p, 7u), cache[subgroupBroadcast(place, 7u) + at]);
}

fn keep_heads(o: vec4<u32>, real: u32, total: vec4<f32>, value: Heads) {
    out[o.x] = value.h0 / total.x;
    if real > 1u {
        out[o.y] = value.h1 / total.y;
    }
    if real > 2u {
        out[o.z] = value.h2 / total.z;
    }
    if real > 3u {
        out[o.w] = value.h3 / total.w;
    }
}

@compute @workgroup_size(LANES)
fn row_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    // Heads with the same keys, the last one repeated.
    let sharing = HEADS / KV_HEADS;
    let fours = (sharing + 3u) / 4u;
    let kv_head = group.x / fours;
    let first = group.x % fours * 4u;
    let real = min(sharing - first, 4u);
    let heads = kv_head * sharing + min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(sharing - 1u));
    let row = rows[group.y];
    let sequence = sequences[row.sequence];
    let keys = row.position + 1u;
    let q = vec4(group.y * query_stride() + lane) + heads * (HEAD_DIM / 4u);
    let k_offset = kv_head * (HEAD_DIM / 4u);
    let v_offset = k_offset + KV_HEADS * HEAD_DIM / 4u + lane;
    let q0 = queries(q, 0u);
    var q1 = Heads();
    var q2 = Heads();
    var q3 = Heads();
    if HEAD_DIM > 32u {
        q1 = queries(q, 8u);
    }
    if HEAD_DIM > 64u {
        q2 = queries(q, 16u);
    }
    if HEAD_DIM > 96u {
        q3 = queries(q, 24u);
    }
    var largest = vec4(LEAST);
    var total = vec4(0.0);
    var o0 = Heads();
    var o1 = Heads();
    var o2 = Heads();
    var o3 = Heads();
    for (var start = 0u; start < keys; start += LANES) {
        let place = kv_index(sequence, min(start + lane, keys - 1u)) * cache_stride();
        var s = score_part(place + k_offset, q0);
        if HEAD_DIM > 32u {
            s += score_part(place + k_offset + 8u, q1);
        }
        if HEAD_DIM > 64u {
            s += score_part(place + k_offset + 16u, q2);
        }
        if HEAD_DIM > 96u {
            s += score_part(place + k_offset + 24u, q3);
        }
        s = masked(s, start + lane, vec4(keys));
        let before = largest;
        largest = max(largest, subgroupMax(s));
        let p = chance(s, largest);
        let fade = exp(before - largest);
        total = total * fade + subgroupAdd(p);
        o0 = weigh_part(o0, fade, place, p, v_offset);
        if HEAD_DIM > 32u {
            o1 = weigh_part(o1, fade, place, p, v_offset + 8u);
        }
        if HEAD_DIM > 64u {
            o2 = weigh_part(o2, fade, place, p, v_offset + 16u);
        }
        if HEAD_DIM > 96u {
            o3 = weigh_part(o3, fade, place, p, v_offset + 24u);
        }
    }
    let o = (vec4(group.y * HEADS) + heads) * (HEAD_DIM / 4u) + lane;
    keep_heads(o, real, total, o0);
    if HEAD_DIM > 32u {
        keep_heads(o + 8u, real, total, o1);
    }
    if HEAD_DIM > 64u {
        keep_heads(o + 16u, real, total, o2);
    }
    if HEAD_DIM > 96u {
        keep_heads(o + 24u, real, total, o3);
    }
}
