// The product of matmul.wgsl, same shapes, for emulated adapters with subgroups of at least 8 invocations. There a load
// costs as much as some ten multiplications, even of a word that all invocations read alike. So each invocation reads a
// share of x, four columns at a time, and the others have it by broadcast. K is a multiple of 32, WEIGHT_START of 4.
// A workgroup is (part of) one subgroup. Every sum runs in a fixed order.
// One entry point:
//   tile_per_subgroup  8 rows by 4 outputs an invocation

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;

// Columns 8i .. 8i+8 of the tile's rows, of which each invocation reads one.
fn columns(row: u32, lane: u32, i: u32) -> array<Rows, 8> {
    let at = (min(row + lane, count.x - 1u) * K + 8u * i) / 4u;
    return eight_columns(x[at], x[at + 1u]);
}

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    // Outputs and rows beyond the last one repeat the last one; their results are not stored.
    let first = group.x * LANES * 4u + lane;
    let n = min(vec4(first) + LANES * vec4(0u, 1u, 2u, 3u), vec4(N - 1u));
    let row = group.y * 8u;
    var s0 = Rows();
    var s1 = Rows();
    var s2 = Rows();
    var s3 = Rows();
    for (var b = 0u; b < K / 32u; b++) {
        let w0 = block_of(n.x, b);
        let w1 = block_of(n.y, b);
        let w2 = block_of(n.z, b);
        let w3 = block_of(n.w, b);
        for (var j = 0u; j < 4u; j++) {
            let v = columns(row, lane, 4u * b + j);
            s0 = add8(s0, eight_of(w0, j), v);
            s1 = add8(s1, eight_of(w1, j), v);
            s2 = add8(s2, eight_of(w2, j), v);
            s3 = add8(s3, eight_of(w3, j), v);
        }
    }
    store_rows(row, first, s0);
    store_rows(row, first + LANES, s1);
    store_rows(row, first + 2u * LANES, s2);
    store_rows(row, first + 3u * LANES, s3);
}
