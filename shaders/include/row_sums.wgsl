// Sums of a tile of up to 8 rows, for products with weights. Needs include/weights_* for Eight.

// Rows that one tile carries: 1, 2, 4 or 8.
override ROWS: u32 = 8u;

// One value for each of 8 rows.
struct Rows {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn add(sum: Rows, w: f32, v: Rows) -> Rows {
    if ROWS == 1u {
        return Rows(vec4(sum.a.x + w * v.a.x, sum.a.yzw), sum.b);
    }
    if ROWS == 2u {
        return Rows(vec4(sum.a.xy + w * v.a.xy, sum.a.zw), sum.b);
    }
    if ROWS == 4u {
        return Rows(sum.a + w * v.a, sum.b);
    }
    return Rows(sum.a + w * v.a, sum.b + w * v.b);
}

fn add4(sum: Rows, w: vec4<f32>, v: array<Rows, 4>) -> Rows {
    var s = add(sum, w.x, v[0]);
    s = add(s, w.y, v[1]);
    s = add(s, w.z, v[2]);
    return add(s, w.w, v[3]);
}

fn add8(sum: Rows, w: Eight, v: array<Rows, 8>) -> Rows {
    var s = add(sum, w.low.x, v[0]);
    s = add(s, w.low.y, v[1]);
    s = add(s, w.low.z, v[2]);
    s = add(s, w.low.w, v[3]);
    s = add(s, w.high.x, v[4]);
    s = add(s, w.high.y, v[5]);
    s = add(s, w.high.z, v[6]);
    return add(s, w.high.w, v[7]);
}

// The value of row r.
fn value_of(s: Rows, r: u32) -> f32 {
    return select(s.b[r % 4u], s.a[r % 4u], r < 4u);
}
