// Matrix product with a weight in any format: y[r, Y_OFFSET + n] (+)= sum_k x[r, k] * W[n, k].
// Shapes: x [rows, K] (include row_bases); W [N, K] (include weights_*); y [rows, Y_STRIDE] (include row_tile);
// count.x = rows.
// Adds to y where ACCUMULATE, else overwrites. Every sum runs in a fixed order.
// One entry point:
//   tile_per_invocation  8 rows by 8 outputs an invocation, in registers; for emulated adapters, where barriers and
//                        workgroup memory are slow and loads of x cost as much as loads of W, and on GPUs for what
//                        matmul_workgroup.wgsl cannot take

@group(0) @binding(0) var<storage, read> x: array<f32>;

fn column(at: Bases, k: u32) -> Rows {
    return Rows(
        vec4(x[at.a.x + k], x[at.a.y + k], x[at.a.z + k], x[at.a.w + k]),
        vec4(x[at.b.x + k], x[at.b.y + k], x[at.b.z + k], x[at.b.w + k]),
    );
}

fn four_columns(at: Bases, k: u32) -> array<Rows, 4> {
    return array(column(at, k), column(at, k + 1u), column(at, k + 2u), column(at, k + 3u));
}

const LANES = 8u;

@compute @workgroup_size(LANES)
fn tile_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * LANES * 8u + lane;
    let a = min(vec4(first) + LANES * vec4(0u, 1u, 2u, 3u), vec4(N - 1u));
    let b = min(vec4(first) + LANES * vec4(4u, 5u, 6u, 7u), vec4(N - 1u));
    let at = bases_of(group.y * 8u, K, 0u);
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
    let row = group.y * 8u;
    store_rows(row, first, s0);
    store_rows(row, first + LANES, s1);
    store_rows(row, first + 2u * LANES, s2);
    store_rows(row, first + 3u * LANES, s3);
    store_rows(row, first + 4u * LANES, s4);
    store_rows(row, first + 5u * LANES, s5);
    store_rows(row, first + 6u * LANES, s6);
    store_rows(row, first + 7u * LANES, s7);
}
