// Sums of 8 rows by four outputs and their way to y, for lora_up and its kernel for subgroups; N, Y_STRIDE and Y_OFFSET are
// multiples of 4. Needs include/lora_output and include/lora_columns; count.x = rows.

@group(0) @binding(4) var<storage, read_write> y_by_fours: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> count: vec4<u32>;

// Column j of B for 4 neighbouring outputs.
fn column(at: u32) -> vec4<f32> {
    return vec4(b[at], b[at + RANK], b[at + 2u * RANK], b[at + 3u * RANK]);
}

fn add_four(row: u32, n: u32, value: vec4<f32>) {
    if row < count.x && n < N {
        y_by_fours[(row * Y_STRIDE + Y_OFFSET + n) / 4u] += value;
    }
}

// Adds the sums of the 8 rows from `row` on, which the columns of `sum` are, times their gates.
fn add_rows(row: u32, n: u32, low: vec4<f32>, high: vec4<f32>, sum: Columns) {
    add_four(row, n, low.x * sum.c0);
    add_four(row + 1u, n, low.y * sum.c1);
    add_four(row + 2u, n, low.z * sum.c2);
    add_four(row + 3u, n, low.w * sum.c3);
    add_four(row + 4u, n, high.x * sum.c4);
    add_four(row + 5u, n, high.y * sum.c5);
    add_four(row + 6u, n, high.z * sum.c6);
    add_four(row + 7u, n, high.w * sum.c7);
}
