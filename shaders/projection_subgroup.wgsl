// The projection of include/projection.wgsl for emulated adapters with subgroups of at least 8 invocations, which share
// what they read (matmul_subgroup.wgsl says why). WEIGHT_START is a multiple of 4. Needs include/weights_*,
// include/projection, include/row_sums, include/subgroup and include/rows_subgroup.
// Entry points:
//   row_per_subgroup   1 row by OUTPUTS (1 or 8) outputs an invocation
//   tile_per_subgroup  ROWS (4 or 8) rows by 4 outputs an invocation
// With SWIGLU the first half of an invocation's outputs are gates, the second half what they are multiplied by.

override OUTPUTS: u32 = 8u;

// The products of 8 weights and 8 columns, added one after the other as in a tile of several rows: a row has the same
// bits alone and among others.
fn add8_of_one(sum: f32, w: Eight, low: vec4<f32>, high: vec4<f32>) -> f32 {
    var s = sum + w.low.x * low.x;
    s += w.low.y * low.y;
    s += w.low.z * low.z;
    s += w.low.w * low.w;
    s += w.high.x * high.x;
    s += w.high.y * high.y;
    s += w.high.z * high.z;
    return s + w.high.w * high.w;
}

// The same for 32 columns, of which the invocations of a subgroup hold four each.
fn add32(sum: f32, w: Block, v: array<vec4<f32>, 8>) -> f32 {
    var s = add8_of_one(sum, eight_of(w, 0u), v[0], v[1]);
    s = add8_of_one(s, eight_of(w, 1u), v[2], v[3]);
    s = add8_of_one(s, eight_of(w, 2u), v[4], v[5]);
    return add8_of_one(s, eight_of(w, 3u), v[6], v[7]);
}

@compute @workgroup_size(LANES)
fn row_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let row = group.y;
    let first = group.x * LANES * select(OUTPUTS, 4u, SWIGLU) + lane;
    let n = min(vec4(first) + LANES * vec4(0u, 1u, 2u, 3u), vec4(HALF - 1u));
    let m = select(min(vec4(first) + LANES * vec4(4u, 5u, 6u, 7u), vec4(N - 1u)), n + HALF, vec4(SWIGLU));
    let at = row * (K / 4u) + lane;
    var a = vec4(0.0);
    var b = vec4(0.0);
    for (var i = 0u; i < K / 32u; i++) {
        let own = x[at + 8u * i];
        let v = array(
            subgroupBroadcast(own, 0u), subgroupBroadcast(own, 1u), subgroupBroadcast(own, 2u), subgroupBroadcast(own, 3u),
            subgroupBroadcast(own, 4u), subgroupBroadcast(own, 5u), subgroupBroadcast(own, 6u), subgroupBroadcast(own, 7u),
        );
        a.x = add32(a.x, block_of(n.x, i), v);
        if OUTPUTS == 8u {
            a.y = add32(a.y, block_of(n.y, i), v);
            a.z = add32(a.z, block_of(n.z, i), v);
            a.w = add32(a.w, block_of(n.w, i), v);
            b.x = add32(b.x, block_of(m.x, i), v);
            b.y = add32(b.y, block_of(m.y, i), v);
            b.z = add32(b.z, block_of(m.z, i), v);
            b.w = add32(b.w, block_of(m.w, i), v);
        }
    }
    var sums = array(a, b);
    // A loop, so that compilers have one copy of what is in it.
    for (var i = 0u; i < select(OUTPUTS, 4u, SWIGLU); i++) {
        finish(row, first + i * LANES, sums[i / 4u][i % 4u], sums[1][i % 4u]);
    }
}

// Eight columns of the tile's rows. Of 8 rows an invocation reads all of one, from `at` on; of 4 rows half of one.
fn columns(at: u32) -> array<Rows, 8> {
    let low = x[at];
    if ROWS == 4u {
        let none = vec4(0.0);
        return array(
            Rows(from_lower(low.x), none), Rows(from_lower(low.y), none),
            Rows(from_lower(low.z), none), Rows(from_lower(low.w), none),
            Rows(from_upper(low.x), none), Rows(from_upper(low.y), none),
            Rows(from_upper(low.z), none), Rows(from_upper(low.w), none),
        );
    }
    return eight_columns(low, x[at + 1u]);
}

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let first = group.x * LANES * select(4u, 2u, SWIGLU) + lane;
    let near = min(vec2(first, first + LANES), vec2(HALF - 1u));
    let far = select(min(vec2(first + 2u * LANES, first + 3u * LANES), vec2(N - 1u)), near + HALF, vec2(SWIGLU));
    let row = group.y * ROWS;
    var s0 = Rows();
    var s1 = Rows();
    var s2 = Rows();
    var s3 = Rows();
    let at = start_of(row + lane % ROWS) + lane / ROWS;
    for (var b = 0u; b < K / 32u; b++) {
        let w0 = block_of(near.x, b);
        let w1 = block_of(near.y, b);
        let w2 = block_of(far.x, b);
        let w3 = block_of(far.y, b);
        for (var j = 0u; j < 4u; j++) {
            let v = columns(at + 8u * b + 2u * j);
            s0 = add8(s0, eight_of(w0, j), v);
            s1 = add8(s1, eight_of(w1, j), v);
            s2 = add8(s2, eight_of(w2, j), v);
            s3 = add8(s3, eight_of(w3, j), v);
        }
    }
    var sums = array(s0, s1, s2, s3);
    for (var r = 0u; r < ROWS; r++) {
        for (var i = 0u; i < select(4u, 2u, SWIGLU); i++) {
            finish(row + r, first + i * LANES, value_of(sums[i], r), value_of(sums[(i + 2u) % 4u], r));
        }
    }
}
