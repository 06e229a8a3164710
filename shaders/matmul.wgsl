// Matrix product with a weight in any format: y[r, Y_OFFSET + n] (+)= sum_k x[r, k] * W[n, k].
// Shapes: x [rows, K] (include row_bases); W [N, K] (include weights_*); y [rows, Y_STRIDE] (include row_tile);
// count.x = rows.
// Adds to y where ACCUMULATE, else overwrites. Every sum runs in a fixed order.
// Entry points:
//   tile_per_invocation  ROWS rows by 8 outputs an invocation, in registers; for emulated adapters, where barriers and
//                        workgroup memory are slow and loads of x cost as much as loads of W
//   rows_per_workgroup   ROWS rows by 4 outputs a workgroup, 16 invocations to an output
//   tile_per_workgroup   64 rows by 64 outputs a workgroup, tiles of 32 columns in workgroup memory

@group(0) @binding(0) var<storage, read> x: array<f32>;

fn column(at: Bases, k: u32) -> Rows {
    if ROWS == 1u {
        return Rows(vec4(x[at.a.x + k], 0.0, 0.0, 0.0), vec4(0.0));
    }
    let a = vec4(x[at.a.x + k], x[at.a.y + k], x[at.a.z + k], x[at.a.w + k]);
    if ROWS == 4u {
        return Rows(a, vec4(0.0));
    }
    return Rows(a, vec4(x[at.b.x + k], x[at.b.y + k], x[at.b.z + k], x[at.b.w + k]));
}

fn four_columns(at: Bases, k: u32) -> array<Rows, 4> {
    return array(column(at, k), column(at, k + 1u), column(at, k + 2u), column(at, k + 3u));
}

fn columns(at: Bases, k: u32) -> array<Rows, 8> {
    return array(
        column(at, k), column(at, k + 1u), column(at, k + 2u), column(at, k + 3u),
        column(at, k + 4u), column(at, k + 5u), column(at, k + 6u), column(at, k + 7u),
    );
}

const LANES = 8u;

@compute @workgroup_size(LANES)
fn tile_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * LANES * 8u + lane;
    let a = min(vec4(first) + LANES * vec4(0u, 1u, 2u, 3u), vec4(N - 1u));
    let b = min(vec4(first) + LANES * vec4(4u, 5u, 6u, 7u), vec4(N - 1u));
    let at = bases_of(group.y * ROWS, K, 0u);
    var s0 = Rows();
    var s1 = Rows();
    var s2 = Rows();
    var s3 = Rows();
    var s4 = Rows();
    var s5 = Rows();
    var s6 = Rows();
    var s7 = Rows();
    // Four columns at a time: with eight, compilers of emulated adapters keep too little in registers.
    for (var i = 0u; i < K / 32u * 8u; i++) {
        let block = i / 8u;
        let v = four_columns(at, i * 4u);
        s0 = add4(s0, load4(a.x, i, block_scale(a.x, block)), v);
        s1 = add4(s1, load4(a.y, i, block_scale(a.y, block)), v);
        s2 = add4(s2, load4(a.z, i, block_scale(a.z, block)), v);
        s3 = add4(s3, load4(a.w, i, block_scale(a.w, block)), v);
        s4 = add4(s4, load4(b.x, i, block_scale(b.x, block)), v);
        s5 = add4(s5, load4(b.y, i, block_scale(b.y, block)), v);
        s6 = add4(s6, load4(b.z, i, block_scale(b.z, block)), v);
        s7 = add4(s7, load4(b.w, i, block_scale(b.w, block)), v);
    }
    for (var k = K / 32u * 32u; k < K; k++) {
        let v = column(at, k);
        s0 = add(s0, weight_at(a.x, k), v);
        s1 = add(s1, weight_at(a.y, k), v);
        s2 = add(s2, weight_at(a.z, k), v);
        s3 = add(s3, weight_at(a.w, k), v);
        s4 = add(s4, weight_at(b.x, k), v);
        s5 = add(s5, weight_at(b.y, k), v);
        s6 = add(s6, weight_at(b.z, k), v);
        s7 = add(s7, weight_at(b.w, k), v);
    }
    let row = group.y * ROWS;
    store_rows(row, first, s0);
    store_rows(row, first + LANES, s1);
    store_rows(row, first + 2u * LANES, s2);
    store_rows(row, first + 3u * LANES, s3);
    store_rows(row, first + 4u * LANES, s4);
    store_rows(row, first + 5u * LANES, s5);
    store_rows(row, first + 6u * LANES, s6);
    store_rows(row, first + 7u * LANES, s7);
}

const SHARE = 16u;
var<workgroup> partial: array<array<f32, 64>, 8>;

@compute @workgroup_size(64)
fn rows_per_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row_of_weight = min(group.x * 4u + lane / SHARE, N - 1u);
    let at = bases_of(group.y * ROWS, K, 0u);
    var sum = Rows();
    for (var i = lane % SHARE; i < K / 32u * 4u; i += SHARE) {
        sum = add8(sum, load8(row_of_weight, i, block_scale(row_of_weight, i / 4u)), columns(at, i * 8u));
    }
    for (var k = K / 32u * 32u + lane % SHARE; k < K; k += SHARE) {
        sum = add(sum, weight_at(row_of_weight, k), column(at, k));
    }
    for (var r = 0u; r < 4u; r++) {
        partial[r][lane] = sum.a[r];
        partial[r + 4u][lane] = sum.b[r];
    }
    workgroupBarrier();
    // Lane (output, row): the 16 partial sums of one result, in order.
    if lane < 32u && lane % 8u < ROWS {
        let output = lane / 8u;
        var total = 0.0;
        for (var i = 0u; i < SHARE; i++) {
            total += partial[lane % 8u][output * SHARE + i];
        }
        store(group.y * ROWS + lane % 8u, group.x * 4u + output, total);
    }
}

const TILE = 64u;
const DEPTH = 32u;
var<workgroup> x_tile: array<f32, TILE * DEPTH>;
var<workgroup> w_tile: array<f32, TILE * DEPTH>;

@compute @workgroup_size(256)
fn tile_per_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_row = group.y * TILE;
    let first_output = group.x * TILE;
    // What this invocation loads: 8 consecutive columns of one row of each tile, stored column by column.
    let load_row = lane / 4u;
    let load_unit = lane % 4u;
    let x_base = min(first_row + load_row, count.x - 1u) * K;
    let w_row = min(first_output + load_row, N - 1u);
    // What it computes: rows row, row + 16, ... by outputs output, output + 16, ...
    let row = lane / 16u;
    let output = lane % 16u;
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    for (var start = 0u; start < K; start += DEPTH) {
        let k = start + load_unit * 8u;
        var w = Eight();
        if start + DEPTH <= K {
            w = load8(w_row, k / 8u, block_scale(w_row, start / 32u));
        } else {
            for (var i = 0u; i < 4u; i++) {
                if k + i < K {
                    w.low[i] = weight_at(w_row, k + i);
                }
                if k + i + 4u < K {
                    w.high[i] = weight_at(w_row, k + i + 4u);
                }
            }
        }
        for (var i = 0u; i < 8u; i++) {
            var value = 0.0;
            if k + i < K {
                value = x[x_base + k + i];
            }
            x_tile[(load_unit * 8u + i) * TILE + load_row] = value;
        }
        for (var i = 0u; i < 4u; i++) {
            w_tile[(load_unit * 8u + i) * TILE + load_row] = w.low[i];
            w_tile[(load_unit * 8u + i + 4u) * TILE + load_row] = w.high[i];
        }
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i++) {
            let at = i * TILE + output;
            let weights = vec4(w_tile[at], w_tile[at + 16u], w_tile[at + 32u], w_tile[at + 48u]);
            s0 += x_tile[i * TILE + row] * weights;
            s1 += x_tile[i * TILE + row + 16u] * weights;
            s2 += x_tile[i * TILE + row + 32u] * weights;
            s3 += x_tile[i * TILE + row + 48u] * weights;
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        let n = first_output + output + 16u * i;
        store(first_row + row, n, s0[i]);
        store(first_row + row + 16u, n, s1[i]);
        store(first_row + row + 32u, n, s2[i]);
        store(first_row + row + 48u, n, s3[i]);
    }
}
