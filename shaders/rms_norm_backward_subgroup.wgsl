// Gradient of RMSNorm, as in rms_norm_backward.wgsl, same shapes, for emulated adapters with subgroups of at least 8
// invocations. One subgroup a row, by fours; DIM is a multiple of 4. Needs include/subgroup.

override DIM: u32;
override EPS: f32;
override ACCUMULATE: bool;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn row_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let base = group.y * (DIM / 4u);
    var square = 0.0;
    var product = 0.0;
    for (var i = lane; i < DIM / 4u; i += LANES) {
        let value = x[base + i];
        square += dot(value, value);
        product += dot(w[i] * dy[base + i], value);
    }
    let scale = inverseSqrt(subgroupAdd(square) / f32(DIM) + EPS);
    let pull = subgroupAdd(product) * scale * scale / f32(DIM);
    for (var i = lane; i < DIM / 4u; i += LANES) {
        let value = scale * (w[i] * dy[base + i] - x[base + i] * pull);
        if ACCUMULATE {
            dx[base + i] += value;
        } else {
            dx[base + i] = value;
        }
    }
}
