// Gradient of an adapter's input through u = A x, for all sites that share the input at once:
//   dx[t, k] += Σ_j du[t, j] A[j, k],  0 <= j < J, 0 <= k < K.
// Shapes: du [rows, J]; a: A [J, K] at A_OFFSET; dx [rows, K]; count.x = rows.
// 8 rows an invocation, no workgroup memory: for GPUs, and for what lora_backward_x_subgroup.wgsl cannot take.

override J: u32;
override K: u32;
override A_OFFSET: u32;

@group(0) @binding(0) var<storage, read> du: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;

fn add(row: u32, k: u32, value: f32) {
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
        add(row + r, k, low[r]);
        add(row + 4u + r, k, high[r]);
    }
}
