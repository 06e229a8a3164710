// Gradient of an adapter's inner activations, as in lora_backward_u.wgsl, same shapes, for emulated adapters with subgroups
// of at least 8 invocations (matmul_subgroup.wgsl says why). A subgroup takes 32 rows, four an invocation, and 8 columns of
// B; each invocation reads one column, and the others have it by broadcast. Sums run in the order of n.
// N, DY_STRIDE and DY_OFFSET are multiples of 4. Needs include/rows,
// include/lora_site, include/lora_columns, include/lora_inner_gradient and include/subgroup.

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;

// Adds the products of one output of four rows with its row of B, of which each invocation holds one column.
fn add_output(sum: Columns, columns: u32, upstream: vec4<f32>, own: f32) -> Columns {
    return add(sum, columns, upstream, from_lower(own), from_upper(own));
}

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    // Where all columns fit in one group, the compiler is to know how many there are.
    let first_column = select(group.z * COLUMNS, 0u, RANK <= COLUMNS);
    let columns = min(COLUMNS, RANK - first_column);
    let first_row = (group.y * LANES + lane) * 4u;
    let row = min(vec4(first_row) + vec4(0u, 1u, 2u, 3u), vec4(count.x - 1u));
    let at = row * (DY_STRIDE / 4u) + DY_OFFSET / 4u;
    // Invocations without a column of their own read the last one.
    let base = (count.y - 1u) * SLOT_STRIDE + B_OFFSET + first_column + min(lane, columns - 1u);
    var sum = Columns();
    for (var n = 0u; n < N / 4u; n++) {
        let start = base + 4u * n * RANK;
        let g = transpose(mat4x4(dy[at.x + n], dy[at.y + n], dy[at.z + n], dy[at.w + n]));
        sum = add_output(sum, columns, g[0], b[start]);
        sum = add_output(sum, columns, g[1], b[start + RANK]);
        sum = add_output(sum, columns, g[2], b[start + 2u * RANK]);
        sum = add_output(sum, columns, g[3], b[start + 3u * RANK]);
    }
    keep_all(columns, first_row, row, first_column, sum);
}
