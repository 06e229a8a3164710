// Gradient of an adapter's input, as in lora_backward_x.wgsl, same shapes, for emulated adapters with subgroups of at least
// 8 invocations (matmul_subgroup.wgsl says why). A subgroup takes 8 rows and 32 k, four an invocation; each invocation
// reads du of one row, and the others have it by broadcast. K and A_OFFSET are multiples of 4. Needs
// include/lora_columns, include/lora_input_gradient and include/subgroup.

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let first = group.y * LANES;
    let k = (group.x * LANES + lane) * 4u;
    // Rows and columns beyond the last one repeat the last one; their results are not stored.
    let own_row = min(first + lane, count.x - 1u) * J;
    let column = (A_OFFSET + min(k, K - 4u)) / 4u;
    // Columns of du's transpose, that is rows.
    var sum = Columns();
    for (var j = 0u; j < J; j++) {
        let own = du[own_row + j];
        sum = add(sum, 8u, a_by_fours[column + j * (K / 4u)], from_lower(own), from_upper(own));
    }
    add_rows(first, k, sum);
}
