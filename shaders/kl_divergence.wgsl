// Kullback-Leibler divergence from a base distribution, with its gradient, row by row:
//   p = softmax(logits[t]), q = exp(base_log_p[t]),
//   loss[t] = weights[t] Σ_i q[i] (ln q[i] - ln p[i]),  logits[t, i] <- weights[t] (p[i] - q[i]).
// Shapes: logits, base_log_p [rows, VOCAB] (logits in place); weights, loss [rows].

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read> base_log_p: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

@compute @workgroup_size(LANES)
fn kl_divergence(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let base = row * VOCAB;
    let weight = weights[row];
    let lse = log_sum_exp(base, lane);
    var sum = 0.0;
    for (var i = lane; i < VOCAB; i += LANES) {
        let log_p = logits[base + i] - lse;
        let log_q = base_log_p[base + i];
        let q = exp(log_q);
        // A probability of 0 adds nothing, also where its logarithm is minus infinity.
        sum += select(0.0, q * (log_q - log_p), q > 0.0);
        logits[base + i] = weight * (exp(log_p) - q);
    }
    let divergence = workgroup_sum(sum, lane);
    if lane == 0u {
        loss[row] = weight * divergence;
    }
}
