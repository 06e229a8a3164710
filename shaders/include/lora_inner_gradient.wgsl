// The inner gradient of an adapter, for lora_backward_u and its kernel for subgroups: what it is made from, and the way of
// sums of four rows by 8 columns to it. Shapes: du [rows, U_STRIDE]; b: slot s >= 1 from (s - 1) SLOT_STRIDE on, B [N, RANK]
// at B_OFFSET in it.
// Needs include/lora_site and include/lora_columns.

override SLOT_STRIDE: u32;

@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> du: array<f32>;

fn keep(columns: u32, j: u32, first_row: u32, column: u32, gates: vec4<f32>, value: vec4<f32>) {
    if j < columns {
        let product = gates * value;
        for (var r = 0u; r < 4u; r++) {
            if first_row + r < count.x {
                du[(first_row + r) * U_STRIDE + U_OFFSET + column + j] = product[r];
            }
        }
    }
}

// Stores 8 columns of the four rows from `first_row` on, whose numbers for reads are `row`.
fn keep_all(columns: u32, first_row: u32, row: vec4<u32>, first_column: u32, sum: Columns) {
    let gates = vec4(gate_of(row.x), gate_of(row.y), gate_of(row.z), gate_of(row.w));
    keep(columns, 0u, first_row, first_column, gates, sum.c0);
    keep(columns, 1u, first_row, first_column, gates, sum.c1);
    keep(columns, 2u, first_row, first_column, gates, sum.c2);
    keep(columns, 3u, first_row, first_column, gates, sum.c3);
    keep(columns, 4u, first_row, first_column, gates, sum.c4);
    keep(columns, 5u, first_row, first_column, gates, sum.c5);
    keep(columns, 6u, first_row, first_column, gates, sum.c6);
    keep(columns, 7u, first_row, first_column, gates, sum.c7);
}
