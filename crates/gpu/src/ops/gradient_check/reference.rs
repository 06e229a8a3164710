//! The network in f64, and its gradient by finite differences.

use super::*;

fn linear(x: &[f64], w: &[f32]) -> Vec<f64> {
    w.chunks(x.len()).map(|w| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()).collect()
}

fn rms_norm(x: &[f64], gain: &[f32]) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + f64::from(EPSILON)).sqrt();
    x.iter().zip(gain).map(|(v, &g)| v * f64::from(g) * scale).collect()
}

/// Adds gate B A x to y.
fn adapt(y: &mut [f64], x: &[f64], a: &[f32], b: &[f64], gate: f64) {
    let u = linear(x, &a[..RANK * x.len()]);
    for (y, b) in y.iter_mut().zip(b.chunks(RANK)) {
        *y += gate * b.iter().zip(&u).map(|(b, u)| b * u).sum::<f64>();
    }
}

fn feed_forward(net: &Network, layer: usize, gain: &[f32], b: &[f64], x: &mut [Vec<f64>]) {
    let (a, b) = (&net.a[layer * LAYER_A..], &b[layer * LAYER_B..]);
    for (row, x) in net.batch.rows.iter().zip(x) {
        let gate = f64::from(net.batch.sequences[row.sequence as usize].gate);
        let n = rms_norm(x, gain);
        let mut gate_up = linear(&n, &net.gate_up[layer].values);
        adapt(&mut gate_up[..FFN], &n, a, &b[SITES[0]..], gate);
        adapt(&mut gate_up[FFN..], &n, &a[RANK * HIDDEN..], &b[SITES[1]..], gate);
        let h: Vec<f64> = (0..FFN).map(|i| gate_up[i] / (1.0 + (-gate_up[i]).exp()) * gate_up[FFN + i]).collect();
        let mut y = linear(&h, &net.down[layer].values);
        adapt(&mut y, &h, &a[2 * RANK * HIDDEN..], &b[SITES[2]..], gate);
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    }
}

fn attention(net: &Network, x: &mut [Vec<f64>]) {
    let mut qkv: Vec<_> = x.iter().map(|x| linear(&rms_norm(x, &net.gains[1]), &net.qkv.values)).collect();
    for (row, qkv) in net.batch.rows.iter().zip(&mut qkv) {
        for head in qkv[..(HEADS + KV_HEADS) * HEAD].chunks_mut(HEAD) {
            for (i, pair) in head.chunks_mut(2).enumerate() {
                let angle = f64::from(net.angles[row.position as usize * HEAD / 2 + i]);
                let [a, b] = [pair[0], pair[1]];
                pair[0] = a * angle.cos() - b * angle.sin();
                pair[1] = a * angle.sin() + b * angle.cos();
            }
        }
    }
    for (t, x) in x.iter_mut().enumerate() {
        let keys = net.batch.keys(t);
        let mut o = vec![];
        for h in 0..HEADS {
            let q = &qkv[t][h * HEAD..][..HEAD];
            let k = (HEADS + h * KV_HEADS / HEADS) * HEAD;
            let score = |j: usize| q.iter().zip(&qkv[j][k..]).map(|(q, k)| q * k).sum::<f64>() / (HEAD as f64).sqrt();
            let powers: Vec<f64> = keys.iter().map(|&j| score(j).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let v = k + KV_HEADS * HEAD;
            o.extend((0..HEAD).map(|d| keys.iter().zip(&powers).map(|(&j, p)| p / sum * qkv[j][v + d]).sum::<f64>()));
        }
        x.iter_mut().zip(linear(&o, &net.out.values)).for_each(|(x, y)| *x += y);
    }
}

/// The loss as a function of B.
pub(super) fn loss(net: &Network, b: &[f64]) -> f64 {
    let mut x: Vec<Vec<f64>> = net.x.chunks(HIDDEN).map(|x| x.iter().map(|&v| f64::from(v)).collect()).collect();
    feed_forward(net, 0, &net.gains[0], b, &mut x);
    attention(net, &mut x);
    feed_forward(net, 1, &net.gains[2], b, &mut x);
    let mut total = 0.0;
    for ((&row, &target), &weight) in net.loss_rows.iter().zip(&net.targets).zip(&net.loss_weights) {
        let logits = linear(&rms_norm(&x[row as usize], &net.gains[3]), &net.head.values);
        let sum: f64 = logits.iter().map(|l| l.exp()).sum();
        total -= f64::from(weight) * (logits[target as usize] - sum.ln());
    }
    total
}

/// Central differences of [`loss`] in every entry of B.
pub(super) fn gradient(net: &Network) -> Vec<f64> {
    let mut b: Vec<f64> = net.b.iter().map(|&v| f64::from(v)).collect();
    let step = 1e-5;
    (0..b.len())
        .map(|i| {
            let value = b[i];
            b[i] = value + step;
            let above = loss(net, &b);
            b[i] = value - step;
            let below = loss(net, &b);
            b[i] = value;
            (above - below) / (2.0 * step)
        })
        .collect()
}
