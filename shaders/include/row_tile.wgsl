// The way of a tile's sums to y, for matmul.wgsl and matmul_subgroup.wgsl.
// Shapes: y [rows, Y_STRIDE]; count.x = rows. Needs include/weights_* for N, and include/row_sums.

override Y_STRIDE: u32;
override Y_OFFSET: u32;
override ACCUMULATE: bool;

@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;

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
    store(first_row + 1u, n, value.a.y);
    store(first_row + 2u, n, value.a.z);
    store(first_row + 3u, n, value.a.w);
    store(first_row + 4u, n, value.b.x);
    store(first_row + 5u, n, value.b.y);
    store(first_row + 6u, n, value.b.z);
    store(first_row + 7u, n, value.b.w);
}
