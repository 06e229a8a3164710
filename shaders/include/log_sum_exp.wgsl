// ln Σ_i exp(x[base + i]) over a row of VOCAB logits, by one workgroup. Needs include/reduction and a storage
// array `logits`.

override VOCAB: u32;

fn log_sum_exp(base: u32, lane: u32) -> f32 {
    var largest = -3.4e38;
    for (var i = lane; i < VOCAB; i += LANES) {
        largest = max(largest, logits[base + i]);
    }
    largest = workgroup_max(largest, lane);
    var sum = 0.0;
    for (var i = lane; i < VOCAB; i += LANES) {
        sum += exp(logits[base + i] - largest);
    }
    return largest + log(workgroup_sum(sum, lane));
}
