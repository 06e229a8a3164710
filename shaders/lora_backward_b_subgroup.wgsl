// Gradient of an adapter's B, as in lora_backward_b.wgsl, same shapes, for emulated adapters with subgroups of at least 8
// invocations (matmul_subgroup.wgsl says why). A subgroup takes 32 n, four an invocation, and walks over the rows in
// order, 8 at a time: each invocation reads u and gate of one of them, and the others have it by broadcast.
// N, DY_STRIDE and DY_OFFSET are multiples of 4. Needs include/rows,
// include/lora_site, include/lora_columns, include/lora_b_gradient and include/subgroup.

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn rows_in_order_by_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    // Where all columns fit in one group, the compiler is to know how many there are.
    let first_column = select(group.z * COLUMNS, 0u, RANK <= COLUMNS);
    let columns = min(COLUMNS, RANK - first_column);
    let n = (group.x * LANES + lane) * 4u;
    let read = (min(n, N - 4u) + DY_OFFSET) / 4u;
    let stride = DY_STRIDE / 4u;
    let last = count.x - 1u;
    var sum = Columns();
    for (var start = 0u; start < count.x; start += LANES) {
        // Rows beyond the last one count for nothing.
        let row = min(start + lane, last);
        let gate = select(0.0, gate_of(row), start + lane <= last);
        let at = row * U_STRIDE + U_OFFSET + first_column;
        let own = factors_at(columns, at, gate);
        let low = own.low;
        let high = own.high;
        sum = add(sum, columns, dy[read + start * stride], subgroupBroadcast(low, 0u), subgroupBroadcast(high, 0u));
        sum = add(sum, columns, dy[read + min(start + 1u, last) * stride], subgroupBroadcast(low, 1u), subgroupBroadcast(high, 1u));
        sum = add(sum, columns, dy[read + min(start + 2u, last) * stride], subgroupBroadcast(low, 2u), subgroupBroadcast(high, 2u));
        sum = add(sum, columns, dy[read + min(start + 3u, last) * stride], subgroupBroadcast(low, 3u), subgroupBroadcast(high, 3u));
        sum = add(sum, columns, dy[read + min(start + 4u, last) * stride], subgroupBroadcast(low, 4u), subgroupBroadcast(high, 4u));
        sum = add(sum, columns, dy[read + min(start + 5u, last) * stride], subgroupBroadcast(low, 5u), subgroupBroadcast(high, 5u));
        sum = add(sum, columns, dy[read + min(start + 6u, last) * stride], subgroupBroadcast(low, 6u), subgroupBroadcast(high, 6u));
        sum = add(sum, columns, dy[read + min(start + 7u, last) * stride], subgroupBroadcast(low, 7u), subgroupBroadcast(high, 7u));
    }
    keep_all(columns, n, first_column, sum);
}
