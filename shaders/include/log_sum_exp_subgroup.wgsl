// ln Σ_i exp(x[i]) over a row of VOCAB logits, by one subgroup, for emulated adapters (matmul_subgroup.wgsl says why): the
// largest logit and the sum in one pass, by fours. `base` counts fours; VOCAB is a multiple of 4.
// Needs include/subgroup and a storage array `logits` of vec4.

override VOCAB: u32;

// For each of four places: the largest logit so far, and Σ exp(x - largest).
struct Running {
    largest: vec4<f32>,
    sum: vec4<f32>,
}

fn log_sum_exp(base: u32, lane: u32) -> f32 {
    let fours = VOCAB / 4u;
    let whole = fours / (4u * LANES) * (4u * LANES);
    var run = Running(vec4(-3.4e38), vec4(0.0));
    // Four at a time, for one correction of the sum.
    for (var i = lane; i < whole; i += 4u * LANES) {
        let a = logits[base + i];
        let b = logits[base + i + LANES];
        let c = logits[base + i + 2u * LANES];
        let d = logits[base + i + 3u * LANES];
        let largest = max(run.largest, max(max(a, b), max(c, d)));
        let sum = (exp(a - largest) + exp(b - largest)) + (exp(c - largest) + exp(d - largest));
        run = Running(largest, run.sum * exp(run.largest - largest) + sum);
    }
    for (var i = whole + lane; i < fours; i += LANES) {
        let a = logits[base + i];
        let largest = max(run.largest, a);
        run = Running(largest, run.sum * exp(run.largest - largest) + exp(a - largest));
    }
    let most = max(max(run.largest.x, run.largest.y), max(run.largest.z, run.largest.w));
    let largest = subgroupMax(most);
    return largest + log(subgroupAdd(dot(run.sum, exp(run.largest - largest))));
}
