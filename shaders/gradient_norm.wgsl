// Health of a gradient: norm = (Σ_i g[i]² over the finite elements, number of elements that are not finite).
// Shapes: gradient [LENGTH]; norm [2]. One workgroup, fixed order: one form for all adapters. Needs include/reduction.

override LENGTH: u32;

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;

@compute @workgroup_size(LANES)
fn gradient_norm(@builtin(local_invocation_index) lane: u32) {
    var square = 0.0;
    var broken = 0.0;
    for (var i = lane; i < LENGTH; i += LANES) {
        let g = gradient[i];
        // By its bits: compilers may assume that arithmetic meets no NaN.
        if (bitcast<u32>(g) & 0x7f800000u) == 0x7f800000u {
            broken += 1.0;
        } else {
            square += g * g;
        }
    }
    let total = workgroup_sum(square, lane);
    let failures = workgroup_sum(broken, lane);
    if lane == 0u {
        norm[0] = total;
        norm[1] = failures;
    }
}
