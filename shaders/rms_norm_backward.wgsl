// Gradient of RMSNorm, y[t, i] = x[t, i] w[i] s with s = (mean_i(x[t, i]²) + EPS)^(-1/2), through its input:
//   dx[t, i] (+)= s (w[i] dy[t, i] - x[t, i] s²/DIM Σ_j w[j] dy[t, j] x[t, j]).
// Shapes: x, dy, dx [rows, DIM]; w [DIM]; count.x = rows. ACCUMULATE adds to dx.
// Entry points: row_per_workgroup (GPUs), row_per_invocation (emulated adapters without subgroups).

override DIM: u32;
override EPS: f32;
override ACCUMULATE: bool;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@group(0) @binding(4) var<uniform> count: vec4<u32>;

fn store(at: u32, value: f32) {
    if ACCUMULATE {
        dx[at] += value;
    } else {
        dx[at] = value;
    }
}

@compute @workgroup_size(LANES)
fn row_per_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.y * DIM;
    var square = 0.0;
    var product = 0.0;
    for (var i = lane; i < DIM; i += LANES) {
        let value = x[base + i];
        square += value * value;
        product += w[i] * dy[base + i] * value;
    }
    let scale = inverseSqrt(workgroup_sum(square, lane) / f32(DIM) + EPS);
    let pull = workgroup_sum(product, lane) * scale * scale / f32(DIM);
    for (var i = lane; i < DIM; i += LANES) {
        store(base + i, scale * (w[i] * dy[base + i] - x[base + i] * pull));
    }
}

@compute @workgroup_size(8)
fn row_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 8u + lane;
    if row >= count.x {
        return;
    }
    let base = row * DIM;
    var square = 0.0;
    var product = 0.0;
    for (var i = 0u; i < DIM; i++) {
        let value = x[base + i];
        square += value * value;
        product += w[i] * dy[base + i] * value;
    }
    let scale = inverseSqrt(square / f32(DIM) + EPS);
    let pull = product * scale * scale / f32(DIM);
    for (var i = 0u; i < DIM; i++) {
        store(base + i, scale * (w[i] * dy[base + i] - x[base + i] * pull));
    }
}
