// What an adapter adds, as in lora_up.wgsl, same shapes and the same order of sums, for GPUs: an invocation takes one output of
// 8 neighbouring rows, and where these have one slot, as in prefill and training, reads its row of B once for all of them.
// Rows of slot 0 cost nothing but a look at their slot. count.x = rows.
// Neighbours have neighbouring outputs: what they read of B, two columns at a time, lies together, and so does y; u is the
// same for all. For rank 6 and 8 rows an invocation reads 3 pairs of B and 24 of u for 48 multiply-adds, where an invocation
// for each row reads 48 words of B and 48 of u. What remains is y, read and written once: 8 bytes an output.
// RANK, U_STRIDE, U_OFFSET, B_OFFSET and SLOT_STRIDE are even. Needs include/rows and include/lora_output.

const ROWS = 8u;

@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> count: vec4<u32>;
// The same numbers as u and b, two at a time.
@group(0) @binding(6) var<storage, read> u_pairs: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read> b_pairs: array<vec2<f32>>;

fn u_pair(row: u32, j: u32) -> vec2<f32> {
    return u_pairs[(row * U_STRIDE + U_OFFSET + j) / 2u];
}

// Columns j and j + 1 of u for four rows; past the last row the last one again.
fn four_pairs(first: u32, j: u32) -> mat2x4<f32> {
    let r = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(count.x - 1u));
    return transpose(mat4x2(u_pair(r.x, j), u_pair(r.y, j), u_pair(r.z, j), u_pair(r.w, j)));
}

fn add(r: u32, n: u32, sum: f32) {
    if r < count.x {
        y[r * Y_STRIDE + Y_OFFSET + n] += sequences[rows[r].sequence].gate * sum;
    }
}

fn add_four(first: u32, n: u32, sum: vec4<f32>) {
    add(first, n, sum.x);
    add(first + 1u, n, sum.y);
    add(first + 2u, n, sum.z);
    add(first + 3u, n, sum.w);
}

@compute @workgroup_size(64)
fn rows_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = group.x * 64u + lane;
    let first = group.y * ROWS;
    let end = min(first + ROWS, count.x);
    let slot = rows[first].slot;
    var one_slot = true;
    for (var r = first + 1u; r < end; r++) {
        one_slot = one_slot && rows[r].slot == slot;
    }
    if n >= N || (one_slot && slot == 0u) {
        return;
    }
    if one_slot {
        let at = b_start(slot, n);
        var low = vec4(0.0);
        var high = vec4(0.0);
        for (var j = 0u; j < RANK; j += 2u) {
            let w = b_pairs[(at + j) / 2u];
            let a = four_pairs(first, j);
            let c = four_pairs(first + 4u, j);
            low += w.x * a[0];
            low += w.y * a[1];
            high += w.x * c[0];
            high += w.y * c[1];
        }
        add_four(first, n, low);
        add_four(first + 4u, n, high);
        return;
    }
    for (var r = first; r < end; r++) {
        let row_slot = rows[r].slot;
        if row_slot == 0u {
            continue;
        }
        let at = b_start(row_slot, n);
        var sum = 0.0;
        for (var j = 0u; j < RANK; j += 2u) {
            let w = b_pairs[(at + j) / 2u];
            let own = u_pair(r, j);
            sum += w.x * own.x;
            sum += w.y * own.y;
        }
        add(r, n, sum);
    }
}
