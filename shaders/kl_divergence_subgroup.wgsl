// Kullback-Leibler divergence with its gradient, as in kl_divergence.wgsl, same shapes, for emulated adapters with subgroups
// of at least 8 invocations. One subgroup a row, by fours; VOCAB is a multiple of 4.
// Needs include/subgroup and include/log_sum_exp_subgroup.

@group(0) @binding(0) var<storage, read_write> logits: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> base_log_p: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

@compute @workgroup_size(LANES)
fn row_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let row = group.y;
    let base = row * (VOCAB / 4u);
    let weight = weights[row];
    let lse = log_sum_exp(base, lane);
    var sum = vec4(0.0);
    for (var i = lane; i < VOCAB / 4u; i += LANES) {
        let log_p = logits[base + i] - lse;
        let log_q = base_log_p[base + i];
        let q = exp(log_q);
        // A probability of 0 adds nothing, also where its logarithm is minus infinity.
        sum += select(vec4(0.0), q * (log_q - log_p), q > vec4(0.0));
        logits[base + i] = weight * (exp(log_p) - q);
    }
    let divergence = subgroupAdd((sum.x + sum.y) + (sum.z + sum.w));
    if lane == 0u {
        loss[row] = weight * divergence;
    }
}
