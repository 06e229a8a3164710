// Gradient of causal grouped-query attention over a packed batch, o[t] = Σ_j p[t, j] v[j] with
// p[t, j] = exp(SCALE q[t]·k[j] - lse[t]) over the keys j that row t sees:
//   D[t] = do[t]·o[t],  ds[t, j] = SCALE p[t, j] (do[t]·v[j] - D[t]),
//   dq[t] = Σ_j ds[t, j] k[j],  dk[j] = Σ_t ds[t, j] q[t],  dv[j] = Σ_t p[t, j] do[t],
// dk and dv also summing over the GROUP query heads of a key head. All sums run in a fixed order.
// The batch is packed: the key of a row lies at the row's own number. Row t at position p of sequence s sees the keys
// kv_index(s, 0..=p), a shared prefix among them; key j is seen by rows from j to query_end[j] at most.
// Shapes: qkv (queries rotated), dqkv [rows, (GROUP + 2) KV_HEADS HEAD_DIM]; kv [rows, 2 KV_HEADS HEAD_DIM] (rotated
// keys, then values); lse [rows, HEADS]; o, upstream [rows, HEADS HEAD_DIM]; stats [rows, HEADS] of (lse, D);
// count.x = rows. HEAD_DIM is a multiple of 4, at most 256. Needs include/rows and include/attention_gradient.
// Entry points: prepare (all adapters) fills stats; then dq and dk, dv by queries_by_lane and keys_by_lane, a row an
// invocation, for emulated adapters without subgroups, where every read is dear: what is read serves several heads or keys,
// in registers. attention_backward_subgroup.wgsl and attention_backward_blocks.wgsl are for those with, and for GPUs.

@group(0) @binding(9) var<storage, read> lse: array<f32>;
@group(0) @binding(10) var<storage, read> o: array<vec4<f32>>;

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
    for (var d = 0u; d < HEAD_DIM / 4u; d++) {
        sum += dot(upstream[at + d], o[at + d]);
    }
    stats[row * heads + head] = vec2(lse[row * heads + head], sum);
}

const LANES = 8u;

@compute @workgroup_size(LANES)
fn queries_by_lane(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let depth = HEAD_DIM / 4u;
    let head = group.x * SHARED;
    let key_head = head / GROUP;
    let first = group.y * LANES;
    if first + lane >= count.x {
        return;
    }
    let row = first + lane;
    let mine = keys_of(row);
    let stat_at = row * GROUP * KV_HEADS + head;
    let stat0 = stats[stat_at];
    let stat1 = stats[stat_at + SHARED / 2u];
    let stat2 = stats[stat_at + SHARED - 1u];
    let q_at = qkv_at(row, head);
    let g_at = upstream_at(row, head);
    for (var d = 0u; d < SHARED * depth; d++) {
        dqkv[q_at + d] = vec4(0.0);
    }
    let prefix_length = mine.prefix_end - mine.prefix_start;
    let total = prefix_length + mine.end - mine.start;
    // Four keys at a time; past the end the last one again, with weight 0.
    for (var n = 0u; n < total; n += 4u) {
        let index = vec4(n) + vec4(0u, 1u, 2u, 3u);
        let seen = index < vec4(total);
        let key = min(index, vec4(total - 1u));
        let j = select(key - prefix_length + mine.start, key + mine.prefix_start, key < vec4(prefix_length));
        let k_at = (j * 2u * KV_HEADS + key_head) * depth;
        let v_at = k_at + KV_HEADS * depth;
        var score0 = vec4(0.0);
        var score1 = vec4(0.0);
        var score2 = vec4(0.0);
        var dp0 = vec4(0.0);
        var dp1 = vec4(0.0);
        var dp2 = vec4(0.0);
        for (var d = 0u; d < depth; d++) {
            let k = mat4x4(kv[k_at.x + d], kv[k_at.y + d], kv[k_at.z + d], kv[k_at.w + d]);
            let v = mat4x4(kv[v_at.x + d], kv[v_at.y + d], kv[v_at.z + d], kv[v_at.w + d]);
            score0 += qkv[q_at + d] * k;
            dp0 += upstream[g_at + d] * v;
            if SHARED > 1u {
                score1 += qkv[q_at + depth + d] * k;
                dp1 += upstream[g_at + depth + d] * v;
            }
            if SHARED > 2u {
                score2 += qkv[q_at + 2u * depth + d] * k;
                dp2 += upstream[g_at + 2u * depth + d] * v;
            }
        }
        let ds0 = weigh(score0, dp0, vec4(stat0.x), vec4(stat0.y), seen).ds;
        let ds1 = weigh(score1, dp1, vec4(stat1.x), vec4(stat1.y), seen).ds;
        let ds2 = weigh(score2, dp2, vec4(stat2.x), vec4(stat2.y), seen).ds;
        for (var d = 0u; d < depth; d++) {
            let k = mat4x4(kv[k_at.x + d], kv[k_at.y + d], kv[k_at.z + d], kv[k_at.w + d]);
            dqkv[q_at + d] += k * ds0;
            if SHARED > 1u {
                dqkv[q_at + depth + d] += k * ds1;
            }
            if SHARED > 2u {
                dqkv[q_at + 2u * depth + d] += k * ds2;
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn keys_by_lane(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // An invocation takes two keys, 8 rows apart, and four queries at a time.
    let depth = HEAD_DIM / 4u;
    let key_head = group.x;
    let first = group.y * 2u * LANES;
    let last = count.x - 1u;
    if first + lane > last {
        return;
    }
    let j0 = first + lane;
    let j1 = min(j0 + LANES, last);
    let second = j0 + LANES <= last;
    let k_at0 = kv_at(j0, key_head);
    let k_at1 = kv_at(j1, key_head);
    let dk_at0 = qkv_at(j0, GROUP * KV_HEADS + key_head);
    let dk_at1 = qkv_at(j1, GROUP * KV_HEADS + key_head);
    // From a key of kv or dqkv to its value.
    let value = KV_HEADS * depth;
    for (var d = 0u; d < depth; d++) {
        dqkv[dk_at0 + d] = vec4(0.0);
        dqkv[dk_at0 + value + d] = vec4(0.0);
        if second {
            dqkv[dk_at1 + d] = vec4(0.0);
            dqkv[dk_at1 + value + d] = vec4(0.0);
        }
    }
    let end = min(max(query_end[j0], query_end[j1]), count.x);
    for (var start = j0; start < end; start += 4u) {
        let t = min(vec4(start) + vec4(0u, 1u, 2u, 3u), vec4(last));
        let keys_x = keys_of(t.x);
        let keys_y = keys_of(t.y);
        let keys_z = keys_of(t.z);
        let keys_w = keys_of(t.w);
        let inside = vec4(start) + vec4(0u, 1u, 2u, 3u) < vec4(end);
        let seen0 = inside & vec4(sees(keys_x, j0), sees(keys_y, j0), sees(keys_z, j0), sees(keys_w, j0));
        let seen1 = inside & vec4(sees(keys_x, j1), sees(keys_y, j1), sees(keys_z, j1), sees(keys_w, j1))
            & vec4(second);
        for (var h = key_head * GROUP; h < (key_head + 1u) * GROUP; h++) {
            let q_at = (t * ((GROUP + 2u) * KV_HEADS) + h) * depth;
            let g_at = (t * (GROUP * KV_HEADS) + h) * depth;
            let stat_at = t * (GROUP * KV_HEADS) + h;
            let stat_x = stats[stat_at.x];
            let stat_y = stats[stat_at.y];
            let stat_z = stats[stat_at.z];
            let stat_w = stats[stat_at.w];
            let lse_of = vec4(stat_x.x, stat_y.x, stat_z.x, stat_w.x);
            let d_of = vec4(stat_x.y, stat_y.y, stat_z.y, stat_w.y);
            var score0 = vec4(0.0);
            var score1 = vec4(0.0);
            var dp0 = vec4(0.0);
            var dp1 = vec4(0.0);
            for (var d = 0u; d < depth; d++) {
                let q = mat4x4(qkv[q_at.x + d], qkv[q_at.y + d], qkv[q_at.z + d], qkv[q_at.w + d]);
                let g = mat4x4(upstream[g_at.x + d], upstream[g_at.y + d], upstream[g_at.z + d], upstream[g_at.w + d]);
                score0 += kv[k_at0 + d] * q;
                score1 += kv[k_at1 + d] * q;
                dp0 += kv[k_at0 + value + d] * g;
                dp1 += kv[k_at1 + value + d] * g;
            }
            let of0 = weigh(score0, dp0, lse_of, d_of, seen0);
            let of1 = weigh(score1, dp1, lse_of, d_of, seen1);
            for (var d = 0u; d < depth; d++) {
                let q = mat4x4(qkv[q_at.x + d], qkv[q_at.y + d], qkv[q_at.z + d], qkv[q_at.w + d]);
                let g = mat4x4(upstream[g_at.x + d], upstream[g_at.y + d], upstream[g_at.z + d], upstream[g_at.w + d]);
                dqkv[dk_at0 + d] += q * of0.ds;
                dqkv[dk_at0 + value + d] += g * of0.p;
                if second {
                    dqkv[dk_at1 + d] += q * of1.ds;
                    dqkv[dk_at1 + value + d] += g * of1.p;
                }
            }
        }
    }
}
