// Gradient of causal grouped-query attention over a packed batch, o[t] = Σ_j p[t, j] v[j] with
// p[t, j] = exp(SCALE q[t]·k[j] - lse[t]) over the keys j that row t sees:
//   D[t] = do[t]·o[t],  ds[t, j] = SCALE p[t, j] (do[t]·v[j] - D[t]),
//   dq[t] = Σ_j ds[t, j] k[j],  dk[j] = Σ_t ds[t, j] q[t],  dv[j] = Σ_t p[t, j] do[t],
// dk and dv also summing over the GROUP query heads of a key head. All sums run in a fixed order.
// The batch is packed: the key of a row lies at the row's own number. Row t at position p of sequence s sees the keys
// kv_index(s, 0..=p), a shared prefix among them; key j is seen by rows from j to query_end[j] at most.
// Shapes: qkv (queries rotated), dqkv [rows, (GROUP + 2) KV_HEADS HEAD_DIM]; kv [rows, 2 KV_HEADS HEAD_DIM] (rotated
// keys, then values); lse [rows, HEADS]; o, upstream [rows, HEADS HEAD_DIM]; stats [rows, HEADS] of (lse, D);
// count.x = rows. HEAD_DIM is a multiple of 4, at most 256. Needs include/rows.
// Entry points: prepare (all adapters) fills stats; then dq and dk, dv by
//   queries_by_lane, keys_by_lane             a row an invocation, vectors in registers, for emulated adapters: what
//                                             8 neighbouring rows meet is read once for all of them
//   query_per_workgroup, key_per_workgroup    a row a workgroup, for GPUs

override KV_HEADS: u32;
override GROUP: u32;
override HEAD_DIM: u32;
override SCALE: f32;
// Query heads of one key head that an invocation of queries_by_lane takes together: 1, 2 or 3.
override SHARED: u32 = 1u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> kv: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> upstream: array<f32>;
@group(0) @binding(4) var<storage, read> rows: array<Row>;
@group(0) @binding(5) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<f32>;
@group(0) @binding(7) var<storage, read> query_end: array<u32>;
@group(0) @binding(8) var<uniform> count: vec4<u32>;
@group(0) @binding(9) var<storage, read> lse: array<f32>;
@group(0) @binding(10) var<storage, read> o: array<f32>;

// Offset of query head h, or of key head h - HEADS, of a row in qkv and dqkv; value heads follow the key heads.
fn qkv_at(row: u32, head: u32) -> u32 {
    return (row * (GROUP + 2u) * KV_HEADS + head) * HEAD_DIM;
}

fn kv_at(row: u32, head: u32) -> u32 {
    return (row * 2u * KV_HEADS + head) * HEAD_DIM;
}

fn upstream_at(row: u32, head: u32) -> u32 {
    return (row * GROUP * KV_HEADS + head) * HEAD_DIM;
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

@compute @workgroup_size(64)
fn prepare(@builtin(global_invocation_id) id: vec3<u32>) {
    let heads = GROUP * KV_HEADS;
    let row = id.y;
    let head = id.x;
    if head >= heads {
        return;
    }
    let at = upstream_at(row, head);
    var sum = 0.0;
    for (var d = 0u; d < HEAD_DIM; d++) {
        sum += upstream[at + d] * o[at + d];
    }
    stats[row * heads + head] = vec2(lse[row * heads + head], sum);
}

const LANES = 8u;
const LARGEST = 64u;

fn qkv4(at: u32) -> vec4<f32> {
    return vec4(qkv[at], qkv[at + 1u], qkv[at + 2u], qkv[at + 3u]);
}

fn kv4(at: u32) -> vec4<f32> {
    return vec4(kv[at], kv[at + 1u], kv[at + 2u], kv[at + 3u]);
}

fn upstream4(at: u32) -> vec4<f32> {
    return vec4(upstream[at], upstream[at + 1u], upstream[at + 2u], upstream[at + 3u]);
}

fn store4(at: u32, value: vec4<f32>) {
    dqkv[at] = value.x;
    dqkv[at + 1u] = value.y;
    dqkv[at + 2u] = value.z;
    dqkv[at + 3u] = value.w;
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// Probability and gradient of a score from q·k, do·v, (lse, D).
fn weigh(score: vec4<f32>, dp: vec4<f32>, stat: vec2<f32>, seen: bool) -> vec2<f32> {
    let p = select(0.0, exp(SCALE * sum4(score) - stat.x), seen);
    return vec2(p, SCALE * p * (sum4(dp) - stat.y));
}

@compute @workgroup_size(LANES)
fn queries_by_lane(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // The heads of one invocation share their key head. They stand in three sets of variables, not in an array:
    // emulated adapters keep only what is indexed by constants in registers.
    let head = group.x * SHARED;
    let key_head = head / GROUP;
    let first = group.y * LANES;
    let row = min(first + lane, count.x - 1u);
    let mine = keys_of(row);
    let stat_at = row * GROUP * KV_HEADS + head;
    let stat0 = stats[stat_at];
    let stat1 = stats[stat_at + SHARED / 2u];
    let stat2 = stats[stat_at + SHARED - 1u];
    var q0: array<vec4<f32>, LARGEST>;
    var q1: array<vec4<f32>, LARGEST>;
    var q2: array<vec4<f32>, LARGEST>;
    var g0: array<vec4<f32>, LARGEST>;
    var g1: array<vec4<f32>, LARGEST>;
    var g2: array<vec4<f32>, LARGEST>;
    var dq0: array<vec4<f32>, LARGEST>;
    var dq1: array<vec4<f32>, LARGEST>;
    var dq2: array<vec4<f32>, LARGEST>;
    let q_at = qkv_at(row, head);
    let g_at = upstream_at(row, head);
    for (var i = 0u; i < HEAD_DIM / 4u; i++) {
        q0[i] = qkv4(q_at + 4u * i);
        g0[i] = upstream4(g_at + 4u * i);
        dq0[i] = vec4(0.0);
        if SHARED > 1u {
            q1[i] = qkv4(q_at + HEAD_DIM + 4u * i);
            g1[i] = upstream4(g_at + HEAD_DIM + 4u * i);
            dq1[i] = vec4(0.0);
        }
        if SHARED > 2u {
            q2[i] = qkv4(q_at + 2u * HEAD_DIM + 4u * i);
            g2[i] = upstream4(g_at + 2u * HEAD_DIM + 4u * i);
            dq2[i] = vec4(0.0);
        }
    }
    // The keys that any of the 8 rows sees: the same loop for all of them.
    var all = keys_of(first);
    for (var i = 1u; i < LANES; i++) {
        let other = keys_of(min(first + i, count.x - 1u));
        if other.prefix_end > other.prefix_start {
            if all.prefix_end > all.prefix_start {
                all.prefix_start = min(all.prefix_start, other.prefix_start);
                all.prefix_end = max(all.prefix_end, other.prefix_end);
            } else {
                all.prefix_start = other.prefix_start;
                all.prefix_end = other.prefix_end;
            }
        }
        all.start = min(all.start, other.start);
        all.end = max(all.end, other.end);
    }
    let prefix_length = all.prefix_end - all.prefix_start;
    for (var n = 0u; n < prefix_length + all.end - all.start; n++) {
        let in_prefix = n < prefix_length;
        let j = select(all.start + n - prefix_length, all.prefix_start + n, in_prefix);
        let low = select(mine.start, mine.prefix_start, in_prefix);
        let high = select(mine.end, mine.prefix_end, in_prefix);
        let seen = j >= low && j < high;
        let k_at = kv_at(j, key_head);
        let v_at = kv_at(j, KV_HEADS + key_head);
        var score0 = vec4(0.0);
        var score1 = vec4(0.0);
        var score2 = vec4(0.0);
        var dp0 = vec4(0.0);
        var dp1 = vec4(0.0);
        var dp2 = vec4(0.0);
        var k: array<vec4<f32>, LARGEST>;
        for (var i = 0u; i < HEAD_DIM / 4u; i++) {
            k[i] = kv4(k_at + 4u * i);
            let v = kv4(v_at + 4u * i);
            score0 += q0[i] * k[i];
            dp0 += g0[i] * v;
            if SHARED > 1u {
                score1 += q1[i] * k[i];
                dp1 += g1[i] * v;
            }
            if SHARED > 2u {
                score2 += q2[i] * k[i];
                dp2 += g2[i] * v;
            }
        }
        let ds0 = weigh(score0, dp0, stat0, seen).y;
        let ds1 = weigh(score1, dp1, stat1, seen).y;
        let ds2 = weigh(score2, dp2, stat2, seen).y;
        for (var i = 0u; i < HEAD_DIM / 4u; i++) {
            dq0[i] += ds0 * k[i];
            if SHARED > 1u {
                dq1[i] += ds1 * k[i];
            }
            if SHARED > 2u {
                dq2[i] += ds2 * k[i];
            }
        }
    }
    if first + lane < count.x {
        for (var i = 0u; i < HEAD_DIM / 4u; i++) {
            store4(q_at + 4u * i, dq0[i]);
            if SHARED > 1u {
                store4(q_at + HEAD_DIM + 4u * i, dq1[i]);
            }
            if SHARED > 2u {
                store4(q_at + 2u * HEAD_DIM + 4u * i, dq2[i]);
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn keys_by_lane(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // An invocation takes two keys, 8 rows apart, so that a query read once serves both.
    let key_head = group.x;
    let first = group.y * 2u * LANES;
    let last = count.x - 1u;
    let j0 = min(first + lane, last);
    let j1 = min(first + LANES + lane, last);
    var k0: array<vec4<f32>, LARGEST>;
    var k1: array<vec4<f32>, LARGEST>;
    var v0: array<vec4<f32>, LARGEST>;
    var v1: array<vec4<f32>, LARGEST>;
    var dk0: array<vec4<f32>, LARGEST>;
    var dk1: array<vec4<f32>, LARGEST>;
    var dv0: array<vec4<f32>, LARGEST>;
    var dv1: array<vec4<f32>, LARGEST>;
    for (var i = 0u; i < HEAD_DIM / 4u; i++) {
        k0[i] = kv4(kv_at(j0, key_head) + 4u * i);
        k1[i] = kv4(kv_at(j1, key_head) + 4u * i);
        v0[i] = kv4(kv_at(j0, KV_HEADS + key_head) + 4u * i);
        v1[i] = kv4(kv_at(j1, KV_HEADS + key_head) + 4u * i);
        dk0[i] = vec4(0.0);
        dk1[i] = vec4(0.0);
        dv0[i] = vec4(0.0);
        dv1[i] = vec4(0.0);
    }
    var end = 0u;
    for (var i = 0u; i < 2u * LANES; i++) {
        end = max(end, query_end[min(first + i, last)]);
    }
    for (var t = first; t < min(end, count.x); t++) {
        let keys = keys_of(t);
        let seen0 = sees(keys, j0);
        let seen1 = sees(keys, j1);
        for (var h = key_head * GROUP; h < (key_head + 1u) * GROUP; h++) {
            let q_at = qkv_at(t, h);
            let g_at = upstream_at(t, h);
            let stat = stats[t * GROUP * KV_HEADS + h];
            var q: array<vec4<f32>, LARGEST>;
            var g: array<vec4<f32>, LARGEST>;
            var score0 = vec4(0.0);
            var score1 = vec4(0.0);
            var dp0 = vec4(0.0);
            var dp1 = vec4(0.0);
            for (var i = 0u; i < HEAD_DIM / 4u; i++) {
                q[i] = qkv4(q_at + 4u * i);
                g[i] = upstream4(g_at + 4u * i);
                score0 += k0[i] * q[i];
                score1 += k1[i] * q[i];
                dp0 += v0[i] * g[i];
                dp1 += v1[i] * g[i];
            }
            let weight0 = weigh(score0, dp0, stat, seen0);
            let weight1 = weigh(score1, dp1, stat, seen1);
            for (var i = 0u; i < HEAD_DIM / 4u; i++) {
                dk0[i] += weight0.y * q[i];
                dk1[i] += weight1.y * q[i];
                dv0[i] += weight0.x * g[i];
                dv1[i] += weight1.x * g[i];
            }
        }
    }
    for (var i = 0u; i < HEAD_DIM / 4u; i++) {
        let k_head = GROUP * KV_HEADS + key_head;
        let v_head = k_head + KV_HEADS;
        if first + lane <= last {
            store4(qkv_at(j0, k_head) + 4u * i, dk0[i]);
            store4(qkv_at(j0, v_head) + 4u * i, dv0[i]);
        }
        if first + LANES + lane <= last {
            store4(qkv_at(j1, k_head) + 4u * i, dk1[i]);
            store4(qkv_at(j1, v_head) + 4u * i, dv1[i]);
        }
    }
}

const WIDTH = 64u;
// The row's own two vectors: query and upstream gradient, or key and value.
var<workgroup> own_first: array<f32, 256>;
var<workgroup> own_second: array<f32, 256>;
var<workgroup> p_tile: array<f32, WIDTH>;
var<workgroup> ds_tile: array<f32, WIDTH>;
var<workgroup> at_tile: array<u32, WIDTH>;

@compute @workgroup_size(WIDTH)
fn query_per_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let key_head = head / GROUP;
    let row = group.y;
    let position = rows[row].position;
    let sequence = sequences[rows[row].sequence];
    let stat = stats[row * GROUP * KV_HEADS + head];
    for (var d = lane; d < HEAD_DIM; d += WIDTH) {
        own_first[d] = qkv[qkv_at(row, head) + d];
        own_second[d] = upstream[upstream_at(row, head) + d];
    }
    workgroupBarrier();
    var dq = vec4(0.0);
    for (var start = 0u; start <= position; start += WIDTH) {
        let p_index = min(start + lane, position);
        let j = kv_index(sequence, p_index);
        let k_at = kv_at(j, key_head);
        let v_at = kv_at(j, KV_HEADS + key_head);
        var score = 0.0;
        var dp = 0.0;
        for (var d = 0u; d < HEAD_DIM; d++) {
            score += own_first[d] * kv[k_at + d];
            dp += own_second[d] * kv[v_at + d];
        }
        let p = select(0.0, exp(SCALE * score - stat.x), start + lane <= position);
        ds_tile[lane] = SCALE * p * (dp - stat.y);
        at_tile[lane] = k_at;
        workgroupBarrier();
        for (var c = 0u; c * WIDTH < HEAD_DIM; c++) {
            let d = min(c * WIDTH + lane, HEAD_DIM - 1u);
            var sum = 0.0;
            for (var i = 0u; i < WIDTH; i++) {
                sum += ds_tile[i] * kv[at_tile[i] + d];
            }
            dq[c] += sum;
        }
        workgroupBarrier();
    }
    for (var c = 0u; c * WIDTH < HEAD_DIM; c++) {
        if c * WIDTH + lane < HEAD_DIM {
            dqkv[qkv_at(row, head) + c * WIDTH + lane] = dq[c];
        }
    }
}

@compute @workgroup_size(WIDTH)
fn key_per_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let key_head = group.x;
    let j = group.y;
    for (var d = lane; d < HEAD_DIM; d += WIDTH) {
        own_first[d] = kv[kv_at(j, key_head) + d];
        own_second[d] = kv[kv_at(j, KV_HEADS + key_head) + d];
    }
    workgroupBarrier();
    var dk = vec4(0.0);
    var dv = vec4(0.0);
    let end = min(query_end[j], count.x);
    for (var start = j; start < end; start += WIDTH) {
        let t = min(start + lane, end - 1u);
        let seen = start + lane < end && sees(keys_of(t), j);
        for (var h = key_head * GROUP; h < (key_head + 1u) * GROUP; h++) {
            let stat = stats[t * GROUP * KV_HEADS + h];
            let q_at = qkv_at(t, h);
            let g_at = upstream_at(t, h);
            var score = 0.0;
            var dp = 0.0;
            for (var d = 0u; d < HEAD_DIM; d++) {
                score += own_first[d] * qkv[q_at + d];
                dp += own_second[d] * upstream[g_at + d];
            }
            let p = select(0.0, exp(SCALE * score - stat.x), seen);
            p_tile[lane] = p;
            ds_tile[lane] = SCALE * p * (dp - stat.y);
            workgroupBarrier();
            for (var c = 0u; c * WIDTH < HEAD_DIM; c++) {
                let d = min(c * WIDTH + lane, HEAD_DIM - 1u);
                var key_sum = 0.0;
                var value_sum = 0.0;
                for (var i = 0u; i < min(WIDTH, end - start); i++) {
                    key_sum += ds_tile[i] * qkv[qkv_at(start + i, h) + d];
                    value_sum += p_tile[i] * upstream[upstream_at(start + i, h) + d];
                }
                dk[c] += key_sum;
                dv[c] += value_sum;
            }
            workgroupBarrier();
        }
    }
    for (var c = 0u; c * WIDTH < HEAD_DIM; c++) {
        if c * WIDTH + lane < HEAD_DIM {
            let d = c * WIDTH + lane;
            dqkv[qkv_at(j, GROUP * KV_HEADS + key_head) + d] = dk[c];
            dqkv[qkv_at(j, (GROUP + 1u) * KV_HEADS + key_head) + d] = dv[c];
        }
    }
}
