// The product of matmul.wgsl, same shapes, for emulated adapters with subgroups of at least 8 invocations. There a load
// costs as much as some ten multiplications, even of a word that all invocations read alike. So each invocation reads a
// share of x, four columns at a time, and the others have it by broadcast. K is a multiple of 32, WEIGHT_START of 4.
// A workgroup is (part of) one subgroup. Every sum runs in a fixed order.
// Entry points:
//   tile_per_subgroup  ROWS (4 or 8) rows by 4 outputs an invocation
//   row_per_subgroup   1 row by OUTPUTS (1 or 8) outputs an invocation

override OUTPUTS: u32 = 8u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;

fn of_eight_rows(own: f32) -> Rows {
    return Rows(from_lower(own), from_upper(own));
}

// Columns 8i .. 8i+8 of the tile's rows. Of 8 rows an invocation reads one; of 4 rows it reads half of one.
fn columns(row: u32, lane: u32, i: u32) -> array<Rows, 8> {
    if ROWS == 4u {
        let own = x[(min(row + lane % 4u, count.x - 1u) * K + 8u * i) / 4u + lane / 4u];
        let none = vec4(0.0);
        return array(
            Rows(from_lower(own.x), none), Rows(from_lower(own.y), none),
            Rows(from_lower(own.z), none), Rows(from_lower(own.w), none),
            Rows(from_upper(own.x), none), Rows(from_upper(own.y), none),
            Rows(from_upper(own.z), none), Rows(from_upper(own.w), none),
        );
    }
    let at = (min(row + lane, count.x - 1u) * K + 8u * i) / 4u;
    let low = x[at];
    let high = x[at + 1u];
    return array(
        of_eight_rows(low.x), of_eight_rows(low.y), of_eight_rows(low.z), of_eight_rows(low.w),
        of_eight_rows(high.x), of_eight_rows(high.y), of_eight_rows(high.z), of_eight_rows(high.w),
    );
}

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    // Outputs and rows beyond the last one repeat the last one; their results are not stored.
    let first = group.x * LANES * 4u + lane;
    let n = min(vec4(first) + LANES * vec4(0u, 1u, 2u, 3u), vec4(N - 1u));
    let row = group.y * ROWS;
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

// Adds the products of 8 weights and 8 columns, one after the other as in a tile of several rows: a row has the same
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
    let first = group.x * LANES * OUTPUTS + lane;
    let n = min(vec4(first) + LANES * vec4(0u, 1u, 2u, 3u), vec4(N - 1u));
    let m = min(vec4(first) + LANES * vec4(4u, 5u, 6u, 7u), vec4(N - 1u));
    let at = group.y * (K / 4u) + lane;
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
    store(group.y, first, a.x);
    if OUTPUTS == 8u {
        store(group.y, first + LANES, a.y);
        store(group.y, first + 2u * LANES, a.z);
        store(group.y, first + 3u * LANES, a.w);
        store(group.y, first + 4u * LANES, b.x);
        store(group.y, first + 5u * LANES, b.y);
        store(group.y, first + 6u * LANES, b.z);
        store(group.y, first + 7u * LANES, b.w);
    }
}
