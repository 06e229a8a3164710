// What the kernels of matmul.wgsl and matmul_subgroup.wgsl do with a tile of up to 8 rows: sums and their way to y.
// Shapes: y [rows, Y_STRIDE]; count.x = rows. Needs include/weights_* for N and Eight.

override Y_STRIDE: u32;
override Y_OFFSET: u32;
override ACCUMULATE: bool;
// Rows that one tile carries: 1, 4 or 8.
override ROWS: u32 = 8u;

@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;

// One value for each of 8 rows.
struct Rows {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn add(sum: Rows, w: f32, v: Rows) -> Rows {
    if ROWS == 1u {
        return Rows(vec4(sum.a.x + w * v.a.x, sum.a.yzw), sum.b);
    }
    if ROWS <= 4u {
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

fn store(row: u32, n: u32, value: f32) {
    if row < count.x && n < N {
        let at = row * Y_STRIDE + Y_OFFSET + n;
        if ACCUMULATE {
            y[at] += value;
        } else {
            y[at] = value;
        }
    }
}

fn store_rows(first_row: u32, n: u32, value: Rows) {
    store(first_row, n, value.a.x);
    if ROWS > 1u {
        store(first_row + 1u, n, value.a.y);
        store(first_row + 2u, n, value.a.z);
        store(first_row + 3u, n, value.a.w);
    }
    if ROWS > 4u {
        store(first_row + 4u, n, value.b.x);
        store(first_row + 5u, n, value.b.y);
        store(first_row + 6u, n, value.b.z);
        store(first_row + 7u, n, value.b.w);
    }
}
