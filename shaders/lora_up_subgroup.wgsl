// What an adapter adds, as in lora_up.wgsl, same shapes, for emulated adapters with subgroups of at least 8 invocations.
// There a load costs as much as some ten multiplications: a subgroup takes 8 rows, each invocation reads u of one of them
// and 4 neighbouring outputs' B, and all 8 share what they read. Where the rows of a tile have different slots, B is read
// for each. N, Y_STRIDE and Y_OFFSET are multiples of 4. Needs include/rows, include/lora_output and include/subgroup.

@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> count: vec4<u32>;

// Column j of B for 4 neighbouring outputs.
fn column(at: u32) -> vec4<f32> {
    return vec4(b[at], b[at + RANK], b[at + 2u * RANK], b[at + 3u * RANK]);
}

fn add(first: u32, r: u32, valid: u32, n: u32, value: vec4<f32>) {
    if r < valid {
        y[((first + r) * Y_STRIDE + Y_OFFSET + n) / 4u] += value;
    }
}

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let first = group.y * LANES;
    let valid = min(LANES, count.x - first);
    // Rows and outputs beyond the last one repeat the last one; their results are not stored.
    let n_given = (group.x * LANES + lane) * 4u;
    let n = min(n_given, N - 4u);
    let inside = n_given < N;
    let own_row = rows[first + min(lane, valid - 1u)];
    let own_gate = sequences[own_row.sequence].gate;
    let u_at = (first + min(lane, valid - 1u)) * U_STRIDE + U_OFFSET;
    let slot = subgroupBroadcast(own_row.slot, 0u);
    if subgroupAll(own_row.slot == slot) {
        if slot == 0u {
            return;
        }
        let at = b_start(slot, n);
        var s0 = vec4(0.0);
        var s1 = vec4(0.0);
        var s2 = vec4(0.0);
        var s3 = vec4(0.0);
        var s4 = vec4(0.0);
        var s5 = vec4(0.0);
        var s6 = vec4(0.0);
        var s7 = vec4(0.0);
        for (var j = 0u; j < RANK; j++) {
            let own = u[u_at + j];
            let lower = from_lower(own);
            let upper = from_upper(own);
            let w = column(at + j);
            s0 += w * lower.x;
            s1 += w * lower.y;
            s2 += w * lower.z;
            s3 += w * lower.w;
            s4 += w * upper.x;
            s5 += w * upper.y;
            s6 += w * upper.z;
            s7 += w * upper.w;
        }
        let lower = from_lower(own_gate);
        let upper = from_upper(own_gate);
        if inside {
            add(first, 0u, valid, n, lower.x * s0);
            add(first, 1u, valid, n, lower.y * s1);
            add(first, 2u, valid, n, lower.z * s2);
            add(first, 3u, valid, n, lower.w * s3);
            add(first, 4u, valid, n, upper.x * s4);
            add(first, 5u, valid, n, upper.y * s5);
            add(first, 6u, valid, n, upper.z * s6);
            add(first, 7u, valid, n, upper.w * s7);
        }
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
        if inside {
            add(first, r, valid, n, gate * sum);
        }
    }
}
