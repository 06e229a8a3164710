// Softmax cross entropy with its gradient, as in cross_entropy.wgsl, same shapes, for emulated adapters with subgroups of at
// least 8 invocations. One subgroup a row, by fours; VOCAB is a multiple of 4.
// Needs include/subgroup and include/log_sum_exp_subgroup.

override THRESHOLD: f32;

@group(0) @binding(0) var<storage, read_write> logits: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> probability: array<f32>;

@compute @workgroup_size(LANES)
fn row_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let row = group.y;
    let base = row * (VOCAB / 4u);
    let lse = log_sum_exp(base, lane);
    // Only the invocation that writes the target's logit reads it: no other one has to wait.
    let aim = min(targets[row], VOCAB - 1u);
    let mine = aim / 4u % LANES == lane;
    var own = 0.0;
    if mine {
        own = logits[base + aim / 4u][aim % 4u];
    }
    let log_p = subgroupAdd(own) - lse;
    let p = exp(log_p);
    let weight = select(weights[row], 0.0, p > THRESHOLD);
    for (var i = lane; i < VOCAB / 4u; i += LANES) {
        logits[base + i] = weight * exp(logits[base + i] - lse);
    }
    if mine {
        logits[base + aim / 4u][aim % 4u] = weight * (p - 1.0);
    }
    if lane == 0u {
        loss[row] = -weight * log_p;
        probability[row] = p;
    }
}
