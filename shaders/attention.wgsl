// Causal attention over the cache with grouped queries: for row r at position P of its sequence and head h,
//   out[r, h] = sum_p softmax_p(q[r, h] . k[p] / sqrt(HEAD_DIM)) v[p],  0 <= p <= P.
// Shapes: qkv [rows, (HEADS + 2 KV_HEADS) HEAD_DIM], turned queries first; cache [indices, 2 KV_HEADS HEAD_DIM], turned
// keys first; out [rows, HEADS HEAD_DIM]; lse [rows, HEADS], the logarithm of the sum of exponentials.
// This is the kernel for GPUs and heads that cannot be read by fours; the others have the same shapes and bindings.
// A workgroup takes one row and one head. It walks over the keys in chunks of LANES: each invocation scores one key,
// then each sums its own elements of the values. The softmax is online (a running maximum), in a fixed order.
// Entry points: attention; attention_lse writes lse, too. HEAD_DIM <= 4 LANES.

override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> cache: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

const LANES = 64u;
var<workgroup> scores: array<f32, LANES>;
var<workgroup> chances: array<f32, LANES>;
var<workgroup> places: array<u32, LANES>;

// Computes one row and head; returns the log-sum-exp.
fn attend(row_index: u32, head: u32, lane: u32) -> f32 {
    let row = rows[row_index];
    let sequence = sequences[row.sequence];
    let q = (row_index * (HEADS + 2u * KV_HEADS) + head) * HEAD_DIM;
    let stride = 2u * KV_HEADS * HEAD_DIM;
    let kv_offset = head / (HEADS / KV_HEADS) * HEAD_DIM;
    let v_offset = kv_offset + KV_HEADS * HEAD_DIM;
    let scale = inverseSqrt(f32(HEAD_DIM));
    let keys = row.position + 1u;
    var largest = -3e38;
    var total = 0.0;
    var sum = vec4(0.0);
    for (var start = 0u; start < keys; start += LANES) {
        let width = min(LANES, keys - start);
        if lane < width {
            let place = kv_index(sequence, start + lane) * stride;
            var score = 0.0;
            for (var i = 0u; i < HEAD_DIM; i++) {
                score += qkv[q + i] * cache[place + kv_offset + i];
            }
            scores[lane] = score * scale;
            places[lane] = place;
        }
        workgroupBarrier();
        let before = largest;
        for (var j = 0u; j < width; j++) {
            largest = max(largest, scores[j]);
        }
        if lane < width {
            chances[lane] = exp(scores[lane] - largest);
        }
        workgroupBarrier();
        let fade = exp(before - largest);
        total *= fade;
        sum *= fade;
        for (var j = 0u; j < width; j++) {
            let chance = chances[j];
            let v = places[j] + v_offset + lane;
            total += chance;
            sum.x += chance * cache[v];
            if HEAD_DIM > LANES {
                sum.y += chance * cache[v + LANES];
            }
            if HEAD_DIM > 2u * LANES {
                sum.z += chance * cache[v + 2u * LANES];
            }
            if HEAD_DIM > 3u * LANES {
                sum.w += chance * cache[v + 3u * LANES];
            }
        }
        workgroupBarrier();
    }
    sum /= total;
    let base = (row_index * HEADS + head) * HEAD_DIM;
    for (var i = 0u; i < 4u; i++) {
        if lane + i * LANES < HEAD_DIM {
            out[base + lane + i * LANES] = sum[i];
        }
    }
    return largest + log(total);
}

@compute @workgroup_size(LANES)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    _ = attend(group.y, group.x, lane);
}

@compute @workgroup_size(LANES)
fn attention_lse(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let value = attend(group.y, group.x, lane);
    if lane == 0u {
        lse[group.y * HEADS + group.x] = value;
    }
}
