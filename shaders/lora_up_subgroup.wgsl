// What an adapter adds, as in lora_up.wgsl, same shapes, for emulated adapters with subgroups of at least 8 invocations.
// There a load costs as much as some ten multiplications: a subgroup takes 8 rows, each invocation reads u of one of them
// and 4 neighbouring outputs' B, and all 8 share what they read. Where the rows of a tile have different slots, B is read
// for each. N, Y_STRIDE and Y_OFFSET are multiples of 4. Needs include/rows, include/lora_output,
// include/lora_columns, include/lora_output_rows and include/subgroup.

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let first = group.y * LANES;
    let valid = min(LANES, count.x - first);
    // Rows and outputs beyond the last one repeat the last one; their results are not stored.
    let n_given = (group.x * LANES + lane) * 4u;
    let n = min(n_given, N - 4u);
    let own_row = rows[first + min(lane, valid - 1u)];
    let own_gate = sequences[own_row.sequence].gate;
    let u_at = (first + min(lane, valid - 1u)) * U_STRIDE + U_OFFSET;
    let slot = subgroupBroadcast(own_row.slot, 0u);
    if subgroupAll(own_row.slot == slot) {
        if slot == 0u {
            return;
        }
        let at = b_start(slot, n);
        // Columns of u's transpose, that is rows.
        var sum = Columns();
        for (var j = 0u; j < RANK; j++) {
            let own = u[u_at + j];
            sum = add(sum, 8u, column(at + j), from_lower(own), from_upper(own));
        }
        add_rows(first, n_given, from_lower(own_gate), from_upper(own_gate), sum);
        return;
    }
    for (var r = 0u; r < valid; r++) {
        let row_slot = subgroupShuffle(own_row.slot, r);
        let gate = subgroupShuffle(own_gate, r);
        if row_slot == 0u {
            continue;
        }
        let at = b_start(row_slot, n);
        var sum = vec4(0.0);
        for (var j = 0u; j < RANK; j++) {
            sum += column(at + j) * u[(first + r) * U_STRIDE + U_OFFSET + j];
        }
        add_four(first + r, n_given, gate * sum);
    }
}
