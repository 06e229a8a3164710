// What an adapter adds: y[r, Y_OFFSET + n] += gate * sum_j B[slot - 1][n, j] u[r, U_OFFSET + j], with the slot of row r
// and the gate of its sequence. Rows of slot 0 are left alone.
// Shapes: u [rows, U_STRIDE]; b: per slot SLOT_STRIDE elements, B [N, RANK] from B_OFFSET on; y [rows, Y_STRIDE].
// One output an invocation: for GPUs, and for what lora_up_subgroup.wgsl cannot take.

override N: u32;
override RANK: u32;
override U_STRIDE: u32;
override U_OFFSET: u32;
override B_OFFSET: u32;
override SLOT_STRIDE: u32;
override Y_STRIDE: u32;
override Y_OFFSET: u32;

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn output_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = group.x * 64u + lane;
    let row = rows[group.y];
    if row.slot == 0u || n >= N {
        return;
    }
    let u_base = group.y * U_STRIDE + U_OFFSET;
    let b_base = (row.slot - 1u) * SLOT_STRIDE + B_OFFSET + n * RANK;
    var sum = 0.0;
    for (var j = 0u; j < RANK; j++) {
        sum += b[b_base + j] * u[u_base + j];
    }
    y[group.y * Y_STRIDE + Y_OFFSET + n] += sequences[row.sequence].gate * sum;
}
