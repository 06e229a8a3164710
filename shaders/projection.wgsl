// The projection of include/projection.wgsl for emulated adapters without subgroups. Needs include/weights_*,
// include/projection and include/row_sums.
// Entry points:
//   rows_per_invocation  ROWS (1 or 2) rows by 4 outputs an invocation, weights read four words at a time; WEIGHT_START is
//                        a multiple of 4
//   tile_per_invocation  ROWS (4 or 8) rows by 8 outputs an invocation
// With SWIGLU the first half of an invocation's outputs are gates, the second half what they are multiplied by.

const LANES = 8u;

struct Weights {
    a: Eight,
    b: Eight,
    c: Eight,
    d: Eight,
}

// Adds the products of 8 columns of a row with the weights of four outputs.
fn add_columns(sum: vec4<f32>, w: Weights, low: vec4<f32>, high: vec4<f32>) -> vec4<f32> {
    var s = sum + vec4(w.a.low.x, w.b.low.x, w.c.low.x, w.d.low.x) * low.x;
    s += vec4(w.a.low.y, w.b.low.y, w.c.low.y, w.d.low.y) * low.y;
    s += vec4(w.a.low.z, w.b.low.z, w.c.low.z, w.d.low.z) * low.z;
    s += vec4(w.a.low.w, w.b.low.w, w.c.low.w, w.d.low.w) * low.w;
    s += vec4(w.a.high.x, w.b.high.x, w.c.high.x, w.d.high.x) * high.x;
    s += vec4(w.a.high.y, w.b.high.y, w.c.high.y, w.d.high.y) * high.y;
    s += vec4(w.a.high.z, w.b.high.z, w.c.high.z, w.d.high.z) * high.z;
    return s + vec4(w.a.high.w, w.b.high.w, w.c.high.w, w.d.high.w) * high.w;
}

// Sums of two rows for four outputs.
struct Pair {
    first: vec4<f32>,
    second: vec4<f32>,
}

// Adds part j of block i, eight columns.
fn add_part(pair: Pair, at: vec2<u32>, a: Block, b: Block, c: Block, d: Block, i: u32, j: u32) -> Pair {
    let w = Weights(eight_of(a, j), eight_of(b, j), eight_of(c, j), eight_of(d, j));
    let q = 8u * i + 2u * j;
    let first = add_columns(pair.first, w, x[at.x + q], x[at.x + q + 1u]);
    if ROWS == 1u {
        return Pair(first, pair.second);
    }
    return Pair(first, add_columns(pair.second, w, x[at.y + q], x[at.y + q + 1u]));
}

@compute @workgroup_size(LANES)
fn rows_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * LANES * select(4u, 2u, SWIGLU) + lane;
    // Outputs beyond the last one repeat the last one; their results are not stored.
    let near = min(vec2(first, first + LANES), vec2(HALF - 1u));
    let far = select(min(vec2(first + 2u * LANES, first + 3u * LANES), vec2(N - 1u)), near + HALF, vec2(SWIGLU));
    let row = group.y * ROWS;
    let at = vec2(start_of(row), start_of(row + 1u));
    var pair = Pair();
    for (var i = 0u; i < K / 32u; i++) {
        let a = block_of(near.x, i);
        let b = block_of(near.y, i);
        let c = block_of(far.x, i);
        let d = block_of(far.y, i);
        // Emulated adapters pay for a loop's every round.
        pair = add_part(pair, at, a, b, c, d, i, 0u);
        pair = add_part(pair, at, a, b, c, d, i, 1u);
        pair = add_part(pair, at, a, b, c, d, i, 2u);
        pair = add_part(pair, at, a, b, c, d, i, 3u);
    }
    var sums = array(pair.first, pair.second);
    // Loops, so that compilers have one copy of what is in them.
    for (var r = 0u; r < ROWS; r++) {
        for (var i = 0u; i < select(4u, 2u, SWIGLU); i++) {
            finish(row + r, first + i * LANES, sums[r][i], sums[r][(i + 2u) % 4u]);
        }
    }
}

// Columns 4i .. 4i+4 of a tile's rows, which begin at `low` and `high`.
fn quads(low: vec4<u32>, high: vec4<u32>, i: u32) -> array<Rows, 4> {
    let q0 = x[low.x + i];
    let q1 = x[low.y + i];
    let q2 = x[low.z + i];
    let q3 = x[low.w + i];
    var q4 = vec4(0.0);
    var q5 = vec4(0.0);
    var q6 = vec4(0.0);
    var q7 = vec4(0.0);
    if ROWS == 8u {
        q4 = x[high.x + i];
        q5 = x[high.y + i];
        q6 = x[high.z + i];
        q7 = x[high.w + i];
    }
    return array(
        Rows(vec4(q0.x, q1.x, q2.x, q3.x), vec4(q4.x, q5.x, q6.x, q7.x)),
        Rows(vec4(q0.y, q1.y, q2.y, q3.y), vec4(q4.y, q5.y, q6.y, q7.y)),
        Rows(vec4(q0.z, q1.z, q2.z, q3.z), vec4(q4.z, q5.z, q6.z, q7.z)),
        Rows(vec4(q0.w, q1.w, q2.w, q3.w), vec4(q4.w, q5.w, q6.w, q7.w)),
    );
}

@compute @workgroup_size(LANES)
fn tile_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * LANES * select(8u, 4u, SWIGLU) + lane;
    let n = min(vec4(first) + LANES * vec4(0u, 1u, 2u, 3u), vec4(HALF - 1u));
    let m = select(min(vec4(first) + LANES * vec4(4u, 5u, 6u, 7u), vec4(N - 1u)), n + HALF, vec4(SWIGLU));
    let row = group.y * ROWS;
    var s0 = Rows();
    var s1 = Rows();
    var s2 = Rows();
    var s3 = Rows();
    var s4 = Rows();
    var s5 = Rows();
    var s6 = Rows();
    var s7 = Rows();
    let low = vec4(start_of(row), start_of(row + 1u), start_of(row + 2u), start_of(row + 3u));
    let high = vec4(start_of(row + 4u), start_of(row + 5u), start_of(row + 6u), start_of(row + 7u));
    for (var i = 0u; i < K / 4u; i++) {
        let v = quads(low, high, i);
        let block = i / 8u;
        s0 = add4(s0, load4(n.x, i, block_scale(n.x, block)), v);
        s1 = add4(s1, load4(n.y, i, block_scale(n.y, block)), v);
        s2 = add4(s2, load4(n.z, i, block_scale(n.z, block)), v);
        s3 = add4(s3, load4(n.w, i, block_scale(n.w, block)), v);
        s4 = add4(s4, load4(m.x, i, block_scale(m.x, block)), v);
        s5 = add4(s5, load4(m.y, i, block_scale(m.y, block)), v);
        s6 = add4(s6, load4(m.z, i, block_scale(m.z, block)), v);
        s7 = add4(s7, load4(m.w, i, block_scale(m.w, block)), v);
    }
    var sums = array(s0, s1, s2, s3, s4, s5, s6, s7);
    for (var r = 0u; r < ROWS; r++) {
        for (var i = 0u; i < select(8u, 4u, SWIGLU); i++) {
            finish(row + r, first + i * LANES, value_of(sums[i], r), value_of(sums[(i + 4u) % 8u], r));
        }
    }
}
