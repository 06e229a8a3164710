// What an adapter adds: y[r, Y_OFFSET + n] += gate * sum_j B[slot - 1][n, j] u[r, U_OFFSET + j], with the slot of row r
// and the gate of its sequence. Rows of slot 0 are left alone.
// Shapes: those of include/lora_output, which it needs, as include/rows.
// One output an invocation: for what neither lora_up_tile.wgsl (GPUs) nor lora_up_subgroup.wgsl can take.

@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn output_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = group.x * 64u + lane;
    let row = rows[group.y];
    if row.slot == 0u || n >= N {
        return;
    }
    let u_base = group.y * U_STRIDE + U_OFFSET;
    let b_base = b_start(row.slot, n);
    var sum = 0.0;
    for (var j = 0u; j < RANK; j++) {
        sum += b[b_base + j] * u[u_base + j];
    }
    y[group.y * Y_STRIDE + Y_OFFSET + n] += sequences[row.sequence].gate * sum;
}
