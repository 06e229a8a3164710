// The gradients of attention_backward.wgsl, same shapes, for emulated adapters with subgroups of at least 8 invocations
// (matmul_subgroup.wgsl says why). A subgroup takes 8 rows or 16 keys; each invocation reads one of them and one of the
// keys or rows on the other side, which the others have by broadcast. SHARED query heads of a key head go together: what
// is read of a key serves all of them. Every sum runs over keys, or over rows and heads, one after the other: where a
// sequence lies in the batch changes no bit. Blocks that nobody sees are passed over.
// Needs include/rows, include/attention_gradient and include/subgroup.
// Entry points, after prepare of attention_backward.wgsl:
//   queries_by_subgroup  dq of 8 rows, keys in blocks of 16
//   keys_by_subgroup     dk and dv of 16 keys, rows in blocks of 8

// One value of each of SHARED heads, for each of 8 keys or rows.
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

// Four elements of each of SHARED heads.
struct Heads {
    h0: vec4<f32>,
    h1: vec4<f32>,
    h2: vec4<f32>,
    h3: vec4<f32>,
}

// Offset of the SHARED heads from `at` on, each HEAD_DIM elements after the one before; the last one repeated.
fn heads_at(at: u32) -> vec4<u32> {
    return vec4(at) + min(vec4(0u, 1u, 2u, 3u), vec4(SHARED - 1u)) * (HEAD_DIM / 4u);
}

fn query_heads(at: vec4<u32>) -> Heads {
    var q = Heads(qkv[at.x], vec4(0.0), vec4(0.0), vec4(0.0));
    if SHARED > 1u {
        q.h1 = qkv[at.y];
    }
    if SHARED > 2u {
        q.h2 = qkv[at.z];
    }
    if SHARED > 3u {
        q.h3 = qkv[at.w];
    }
    return q;
}

fn upstream_heads(at: vec4<u32>) -> Heads {
    var g = Heads(upstream[at.x], vec4(0.0), vec4(0.0), vec4(0.0));
    if SHARED > 1u {
        g.h1 = upstream[at.y];
    }
    if SHARED > 2u {
        g.h2 = upstream[at.z];
    }
    if SHARED > 3u {
        g.h3 = upstream[at.w];
    }
    return g;
}

// Whether a row sees any key of [first, end).
fn sees_any(keys: Keys, first: u32, end: u32) -> bool {
    return max(first, keys.prefix_start) < min(end, keys.prefix_end) || max(first, keys.start) < min(end, keys.end);
}

// Adds the products of one element of SHARED heads with that of 8 keys, of which each invocation holds one.
fn score(s: Eight, x: vec4<f32>, own: f32) -> Eight {
    let low = from_lower(own);
    let high = from_upper(own);
    return Eight(
        s.k0 + x * low.x, s.k1 + x * low.y, s.k2 + x * low.z, s.k3 + x * low.w,
        s.k4 + x * high.x, s.k5 + x * high.y, s.k6 + x * high.z, s.k7 + x * high.w,
    );
}

// Four elements: the same for each of them.
fn score4(s: Eight, x: Heads, own: vec4<f32>) -> Eight {
    var sum = score(s, vec4(x.h0.x, x.h1.x, x.h2.x, x.h3.x), own.x);
    sum = score(sum, vec4(x.h0.y, x.h1.y, x.h2.y, x.h3.y), own.y);
    sum = score(sum, vec4(x.h0.z, x.h1.z, x.h2.z, x.h3.z), own.z);
    return score(sum, vec4(x.h0.w, x.h1.w, x.h2.w, x.h3.w), own.w);
}

// lse and D of SHARED heads.
struct Statistics {
    lse: vec4<f32>,
    d: vec4<f32>,
}

fn statistics_of(row: u32, head: u32) -> Statistics {
    let at = vec4(row * GROUP * KV_HEADS + head) + min(vec4(0u, 1u, 2u, 3u), vec4(SHARED - 1u));
    let x = stats[at.x];
    let y = stats[at.y];
    let z = stats[at.z];
    let w = stats[at.w];
    return Statistics(vec4(x.x, y.x, z.x, w.x), vec4(x.y, y.y, z.y, w.y));
}

// Gradients of the scores of one row with the 8 keys from `first` on.
fn score_gradients(s: Eight, dp: Eight, stat: Statistics, keys: Keys, first: u32) -> Eight {
    return Eight(
        weigh(s.k0, dp.k0, stat.lse, stat.d, vec4(sees(keys, first))).ds,
        weigh(s.k1, dp.k1, stat.lse, stat.d, vec4(sees(keys, first + 1u))).ds,
        weigh(s.k2, dp.k2, stat.lse, stat.d, vec4(sees(keys, first + 2u))).ds,
        weigh(s.k3, dp.k3, stat.lse, stat.d, vec4(sees(keys, first + 3u))).ds,
        weigh(s.k4, dp.k4, stat.lse, stat.d, vec4(sees(keys, first + 4u))).ds,
        weigh(s.k5, dp.k5, stat.lse, stat.d, vec4(sees(keys, first + 5u))).ds,
        weigh(s.k6, dp.k6, stat.lse, stat.d, vec4(sees(keys, first + 6u))).ds,
        weigh(s.k7, dp.k7, stat.lse, stat.d, vec4(sees(keys, first + 7u))).ds,
    );
}

fn add_key(sum: Heads, ds: vec4<f32>, k: vec4<f32>) -> Heads {
    return Heads(sum.h0 + ds.x * k, sum.h1 + ds.y * k, sum.h2 + ds.z * k, sum.h3 + ds.w * k);
}

// Adds four elements of 8 keys, of which each invocation holds one, weighted.
fn add_keys(sum: Heads, ds: Eight, own: vec4<f32>) -> Heads {
    var s = add_key(sum, ds.k0, subgroupBroadcast(own, 0u));
    s = add_key(s, ds.k1, subgroupBroadcast(own, 1u));
    s = add_key(s, ds.k2, subgroupBroadcast(own, 2u));
    s = add_key(s, ds.k3, subgroupBroadcast(own, 3u));
    s = add_key(s, ds.k4, subgroupBroadcast(own, 4u));
    s = add_key(s, ds.k5, subgroupBroadcast(own, 5u));
    s = add_key(s, ds.k6, subgroupBroadcast(own, 6u));
    return add_key(s, ds.k7, subgroupBroadcast(own, 7u));
}

fn keep_query(at: vec4<u32>, real: bool, sum: Heads) {
    if real {
        dqkv[at.x] = sum.h0;
        if SHARED > 1u {
            dqkv[at.y] = sum.h1;
        }
        if SHARED > 2u {
            dqkv[at.z] = sum.h2;
        }
        if SHARED > 3u {
            dqkv[at.w] = sum.h3;
        }
    }
}

fn kept_query(at: vec4<u32>) -> Heads {
    var sum = Heads(dqkv[at.x], vec4(0.0), vec4(0.0), vec4(0.0));
    if SHARED > 1u {
        sum.h1 = dqkv[at.y];
    }
    if SHARED > 2u {
        sum.h2 = dqkv[at.z];
    }
    if SHARED > 3u {
        sum.h3 = dqkv[at.w];
    }
    return sum;
}

@compute @workgroup_size(LANES)
fn queries_by_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let depth = HEAD_DIM / 4u;
    let head = group.x * SHARED;
    let key_head = head / GROUP;
    let first = group.y * LANES;
    let last = count.x - 1u;
    // Rows and keys beyond the last one repeat the last one: nothing of them is stored or seen.
    let row = min(first + lane, last);
    let real = first + lane <= last;
    let keys = keys_of(row);
    let stat = statistics_of(row, head);
    let q = heads_at(qkv_at(row, head));
    let g = heads_at(upstream_at(row, head));
    for (var d = 0u; d < depth; d++) {
        keep_query(q + d, real, Heads());
    }
    // No row sees a key after its own.
    for (var start = 0u; start <= min(first + LANES - 1u, last); start += 2u * LANES) {
        if !subgroupAny(sees_any(keys, start, start + 2u * LANES)) {
            continue;
        }
        let ka = kv_at(min(start + lane, last), key_head);
        let kb = kv_at(min(start + LANES + lane, last), key_head);
        let value = KV_HEADS * depth;
        var sa = Eight();
        var sb = Eight();
        for (var d = 0u; d < depth; d++) {
            let x = query_heads(q + d);
            sa = score4(sa, x, kv[ka + d]);
            sb = score4(sb, x, kv[kb + d]);
        }
        var pa = Eight();
        var pb = Eight();
        for (var d = 0u; d < depth; d++) {
            let x = upstream_heads(g + d);
            pa = score4(pa, x, kv[ka + value + d]);
            pb = score4(pb, x, kv[kb + value + d]);
        }
        sa = score_gradients(sa, pa, stat, keys, start);
        sb = score_gradients(sb, pb, stat, keys, start + LANES);
        for (var d = 0u; d < depth; d++) {
            let sum = add_keys(kept_query(q + d), sa, kv[ka + d]);
            keep_query(q + d, real, add_keys(sum, sb, kv[kb + d]));
        }
    }
}

// Values for two keys of an invocation.
struct Pair {
    a: Eight,
    b: Eight,
}

// Adds the products of one element of two keys with that of SHARED heads of 8 rows, of which each invocation holds one.
fn score_pair(s: Pair, a: f32, b: f32, own: vec4<f32>) -> Pair {
    let r0 = subgroupBroadcast(own, 0u);
    let r1 = subgroupBroadcast(own, 1u);
    let r2 = subgroupBroadcast(own, 2u);
    let r3 = subgroupBroadcast(own, 3u);
    let r4 = subgroupBroadcast(own, 4u);
    let r5 = subgroupBroadcast(own, 5u);
    let r6 = subgroupBroadcast(own, 6u);
    let r7 = subgroupBroadcast(own, 7u);
    return Pair(
        Eight(
            s.a.k0 + a * r0, s.a.k1 + a * r1, s.a.k2 + a * r2, s.a.k3 + a * r3,
            s.a.k4 + a * r4, s.a.k5 + a * r5, s.a.k6 + a * r6, s.a.k7 + a * r7,
        ),
        Eight(
            s.b.k0 + b * r0, s.b.k1 + b * r1, s.b.k2 + b * r2, s.b.k3 + b * r3,
            s.b.k4 + b * r4, s.b.k5 + b * r5, s.b.k6 + b * r6, s.b.k7 + b * r7,
        ),
    );
}

fn score_pair4(s: Pair, a: vec4<f32>, b: vec4<f32>, own: Heads) -> Pair {
    var sum = score_pair(s, a.x, b.x, vec4(own.h0.x, own.h1.x, own.h2.x, own.h3.x));
    sum = score_pair(sum, a.y, b.y, vec4(own.h0.y, own.h1.y, own.h2.y, own.h3.y));
    sum = score_pair(sum, a.z, b.z, vec4(own.h0.z, own.h1.z, own.h2.z, own.h3.z));
    return score_pair(sum, a.w, b.w, vec4(own.h0.w, own.h1.w, own.h2.w, own.h3.w));
}

// Probabilities and gradients of scores, of two keys with SHARED heads of one row.
struct WeighedPair {
    a: Weighed,
    b: Weighed,
}

// Of the row that invocation `i` holds.
fn weigh_pair(a: vec4<f32>, b: vec4<f32>, da: vec4<f32>, db: vec4<f32>, own: Statistics, keys: Keys, j: vec2<u32>, i: u32) -> WeighedPair {
    let lse_of = subgroupShuffle(own.lse, i);
    let d_of = subgroupShuffle(own.d, i);
    let seen = Keys(
        subgroupShuffle(keys.prefix_start, i), subgroupShuffle(keys.prefix_end, i),
        subgroupShuffle(keys.start, i), subgroupShuffle(keys.end, i),
    );
    return WeighedPair(
        weigh(a, da, lse_of, d_of, vec4(sees(seen, j.x))),
        weigh(b, db, lse_of, d_of, vec4(sees(seen, j.y))),
    );
}

// Four elements of the gradients of two keys, or of their values.
struct Two {
    a: vec4<f32>,
    b: vec4<f32>,
}

// Adds four elements of SHARED heads of the row that invocation `i` holds, weighted for each of the keys.
fn add_row(sum: Two, a: vec4<f32>, b: vec4<f32>, r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>) -> Two {
    var s = Two(sum.a + a.x * r0, sum.b + b.x * r0);
    if SHARED > 1u {
        s = Two(s.a + a.y * r1, s.b + b.y * r1);
    }
    if SHARED > 2u {
        s = Two(s.a + a.z * r2, s.b + b.z * r2);
    }
    if SHARED > 3u {
        s = Two(s.a + a.w * r3, s.b + b.w * r3);
    }
    return s;
}

fn add_rows(sum: Two, w: Pair, own: Heads) -> Two {
    var s = add_row(sum, w.a.k0, w.b.k0, subgroupBroadcast(own.h0, 0u), subgroupBroadcast(own.h1, 0u), subgroupBroadcast(own.h2, 0u), subgroupBroadcast(own.h3, 0u));
    s = add_row(s, w.a.k1, w.b.k1, subgroupBroadcast(own.h0, 1u), subgroupBroadcast(own.h1, 1u), subgroupBroadcast(own.h2, 1u), subgroupBroadcast(own.h3, 1u));
    s = add_row(s, w.a.k2, w.b.k2, subgroupBroadcast(own.h0, 2u), subgroupBroadcast(own.h1, 2u), subgroupBroadcast(own.h2, 2u), subgroupBroadcast(own.h3, 2u));
    s = add_row(s, w.a.k3, w.b.k3, subgroupBroadcast(own.h0, 3u), subgroupBroadcast(own.h1, 3u), subgroupBroadcast(own.h2, 3u), subgroupBroadcast(own.h3, 3u));
    s = add_row(s, w.a.k4, w.b.k4, subgroupBroadcast(own.h0, 4u), subgroupBroadcast(own.h1, 4u), subgroupBroadcast(own.h2, 4u), subgroupBroadcast(own.h3, 4u));
    s = add_row(s, w.a.k5, w.b.k5, subgroupBroadcast(own.h0, 5u), subgroupBroadcast(own.h1, 5u), subgroupBroadcast(own.h2, 5u), subgroupBroadcast(own.h3, 5u));
    s = add_row(s, w.a.k6, w.b.k6, subgroupBroadcast(own.h0, 6u), subgroupBroadcast(own.h1, 6u), subgroupBroadcast(own.h2, 6u), subgroupBroadcast(own.h3, 6u));
    return add_row(s, w.a.k7, w.b.k7, subgroupBroadcast(own.h0, 7u), subgroupBroadcast(own.h1, 7u), subgroupBroadcast(own.h2, 7u), subgroupBroadcast(own.h3, 7u));
}

fn keep_pair(at: vec2<u32>, real: vec2<bool>, value: Two) {
    if real.x {
        dqkv[at.x] = value.a;
    }
    if real.y {
        dqkv[at.y] = value.b;
    }
}

@compute @workgroup_size(LANES)
fn keys_by_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let depth = HEAD_DIM / 4u;
    let value = KV_HEADS * depth;
    let key_head = group.x;
    let first = group.y * 2u * LANES;
    let last = count.x - 1u;
    let given = vec2(first + lane) + vec2(0u, LANES);
    let real = given <= vec2(last);
    let j = min(given, vec2(last));
    let k = vec2(kv_at(j.x, key_head), kv_at(j.y, key_head));
    let to = GROUP * KV_HEADS + key_head;
    let dk = vec2(qkv_at(j.x, to), qkv_at(j.y, to));
    for (var d = 0u; d < depth; d++) {
        keep_pair(dk + d, real, Two());
        keep_pair(dk + value + d, real, Two());
    }
    let end = min(subgroupMax(max(query_end[j.x], query_end[j.y])), count.x);
    for (var head = key_head * GROUP; head < (key_head + 1u) * GROUP; head += SHARED) {
        for (var start = first; start < end; start += LANES) {
            let t = min(start + lane, last);
            var keys = keys_of(t);
            if start + lane >= end {
                keys = Keys();
            }
            if !subgroupAny(sees_any(keys, first, first + 2u * LANES)) {
                continue;
            }
            let q = heads_at(qkv_at(t, head));
            let g = heads_at(upstream_at(t, head));
            var s = Pair();
            for (var d = 0u; d < depth; d++) {
                s = score_pair4(s, kv[k.x + d], kv[k.y + d], query_heads(q + d));
            }
            var dp = Pair();
            for (var d = 0u; d < depth; d++) {
                dp = score_pair4(dp, kv[k.x + value + d], kv[k.y + value + d], upstream_heads(g + d));
            }
            let stat = statistics_of(t, head);
            let w0 = weigh_pair(s.a.k0, s.b.k0, dp.a.k0, dp.b.k0, stat, keys, j, 0u);
            let w1 = weigh_pair(s.a.k1, s.b.k1, dp.a.k1, dp.b.k1, stat, keys, j, 1u);
            let w2 = weigh_pair(s.a.k2, s.b.k2, dp.a.k2, dp.b.k2, stat, keys, j, 2u);
            let w3 = weigh_pair(s.a.k3, s.b.k3, dp.a.k3, dp.b.k3, stat, keys, j, 3u);
            let w4 = weigh_pair(s.a.k4, s.b.k4, dp.a.k4, dp.b.k4, stat, keys, j, 4u);
            let w5 = weigh_pair(s.a.k5, s.b.k5, dp.a.k5, dp.b.k5, stat, keys, j, 5u);
            let w6 = weigh_pair(s.a.k6, s.b.k6, dp.a.k6, dp.b.k6, stat, keys, j, 6u);
            let w7 = weigh_pair(s.a.k7, s.b.k7, dp.a.k7, dp.b.k7, stat, keys, j, 7u);
            let ds = Pair(
                Eight(w0.a.ds, w1.a.ds, w2.a.ds, w3.a.ds, w4.a.ds, w5.a.ds, w6.a.ds, w7.a.ds),
                Eight(w0.b.ds, w1.b.ds, w2.b.ds, w3.b.ds, w4.b.ds, w5.b.ds, w6.b.ds, w7.b.ds),
            );
            let p = Pair(
                Eight(w0.a.p, w1.a.p, w2.a.p, w3.a.p, w4.a.p, w5.a.p, w6.a.p, w7.a.p),
                Eight(w0.b.p, w1.b.p, w2.b.p, w3.b.p, w4.b.p, w5.b.p, w6.b.p, w7.b.p),
            );
            for (var d = 0u; d < depth; d++) {
                let at = dk + d;
                keep_pair(at, real, add_rows(Two(dqkv[at.x], dqkv[at.y]), ds, query_heads(q + d)));
            }
            for (var d = 0u; d < depth; d++) {
                let at = dk + value + d;
                keep_pair(at, real, add_rows(Two(dqkv[at.x], dqkv[at.y]), p, upstream_heads(g + d)));
            }
        }
    }
}
