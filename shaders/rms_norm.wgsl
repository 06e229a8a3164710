// RMSNorm: y[t, i] = x[t, i] * w[i] / sqrt(mean_i(x[t, i]^2) + eps).
// Shapes: x, y [rows, DIM]; w [DIM]; count.x = rows.
// Entry points: row_per_workgroup (tree reduction of fixed order, for GPUs),
// row_per_invocation (sequential sum, for emulated adapters, where barriers are slow).

override DIM: u32;
override EPS: f32;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;

const LANES = 64u;
var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn row_per_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.y * DIM;
    var sum = 0.0;
    for (var i = lane; i < DIM; i += LANES) {
        sum += x[base + i] * x[base + i];
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if lane < width {
            partial[lane] += partial[lane + width];
        }
        workgroupBarrier();
    }
    let scale = inverseSqrt(partial[0] / f32(DIM) + EPS);
    for (var i = lane; i < DIM; i += LANES) {
        y[base + i] = x[base + i] * scale * w[i];
    }
}

@compute @workgroup_size(8)
fn row_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 8u + lane;
    if row >= count.x {
        return;
    }
    let base = row * DIM;
    var sum = 0.0;
    for (var i = 0u; i < DIM; i++) {
        sum += x[base + i] * x[base + i];
    }
    let scale = inverseSqrt(sum / f32(DIM) + EPS);
    for (var i = 0u; i < DIM; i++) {
        y[base + i] = x[base + i] * scale * w[i];
    }
}
