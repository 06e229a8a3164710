// RMSNorm as in rms_norm.wgsl, same shapes, for emulated adapters with subgroups of at least 8 invocations, which share
// a row and read it four elements at a time. DIM is a multiple of 4.

override DIM: u32;
override EPS: f32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn row_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let base = group.y * (DIM / 4u);
    var sum = 0.0;
    for (var i = lane; i < DIM / 4u; i += LANES) {
        let value = x[base + i];
        sum += dot(value, value);
    }
    let scale = inverseSqrt(subgroupAdd(sum) / f32(DIM) + EPS);
    for (var i = lane; i < DIM / 4u; i += LANES) {
        y[base + i] = x[base + i] * scale * w[i];
    }
}
