// One site of a low-rank adapter in the backward pass, for lora_backward_b, lora_backward_u and their kernels for
// subgroups. Shapes: dy [rows, DY_STRIDE], the gradient of the outputs (bound there, by ones or by fours);
// count = (rows, trained slot). Needs include/rows.

override N: u32;
override RANK: u32;
override DY_STRIDE: u32;
override DY_OFFSET: u32;
override U_STRIDE: u32;
override U_OFFSET: u32;
override B_OFFSET: u32;

@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(5) var<uniform> count: vec4<u32>;

// Columns of B that one workgroup covers.
const COLUMNS = 8u;

// That of the row's sequence; 0 for rows of other slots, whose loss does not depend on this one's B.
fn gate_of(row: u32) -> f32 {
    return select(0.0, sequences[rows[row].sequence].gate, rows[row].slot == count.y);
}
