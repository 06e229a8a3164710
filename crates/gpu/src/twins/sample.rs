//! Drawing a token.

use crate::ops::Sampling;

fn mix(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// The documented rule, by sorting: the token and its log-probability. `logits` must not be empty.
pub(crate) fn sample(logits: &[f32], seen: &[bool], wish: &Sampling, position: u32) -> (u32, f64) {
    let greedy = wish.temperature == 0.0;
    let penalty = f64::from(wish.repetition_penalty);
    let z: Vec<f64> = logits
        .iter()
        .zip(seen)
        .map(|(&v, &seen)| match (seen, f64::from(v)) {
            (false, v) => v,
            (true, v) if v > 0.0 => v / penalty,
            (true, v) => v * penalty,
        })
        .map(|v| if greedy { v } else { v / f64::from(wish.temperature) })
        .collect();
    let total: f64 = z.iter().map(|z| z.exp()).sum();
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|&a, &b| z[b].total_cmp(&z[a]));
    let top = z[order[0]];
    if greedy {
        order.truncate(1);
    } else {
        if wish.top_k > 0 {
            order.truncate(wish.top_k as usize);
        }
        let kept: f64 = order.iter().map(|&t| z[t].exp()).sum();
        let mut mass = 0.0;
        let nucleus = order.iter().take_while(|&&t| {
            let more = wish.top_p >= 1.0 || mass < f64::from(wish.top_p) * kept;
            mass += z[t].exp();
            more
        });
        let nucleus = nucleus.count();
        order.truncate(nucleus);
        order.retain(|&t| (z[t] - top).exp() >= f64::from(wish.min_p));
    }
    let stream = mix(position ^ mix(wish.seed[0] ^ mix(wish.seed[1].wrapping_add(0x7f4a_7c15))));
    let key = |t: usize| {
        let bits = mix(stream ^ mix((t as u32).wrapping_add(0x9e37_79b9))) >> 9;
        let uniform = (f64::from(bits) + 0.5) / 8_388_608.0;
        z[t] + if greedy { 0.0 } else { -(-uniform.ln()).ln() }
    };
    let token = order.iter().copied().fold(order[0], |best, t| if key(t) > key(best) { t } else { best });
    (token as u32, z[token] - total.ln())
}
