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

// One row's sums for four outputs, and the sum of its squares.
struct Line {
    sums: vec4<f32>,
    squares: f32,
}

// Adds columns 8i .. 8i+8 of row r.
fn add_line(line: Line, w: Weights, r: u32, i: u32) -> Line {
    let low = columns_of(r, 2u * i);
    let high = columns_of(r, 2u * i + 1u);
    let sums = add_columns(line.sums, w, low * gain_of(2u * i), high * gain_of(2u * i + 1u));
    return Line(sums, (line.squares + square(low)) + square(high));
}

struct Pair {
    first: Line,
    second: Line,
}

// Adds part j of block i.
fn add_part(pair: Pair, a: Block, b: Block, c: Block, d: Block, row: u32, i: u32, j: u32) -> Pair {
    let w = Weights(eight_of(a, j), eight_of(b, j), eight_of(c, j), eight_of(d, j));
    let first = add_line(pair.first, w, row, 4u * i + j);
    if ROWS == 1u {
        return Pair(first, pair.second);
    }
    return Pair(first, add_line(pair.second, w, row + 1u, 4u * i + j));
}

// Loops, so that compilers have one copy of it.
fn finish_line(row: u32, first: u32, line: Line) {
    let s = line.sums * factor(line.squares);
    for (var i = 0u; i < select(4u, 2u, SWIGLU); i++) {
        finish(row, first + i * LANES, s[i], s[(i + 2u) % 4u]);
    }
}

@compute @workgroup_size(LANES)
fn rows_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * LANES * select(4u, 2u, SWIGLU) + lane;
    // Outputs beyond the last one repeat the last one; their results are not stored.
    let near = min(vec2(first, first + LANES), vec2(HALF - 1u));
    let far = select(min(vec2(first + 2u * LANES, first + 3u * LANES), vec2(N - 1u)), near + HALF, vec2(SWIGLU));
    let row = group.y * ROWS;
    var pair = Pair();
    for (var i = 0u; i < K / 32u; i++) {
        let a = block_of(near.x, i);
        let b = block_of(near.y, i);
        let c = block_of(far.x, i);
        let d = block_of(far.y, i);
        // Emulated adapters pay for a loop's every round.
        pair = add_part(pair, a, b, c, d, row, i, 0u);
        pair = add_part(pair, a, b, c, d, row, i, 1u);
        pair = add_part(pair, a, b, c, d, row, i, 2u);
        pair = add_part(pair, a, b, c, d, row, i, 3u);
    }
    var lines = array(pair.first, pair.second);
    for (var r = 0u; r < ROWS; r++) {
        finish_line(row + r, first, lines[r]);
    }
}

// Columns 4i .. 4i+4 of a tile's rows.
struct Quads {
    columns: array<Rows, 4>,
    squares: Rows,
}

fn quads(row: u32, i: u32, squares: Rows) -> Quads {
    let none = vec4(0.0);
    let q0 = columns_of(row, i);
    let q1 = columns_of(row + 1u, i);
    let q2 = columns_of(row + 2u, i);
    let q3 = columns_of(row + 3u, i);
    var q4 = none;
    var q5 = none;
    var q6 = none;
    var q7 = none;
    if ROWS == 8u {
        q4 = columns_of(row + 4u, i);
        q5 = columns_of(row + 5u, i);
        q6 = columns_of(row + 6u, i);
        q7 = columns_of(row + 7u, i);
    }
    let g = gain_of(i);
    return Quads(
        array(
            Rows(vec4(q0.x, q1.x, q2.x, q3.x) * g.x, vec4(q4.x, q5.x, q6.x, q7.x) * g.x),
            Rows(vec4(q0.y, q1.y, q2.y, q3.y) * g.y, vec4(q4.y, q5.y, q6.y, q7.y) * g.y),
            Rows(vec4(q0.z, q1.z, q2.z, q3.z) * g.z, vec4(q4.z, q5.z, q6.z, q7.z) * g.z),
            Rows(vec4(q0.w, q1.w, q2.w, q3.w) * g.w, vec4(q4.w, q5.w, q6.w, q7.w) * g.w),
        ),
        Rows(
            squares.a + vec4(square(q0), square(q1), square(q2), square(q3)),
            squares.b + vec4(square(q4), square(q5), square(q6), square(q7)),
        ),
    );
}

fn value_of(s: Rows, r: u32) -> f32 {
    return select(s.b[r % 4u], s.a[r % 4u], r < 4u);
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
    var squares = Rows();
    for (var i = 0u; i < K / 4u; i++) {
        let q = quads(row, i, squares);
        squares = q.squares;
        let v = q.columns;
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
        let by = factor(value_of(squares, r));
        for (var i = 0u; i < select(8u, 4u, SWIGLU); i++) {
            finish(row + r, first + i * LANES, by * value_of(sums[i], r), by * value_of(sums[(i + 4u) % 8u], r));
        }
    }
}
