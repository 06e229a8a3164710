// Gradient of an adapter's input through u = A x, for all sites that share the input at once:
//   dx[t, k] += Σ_j du[t, j] A[j, k],  0 <= j < J, 0 <= k < K.
// Shapes: those of include/lora_input_gradient, which it needs, as include/lora_columns.
// 8 rows an invocation, no workgroup memory. Entry points:
//   lora_backward_x      one k an invocation, for GPUs and what the others cannot take
//   tile_per_invocation  8 k an invocation, for emulated adapters without subgroups; K and A_OFFSET are multiples of 4

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

fn add_one(row: u32, k: u32, value: f32) {
    if row < count.x {
        dx[row * K + k] += value;
    }
}

@compute @workgroup_size(64)
fn lora_backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = group.x * 64u + lane;
    if k >= K {
        return;
    }
    let row = group.y * 8u;
    let last = vec4(count.x - 1u);
    let first = min(vec4(row) + vec4(0u, 1u, 2u, 3u), last) * J;
    let second = min(vec4(row) + vec4(4u, 5u, 6u, 7u), last) * J;
    var low = vec4(0.0);
    var high = vec4(0.0);
    for (var j = 0u; j < J; j++) {
        let factor = a[A_OFFSET + j * K + k];
        low += factor * vec4(du[first.x + j], du[first.y + j], du[first.z + j], du[first.w + j]);
        high += factor * vec4(du[second.x + j], du[second.y + j], du[second.z + j], du[second.w + j]);
    }
    for (var r = 0u; r < 4u; r++) {
        add_one(row + r, k, low[r]);
        add_one(row + 4u + r, k, high[r]);
    }
}

@compute @workgroup_size(8)
fn tile_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 8u;
    let k = vec2(group.x * 64u + lane * 4u) + vec2(0u, 32u);
    let last = vec4(count.x - 1u);
    let first = min(vec4(row) + vec4(0u, 1u, 2u, 3u), last) * J;
    let second = min(vec4(row) + vec4(4u, 5u, 6u, 7u), last) * J;
    let column = (A_OFFSET + min(k, vec2(K - 4u))) / 4u;
    // Columns of du's transpose, that is rows.
    var near = Columns();
    var far = Columns();
    for (var j = 0u; j < J; j++) {
        let low = vec4(du[first.x + j], du[first.y + j], du[first.z + j], du[first.w + j]);
        let high = vec4(du[second.x + j], du[second.y + j], du[second.z + j], du[second.w + j]);
        near = add(near, 8u, a_by_fours[column.x + j * (K / 4u)], low, high);
        far = add(far, 8u, a_by_fours[column.y + j * (K / 4u)], low, high);
    }
    add_rows(row, k.x, near);
    add_rows(row, k.y, far);
}
