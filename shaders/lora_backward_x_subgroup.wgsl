// Gradient of an adapter's input, as in lora_backward_x.wgsl, same shapes, for emulated adapters with subgroups of at least
// 8 invocations (matmul_subgroup.wgsl says why). A subgroup takes 8 rows and 32 k, four an invocation; each invocation
// reads du of one row, and the others have it by broadcast. K and A_OFFSET are multiples of 4. Needs include/subgroup.

override J: u32;
override K: u32;
override A_OFFSET: u32;

@group(0) @binding(0) var<storage, read> du: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;

fn add(row: u32, k: u32, value: vec4<f32>) {
    if row < count.x && k < K {
        dx[(row * K + k) / 4u] += value;
    }
}

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let first = group.y * LANES;
    let k = (group.x * LANES + lane) * 4u;
    // Rows and columns beyond the last one repeat the last one; their results are not stored.
    let own_row = min(first + lane, count.x - 1u) * J;
    let column = (A_OFFSET + min(k, K - 4u)) / 4u;
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    var s4 = vec4(0.0);
    var s5 = vec4(0.0);
    var s6 = vec4(0.0);
    var s7 = vec4(0.0);
    for (var j = 0u; j < J; j++) {
        let factor = a[column + j * (K / 4u)];
        let own = du[own_row + j];
        let low = from_lower(own);
        let high = from_upper(own);
        s0 += factor * low.x;
        s1 += factor * low.y;
        s2 += factor * low.z;
        s3 += factor * low.w;
        s4 += factor * high.x;
        s5 += factor * high.y;
        s6 += factor * high.z;
        s7 += factor * high.w;
    }
    add(first, k, s0);
    add(first + 1u, k, s1);
    add(first + 2u, k, s2);
    add(first + 3u, k, s3);
    add(first + 4u, k, s4);
    add(first + 5u, k, s5);
    add(first + 6u, k, s6);
    add(first + 7u, k, s7);
}
