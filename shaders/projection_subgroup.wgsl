// The projection of include/projection.wgsl for emulated adapters with subgroups of at least 8 invocations, which share
// what they read (matmul_subgroup.wgsl says why). WEIGHT_START is a multiple of 4. Needs include/weights_*,
// include/projection, include/row_tile and include/subgroup.
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

// The squares of 32 columns, added in order.
fn add_squares(sum: f32, own: f32) -> f32 {
    if !NORMED {
        return sum;
    }
    let low = from_lower(own);
    let high = from_upper(own);
    return (((((((sum + low.x) + low.y) + low.z) + low.w) + high.x) + high.y) + high.z) + high.w;
}

@compute @workgroup_size(LANES)
fn row_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let row = group.y;
    let first = group.x * LANES * select(OUTPUTS, 4u, SWIGLU) + lane;
    let n = min(vec4(first) + LANES * vec4(0u, 1u, 2u, 3u), vec4(HALF - 1u));
    let m = select(min(vec4(first) + LANES * vec4(4u, 5u, 6u, 7u), vec4(N - 1u)), n + HALF, vec4(SWIGLU));
    var a = vec4(0.0);
    var b = vec4(0.0);
    var squares = 0.0;
    for (var i = 0u; i < K / 32u; i++) {
        let value = columns_of(row, 8u * i + lane);
        let own = value * gain_of(8u * i + lane);
        squares = add_squares(squares, square(value));
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
    let by = factor(squares);
    var sums = array(by * a, by * b);
    // A loop, so that compilers have one copy of what is in it.
    for (var i = 0u; i < select(OUTPUTS, 4u, SWIGLU); i++) {
        finish(row, first + i * LANES, sums[i / 4u][i % 4u], sums[1][i % 4u]);
    }
}

// What a tile carries along: columns as they are multiplied, and the squares of the invocation's own row.
struct Columns {
    v: array<Rows, 8>,
    squares: f32,
}

fn of_eight_rows(own: f32) -> Rows {
    return Rows(from_lower(own), from_upper(own));
}

// Columns 8i .. 8i+8 of the tile's rows. Of 8 rows an invocation reads one; of 4 rows it reads half of one.
fn columns(row: u32, lane: u32, i: u32, squares: f32) -> Columns {
    if ROWS == 4u {
        let q = 2u * i + lane / 4u;
        let value = columns_of(row + lane % 4u, q);
        let own = value * gain_of(q);
        var sum = squares;
        if NORMED {
            let mine = square(value);
            let other = subgroupShuffleXor(mine, 4u);
            sum = (squares + select(mine, other, lane >= 4u)) + select(other, mine, lane >= 4u);
        }
        let none = vec4(0.0);
        return Columns(array(
            Rows(from_lower(own.x), none), Rows(from_lower(own.y), none),
            Rows(from_lower(own.z), none), Rows(from_lower(own.w), none),
            Rows(from_upper(own.x), none), Rows(from_upper(own.y), none),
            Rows(from_upper(own.z), none), Rows(from_upper(own.w), none),
        ), sum);
    }
    let first = columns_of(row + lane, 2u * i);
    let second = columns_of(row + lane, 2u * i + 1u);
    let low = first * gain_of(2u * i);
    let high = second * gain_of(2u * i + 1u);
    return Columns(array(
        of_eight_rows(low.x), of_eight_rows(low.y), of_eight_rows(low.z), of_eight_rows(low.w),
        of_eight_rows(high.x), of_eight_rows(high.y), of_eight_rows(high.z), of_eight_rows(high.w),
    ), (squares + square(first)) + square(second));
}

fn value_of(s: Rows, r: u32) -> f32 {
    return select(s.b[r % 4u], s.a[r % 4u], r < 4u);
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
    var squares = 0.0;
    for (var b = 0u; b < K / 32u; b++) {
        let w0 = block_of(near.x, b);
        let w1 = block_of(near.y, b);
        let w2 = block_of(far.x, b);
        let w3 = block_of(far.y, b);
        for (var j = 0u; j < 4u; j++) {
            let c = columns(row, lane, 4u * b + j, squares);
            squares = c.squares;
            s0 = add8(s0, eight_of(w0, j), c.v);
            s1 = add8(s1, eight_of(w1, j), c.v);
            s2 = add8(s2, eight_of(w2, j), c.v);
            s3 = add8(s3, eight_of(w3, j), c.v);
        }
    }
    let by = of_eight_rows(factor(squares));
    var sums = array(s0, s1, s2, s3);
    for (var r = 0u; r < ROWS; r++) {
        for (var i = 0u; i < select(4u, 2u, SWIGLU); i++) {
            let f = value_of(by, r);
            finish(row + r, first + i * LANES, f * value_of(sums[i], r), f * value_of(sums[(i + 2u) % 4u], r));
        }
    }
}
