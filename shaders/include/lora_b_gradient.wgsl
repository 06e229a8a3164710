// The gradient of an adapter's B, for lora_backward_b and its kernel for subgroups: what it is made from, and the way of sums
// of four outputs by 8 columns to it. Shapes: u [rows, U_STRIDE]; db: laid out as one slot of B.
// Needs include/lora_site and include/lora_columns.

@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(4) var<storage, read_write> db: array<f32>;

fn column_of(columns: u32, j: u32, at: u32) -> f32 {
    if j < columns {
        return u[at + j];
    }
    return 0.0;
}

// Elements of u of up to 8 columns, times a factor.
struct Factors {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn factors_at(columns: u32, at: u32, gate: f32) -> Factors {
    let low = vec4(column_of(columns, 0u, at), column_of(columns, 1u, at), column_of(columns, 2u, at), column_of(columns, 3u, at));
    let high = vec4(column_of(columns, 4u, at), column_of(columns, 5u, at), column_of(columns, 6u, at), column_of(columns, 7u, at));
    return Factors(gate * low, gate * high);
}

fn keep(columns: u32, j: u32, at: u32, value: vec4<f32>) {
    if j < columns {
        db[at + j] = value.x;
        db[at + RANK + j] = value.y;
        db[at + 2u * RANK + j] = value.z;
        db[at + 3u * RANK + j] = value.w;
    }
}

// Stores 8 columns of the four outputs from n on, if there are any.
fn keep_all(columns: u32, n: u32, first_column: u32, sum: Columns) {
    if n < N {
        let to = B_OFFSET + n * RANK + first_column;
        keep(columns, 0u, to, sum.c0);
        keep(columns, 1u, to, sum.c1);
        keep(columns, 2u, to, sum.c2);
        keep(columns, 3u, to, sum.c3);
        keep(columns, 4u, to, sum.c4);
        keep(columns, 5u, to, sum.c5);
        keep(columns, 6u, to, sum.c6);
        keep(columns, 7u, to, sum.c7);
    }
}
