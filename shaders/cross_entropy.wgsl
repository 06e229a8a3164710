// Softmax cross entropy with its gradient, row by row:
//   p = softmax(logits[t]), loss[t] = -weights[t] ln p[targets[t]],
//   logits[t, i] <- weights[t] (p[i] - [i = targets[t]]).
// Rows whose target already has a probability above THRESHOLD get loss and gradient 0 (MemFT, arXiv 2605.30260);
// a THRESHOLD of 1 or more switches that off.
// Shapes: logits [rows, VOCAB], in place; targets, weights, loss, probability [rows].
// One workgroup a row: for GPUs, and for what cross_entropy_subgroup.wgsl cannot take; a row of a vocabulary is long enough
// to hide the barriers.

override THRESHOLD: f32;

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> probability: array<f32>;

@compute @workgroup_size(LANES)
fn cross_entropy(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let base = row * VOCAB;
    let aim = min(targets[row], VOCAB - 1u);
    let lse = log_sum_exp(base, lane);
    let log_p = logits[base + aim] - lse;
    let p = exp(log_p);
    let weight = select(weights[row], 0.0, p > THRESHOLD);
    // Everyone has read the target's logit before anyone overwrites it.
    storageBarrier();
    for (var i = lane; i < VOCAB; i += LANES) {
        let softmax = exp(logits[base + i] - lse);
        logits[base + i] = weight * (softmax - select(0.0, 1.0, i == aim));
    }
    if lane == 0u {
        loss[row] = -weight * log_p;
        probability[row] = p;
    }
}
