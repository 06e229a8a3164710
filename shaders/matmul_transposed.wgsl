// Product with a transposed weight matrix in any format, the gradient of a linear layer through its input:
//   dx[r, k] (+)= Σ_n dy[r, DY_OFFSET + n] W[n, k].
// Shapes: dy [rows, DY_STRIDE]; W [N, K] (include weights_*); dx [rows, K] (include column_tile); count.x = rows.
// Adds to dx where ACCUMULATE, else overwrites. Every sum runs over n in order.
// Entry points:
//   tile_per_invocation  8 rows by 8 columns an invocation, in registers, for emulated adapters
//   tile_per_workgroup   64 rows by 64 columns a workgroup, tiles of 32 n in workgroup memory, for GPUs

@group(0) @binding(0) var<storage, read> dy: array<f32>;

// Elements 8i .. 8i+8 of row n, zero beyond the end of the row (F16 and F32 only: quantised rows are whole blocks).
fn unit(n: u32, i: u32) -> Eight {
    if K % 8u == 0u || 8u * i + 8u <= K {
        return load8(n, i, block_scale(n, i / 4u));
    }
    var part = Eight();
    for (var j = 0u; j < min(4u, K - 8u * i); j++) {
        part.low[j] = weight_at(n, 8u * i + j);
    }
    for (var j = 4u; j < K - 8u * i; j++) {
        part.high[j - 4u] = weight_at(n, 8u * i + j);
    }
    return part;
}

const LANES = 8u;

@compute @workgroup_size(LANES)
fn tile_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * LANES + lane;
    // Units and rows beyond the last one repeat the last one; their results are not stored.
    let read = min(i, (K + 7u) / 8u - 1u);
    let row = group.y * 8u;
    let last = vec4(count.x - 1u);
    let a = min(vec4(row) + vec4(0u, 1u, 2u, 3u), last) * DY_STRIDE + DY_OFFSET;
    let b = min(vec4(row) + vec4(4u, 5u, 6u, 7u), last) * DY_STRIDE + DY_OFFSET;
    var s0 = Eight();
    var s1 = Eight();
    var s2 = Eight();
    var s3 = Eight();
    var s4 = Eight();
    var s5 = Eight();
    var s6 = Eight();
    var s7 = Eight();
    for (var n = 0u; n < N; n++) {
        let w = unit(n, read);
        s0 = add8(s0, dy[a.x + n], w);
        s1 = add8(s1, dy[a.y + n], w);
        s2 = add8(s2, dy[a.z + n], w);
        s3 = add8(s3, dy[a.w + n], w);
        s4 = add8(s4, dy[b.x + n], w);
        s5 = add8(s5, dy[b.y + n], w);
        s6 = add8(s6, dy[b.z + n], w);
        s7 = add8(s7, dy[b.w + n], w);
    }
    store8(row, i, s0);
    store8(row + 1u, i, s1);
    store8(row + 2u, i, s2);
    store8(row + 3u, i, s3);
    store8(row + 4u, i, s4);
    store8(row + 5u, i, s5);
    store8(row + 6u, i, s6);
    store8(row + 7u, i, s7);
}

const TILE = 64u;
const DEPTH = 32u;
var<workgroup> dy_tile: array<f32, TILE * DEPTH>;
var<workgroup> w_tile: array<f32, TILE * DEPTH>;

@compute @workgroup_size(256)
fn tile_per_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_row = group.y * TILE;
    let first_column = group.x * TILE;
    // What this invocation loads: 8 consecutive n of one row of dy, 8 consecutive columns of one row of W.
    let dy_row = lane / 4u;
    let dy_unit = lane % 4u;
    let dy_base = min(first_row + dy_row, count.x - 1u) * DY_STRIDE + DY_OFFSET;
    let w_row = lane / 8u;
    let w_unit = lane % 8u;
    let w_read = min(first_column / 8u + w_unit, (K + 7u) / 8u - 1u);
    // What it computes: rows row, row + 16, ... by columns column, column + 16, ...
    let row = lane / 16u;
    let column = lane % 16u;
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    for (var start = 0u; start < N; start += DEPTH) {
        var w = Eight();
        if start + w_row < N {
            w = unit(start + w_row, w_read);
        }
        for (var j = 0u; j < 4u; j++) {
            w_tile[w_row * TILE + 8u * w_unit + j] = w.low[j];
            w_tile[w_row * TILE + 8u * w_unit + 4u + j] = w.high[j];
        }
        for (var j = 0u; j < 8u; j++) {
            let n = start + dy_unit * 8u + j;
            var value = 0.0;
            if n < N {
                value = dy[dy_base + n];
            }
            dy_tile[(dy_unit * 8u + j) * TILE + dy_row] = value;
        }
        workgroupBarrier();
        for (var j = 0u; j < DEPTH; j++) {
            let at = j * TILE + column;
            let weights = vec4(w_tile[at], w_tile[at + 16u], w_tile[at + 32u], w_tile[at + 48u]);
            s0 += dy_tile[j * TILE + row] * weights;
            s1 += dy_tile[j * TILE + row + 16u] * weights;
            s2 += dy_tile[j * TILE + row + 32u] * weights;
            s3 += dy_tile[j * TILE + row + 48u] * weights;
        }
        workgroupBarrier();
    }
    for (var j = 0u; j < 4u; j++) {
        let k = first_column + column + 16u * j;
        store(first_row + row, k, s0[j]);
        store(first_row + row + 16u, k, s1[j]);
        store(first_row + row + 32u, k, s2[j]);
        store(first_row + row + 48u, k, s3[j]);
    }
}
