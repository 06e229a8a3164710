// What an adapter's inner gradient adds to that of its input, for lora_backward_x and its kernel for subgroups: what it is made
// from, and the way of sums of 8 rows by four k to it. Shapes: du [rows, J]; a: A [J, K] at A_OFFSET; dx [rows, K];
// count.x = rows. Needs include/lora_columns. What is read by fours asks for K and A_OFFSET that are multiples of 4.

override J: u32;
override K: u32;
override A_OFFSET: u32;

@group(0) @binding(0) var<storage, read> du: array<f32>;
@group(0) @binding(1) var<storage, read> a_by_fours: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx_by_fours: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;

fn add_four(row: u32, k: u32, value: vec4<f32>) {
    if row < count.x && k < K {
        dx_by_fours[(row * K + k) / 4u] += value;
    }
}

// Adds the sums of the 8 rows from `row` on for four k, which the columns of `sum` are.
fn add_rows(row: u32, k: u32, sum: Columns) {
    add_four(row, k, sum.c0);
    add_four(row + 1u, k, sum.c1);
    add_four(row + 2u, k, sum.c2);
    add_four(row + 3u, k, sum.c3);
    add_four(row + 4u, k, sum.c4);
    add_four(row + 5u, k, sum.c5);
    add_four(row + 6u, k, sum.c6);
    add_four(row + 7u, k, sum.c7);
}
