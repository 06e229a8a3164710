// Logarithm of the softmax, in place, as in log_softmax.wgsl, same shape, for emulated adapters with subgroups of at least 8
// invocations. One subgroup a row, by fours; VOCAB is a multiple of 4.
// Needs include/subgroup and include/log_sum_exp_subgroup.

@group(0) @binding(0) var<storage, read_write> logits: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn row_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let base = group.y * (VOCAB / 4u);
    let lse = log_sum_exp(base, lane);
    for (var i = lane; i < VOCAB / 4u; i += LANES) {
        logits[base + i] -= lse;
    }
}
