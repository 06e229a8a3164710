// What an adapter adds: y[r, Y_OFFSET + n] += gate * sum_j B[slot - 1][n, j] u[r, U_OFFSET + j], with the slot of row r
// and the gate of its sequence. Rows of slot 0 are left alone.
// Shapes: those of include/lora_output, which it needs, as include/rows, include/lora_columns and include/lora_output_rows.
// Entry points:
//   output_per_invocation  for what neither the others here nor lora_up_tile.wgsl (GPUs) can take
//   tile_per_invocation    8 rows by 8 outputs, for emulated adapters without subgroups; N, Y_STRIDE and Y_OFFSET are
//                          multiples of 4. Where the rows of a tile have different slots, B is read for each.

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

fn gates_of(at: vec4<u32>) -> vec4<f32> {
    return vec4(
        sequences[rows[at.x].sequence].gate, sequences[rows[at.y].sequence].gate,
        sequences[rows[at.z].sequence].gate, sequences[rows[at.w].sequence].gate,
    );
}

@compute @workgroup_size(8)
fn tile_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.y * 8u;
    // Rows and outputs beyond the last one repeat the last one; their results are not stored.
    let a = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(count.x - 1u));
    let e = min(a + 4u, vec4(count.x - 1u));
    let given = vec2(group.x * 64u + lane * 4u) + vec2(0u, 32u);
    let n = min(given, vec2(N - 4u));
    let slot = rows[a.x].slot;
    let slots_a = vec4(rows[a.x].slot, rows[a.y].slot, rows[a.z].slot, rows[a.w].slot);
    let slots_e = vec4(rows[e.x].slot, rows[e.y].slot, rows[e.z].slot, rows[e.w].slot);
    if all(slots_a == vec4(slot)) && all(slots_e == vec4(slot)) {
        if slot == 0u {
            return;
        }
        let start = vec2(b_start(slot, n.x), b_start(slot, n.y));
        let u_a = a * U_STRIDE + U_OFFSET;
        let u_e = e * U_STRIDE + U_OFFSET;
        // Columns of u's transpose, that is rows.
        var near = Columns();
        var far = Columns();
        for (var j = 0u; j < RANK; j++) {
            let low = vec4(u[u_a.x + j], u[u_a.y + j], u[u_a.z + j], u[u_a.w + j]);
            let high = vec4(u[u_e.x + j], u[u_e.y + j], u[u_e.z + j], u[u_e.w + j]);
            near = add(near, 8u, column(start.x + j), low, high);
            far = add(far, 8u, column(start.y + j), low, high);
        }
        let low = gates_of(a);
        let high = gates_of(e);
        add_rows(first, given.x, low, high, near);
        add_rows(first, given.y, low, high, far);
        return;
    }
    for (var r = first; r < min(first + 8u, count.x); r++) {
        let row = rows[r];
        if row.slot == 0u {
            continue;
        }
        let start = vec2(b_start(row.slot, n.x), b_start(row.slot, n.y));
        var near = vec4(0.0);
        var far = vec4(0.0);
        for (var j = 0u; j < RANK; j++) {
            let factor = u[r * U_STRIDE + U_OFFSET + j];
            near += column(start.x + j) * factor;
            far += column(start.y + j) * factor;
        }
        let gate = sequences[row.sequence].gate;
        add_four(r, given.x, gate * near);
        add_four(r, given.y, gate * far);
    }
}
