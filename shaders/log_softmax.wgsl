// Logarithm of the softmax, in place: logits[t, i] <- logits[t, i] - ln Σ_j exp(logits[t, j]).
// Shape: logits [rows, VOCAB].

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(LANES)
fn log_softmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.y * VOCAB;
    let lse = log_sum_exp(base, lane);
    for (var i = lane; i < VOCAB; i += LANES) {
        logits[base + i] -= lse;
    }
}
