//! The training kernels chained: the gradient of a small network's loss with respect to every adapter entry, against
//! finite differences of the same network in f64.
//!
//! The network is what stands above the cached hidden states of a Llama-family model with two adapted layers: a
//! feed-forward block, an attention block, a feed-forward block, the final norm and the head; cross entropy on some
//! rows.

use super::*;
use crate::testing::{PackedBatch, Rng, TestGpu, on_every_kind};
use crate::{Buffer, SourceType, Weight};

mod reference;

const HIDDEN: usize = 32;
const FFN: usize = 32;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD: usize = 8;
const QKV: usize = (HEADS + 2 * KV_HEADS) * HEAD;
const VOCAB: usize = 7;
const RANK: usize = 3;
const EPSILON: f32 = 1e-5;
/// Offsets of gate, up and down in a layer's part of B.
const SITES: [usize; 3] = [0, FFN * RANK, 2 * FFN * RANK];
const LAYER_B: usize = (2 * FFN + HIDDEN) * RANK;
/// Elements of a layer's A: gate and up one below the other, then down.
const LAYER_A: usize = 2 * RANK * HIDDEN + RANK * FFN;

struct Linear {
    weight: Weight,
    values: Vec<f32>,
}

struct Network {
    batch: PackedBatch,
    /// Input, [rows, hidden].
    x: Vec<f32>,
    gate_up: [Linear; 2],
    down: [Linear; 2],
    qkv: Linear,
    out: Linear,
    head: Linear,
    /// Gains: feed-forward of layer 0, attention, feed-forward of layer 1, final.
    gains: [Vec<f32>; 4],
    a: Vec<f32>,
    b: Vec<f32>,
    angles: Vec<f32>,
    loss_rows: Vec<u32>,
    targets: Vec<u32>,
    loss_weights: Vec<f32>,
}

impl Network {
    fn new(gpu: &TestGpu) -> Self {
        let mut rng = Rng::new(20);
        let mut batch = PackedBatch::new(3, &[4, 5]);
        batch.sequences[2].gate = 0.5;
        let linear = |source, n, k, seed| {
            let (weight, values) = gpu.weight(source, n, k, seed);
            Linear { weight, values }
        };
        // Small gains keep the attention away from one-hot, where it would have no gradient.
        let gains =
            [0.3, 0.2, 0.3, 0.2].map(|gain| rng.normal(HIDDEN).iter().map(|v| gain * (1.0 + 0.1 * v)).collect());
        Self {
            x: rng.normal(batch.rows.len() * HIDDEN),
            gate_up: [linear(SourceType::Q4_0, 2 * FFN, HIDDEN, 1), linear(SourceType::Q4_1, 2 * FFN, HIDDEN, 2)],
            down: [linear(SourceType::Q8_0, HIDDEN, FFN, 3), linear(SourceType::F32, HIDDEN, FFN, 4)],
            qkv: linear(SourceType::F16, QKV, HIDDEN, 5),
            out: linear(SourceType::Q8_0, HIDDEN, HEADS * HEAD, 6),
            head: linear(SourceType::Q8_0, VOCAB, HIDDEN, 7),
            gains,
            a: rng.normal(2 * LAYER_A),
            b: rng.normal(2 * LAYER_B).iter().map(|v| 0.1 * v).collect(),
            angles: rng.normal(8 * HEAD / 2),
            loss_rows: vec![4, 6, 8, 10, 11],
            targets: rng.below(VOCAB as u32, 5),
            loss_weights: vec![0.2, 0.1, 0.3, 0.25, 0.15],
            batch,
        }
    }

    fn rows(&self) -> usize {
        self.batch.rows.len()
    }
}

/// The network on the device.
struct OnDevice<'a> {
    gpu: &'a TestGpu,
    net: &'a Network,
    rows: Buffer,
    sequences: Buffer,
    count: Buffer,
    a: Buffer,
    b: Buffer,
    db: Buffer,
    gains: [Buffer; 4],
    table: Buffer,
}

/// What the forward pass of a feed-forward block keeps.
struct FeedForward {
    x: Buffer,
    gate_up: Buffer,
    u: Buffer,
    u_down: Buffer,
}

impl<'a> OnDevice<'a> {
    fn new(gpu: &'a TestGpu, net: &'a Network) -> Self {
        let table: Vec<[f32; 2]> = net.angles.iter().map(|a| [a.cos(), a.sin()]).collect();
        Self {
            gpu,
            net,
            rows: gpu.upload(&net.batch.rows),
            sequences: gpu.upload(&net.batch.sequences),
            count: gpu.uniform("count", &[net.rows() as u32, 1, 0, 0]).unwrap(),
            a: gpu.upload(&net.a),
            b: gpu.upload(&net.b),
            db: gpu.poisoned("db", net.b.len()),
            gains: [0, 1, 2, 3].map(|i| gpu.upload(&net.gains[i])),
            table: gpu.upload(&table),
        }
    }

    fn run(&self, dispatch: &crate::Dispatch) {
        let mut commands = self.gpu.commands("gradient check");
        commands.dispatch(dispatch, self.net.rows() as u32);
        commands.submit();
    }

    fn buffer(&self, dim: usize) -> Buffer {
        self.gpu.poisoned("activations", self.net.rows() * dim)
    }

    fn copy(&self, source: &Buffer) -> Buffer {
        let target = self.gpu.poisoned("copy", source.words());
        let mut commands = self.gpu.commands("copy");
        commands.copy(source, 0, &target, 0, source.size());
        commands.submit();
        target
    }

    fn norm(&self, gain: usize, x: &Buffer) -> Buffer {
        let y = self.buffer(HIDDEN);
        let weight = &self.gains[gain];
        let args = RmsNorm { x, weight, y: &y, count: &self.count, dim: HIDDEN, epsilon: EPSILON };
        self.run(&rms_norm(self.gpu, args).unwrap());
        y
    }

    fn norm_backward(&self, gain: usize, x: &Buffer, dy: &Buffer, dx: &Buffer) {
        let args = RmsNormBackward {
            x,
            weight: &self.gains[gain],
            dy,
            dx,
            count: &self.count,
            dim: HIDDEN,
            epsilon: EPSILON,
            accumulate: true,
        };
        self.run(&rms_norm_backward(self.gpu, args).unwrap());
    }

    fn linear(&self, linear: &Linear, x: &Buffer, y: &Buffer, accumulate: bool) {
        let args = Matmul { accumulate, ..Matmul::new(x, &linear.weight, y, (&self.count, self.net.rows())) };
        self.run(&matmul(self.gpu, args).unwrap());
    }

    fn linear_backward(&self, linear: &Linear, dy: &Buffer) -> Buffer {
        let dx = self.buffer(linear.weight.inputs);
        let args = MatmulTransposed {
            dy,
            weight: &linear.weight,
            dx: &dx,
            count: &self.count,
            dy_stride: linear.weight.outputs,
            dy_offset: 0,
            accumulate: false,
        };
        self.run(&matmul_transposed(self.gpu, args).unwrap());
        dx
    }

    fn lora_down(&self, x: &Buffer, a_offset: usize, stack: usize, inputs: usize) -> Buffer {
        let u = self.buffer(stack);
        let max_rows = self.net.rows();
        let args = LoraDown { x, a: &self.a, a_offset, stack, inputs, u: &u, count: &self.count, max_rows };
        self.run(&lora_down(self.gpu, args).unwrap());
        u
    }

    /// The description of site `index` (gate, up, down) of a layer for the backward kernels.
    fn site<'b>(&'b self, layer: usize, index: usize, dy: &'b Buffer) -> LoraSite<'b> {
        let feed_in = index < 2;
        LoraSite {
            dy,
            rows: &self.rows,
            sequences: &self.sequences,
            count: &self.count,
            outputs: if feed_in { FFN } else { HIDDEN },
            rank: RANK,
            dy_stride: if feed_in { 2 * FFN } else { HIDDEN },
            dy_offset: if index == 1 { FFN } else { 0 },
            u_stride: if feed_in { 2 * RANK } else { RANK },
            u_offset: if index == 1 { RANK } else { 0 },
            b_offset: layer * LAYER_B + SITES[index],
        }
    }

    fn lora_up(&self, layer: usize, index: usize, u: &Buffer, y: &Buffer) {
        let site = self.site(layer, index, y);
        let args = LoraUp {
            rows: &self.rows,
            sequences: &self.sequences,
            count: &self.count,
            u,
            u_stride: site.u_stride,
            u_offset: site.u_offset,
            b: &self.b,
            b_offset: site.b_offset,
            slot_stride: 2 * LAYER_B,
            rank: RANK,
            outputs: site.outputs,
            y,
            y_stride: site.dy_stride,
            y_offset: site.dy_offset,
        };
        self.run(&lora_up(self.gpu, args).unwrap());
    }

    /// Gradients of one site: its part of `db`, and du.
    fn lora_backward(&self, layer: usize, index: usize, dy: &Buffer, u: &Buffer, du: &Buffer) {
        let site = self.site(layer, index, dy);
        self.run(&lora_backward_b(self.gpu, site, u, &self.db).unwrap());
        self.run(&lora_backward_u(self.gpu, site, &self.b, 2 * LAYER_B, du).unwrap());
    }

    fn lora_input(&self, du: &Buffer, a_offset: usize, dx: &Buffer, stack: usize, k: usize) {
        let args = LoraBackwardX { du, a: &self.a, a_offset, dx, count: &self.count, stack, k };
        self.run(&lora_backward_x(self.gpu, args).unwrap());
    }

    fn feed_forward(&self, layer: usize, x: &Buffer) -> (FeedForward, Buffer) {
        let n = self.norm(2 * layer, x);
        let u = self.lora_down(&n, layer * LAYER_A, 2 * RANK, HIDDEN);
        let (gate_up, h) = (self.buffer(2 * FFN), self.buffer(FFN));
        self.linear(&self.net.gate_up[layer], &n, &gate_up, false);
        self.lora_up(layer, 0, &u, &gate_up);
        self.lora_up(layer, 1, &u, &gate_up);
        self.run(&swiglu(self.gpu, &gate_up, &h, FFN).unwrap());
        let u_down = self.lora_down(&h, layer * LAYER_A + 2 * RANK * HIDDEN, RANK, FFN);
        let y = self.copy(x);
        self.linear(&self.net.down[layer], &h, &y, true);
        self.lora_up(layer, 2, &u_down, &y);
        (FeedForward { x: x.clone(), gate_up, u, u_down }, y)
    }

    /// Turns the gradient `dx` of the block's output into that of its input.
    fn feed_forward_backward(&self, layer: usize, kept: &FeedForward, dx: &Buffer) {
        let du_down = self.buffer(RANK);
        self.lora_backward(layer, 2, dx, &kept.u_down, &du_down);
        let dh = self.linear_backward(&self.net.down[layer], dx);
        self.lora_input(&du_down, layer * LAYER_A + 2 * RANK * HIDDEN, &dh, RANK, FFN);
        let d_gate_up = self.buffer(2 * FFN);
        let args = SwigluBackward { gate_up: &kept.gate_up, dh: &dh, d_gate_up: &d_gate_up, ffn: FFN };
        self.run(&swiglu_backward(self.gpu, args).unwrap());
        let du = self.buffer(2 * RANK);
        self.lora_backward(layer, 0, &d_gate_up, &kept.u, &du);
        self.lora_backward(layer, 1, &d_gate_up, &kept.u, &du);
        let dn = self.linear_backward(&self.net.gate_up[layer], &d_gate_up);
        self.lora_input(&du, layer * LAYER_A, &dn, 2 * RANK, HIDDEN);
        self.norm_backward(2 * layer, &kept.x, &dn, dx);
    }

    /// Loss, and the gradient of B. `rope` = false leaves out the inverse rotation: a gradient that is wrong.
    fn gradient(&self, rope: bool) -> (f64, Vec<f32>) {
        let (gpu, net, rows) = (self.gpu, self.net, self.net.rows());
        let (lower, x1) = self.feed_forward(0, &gpu.upload(&net.x));
        // Attention.
        let n = self.norm(1, &x1);
        let (qkv, cache, o, lse) =
            (self.buffer(QKV), self.buffer(2 * KV_HEADS * HEAD), self.buffer(HEADS * HEAD), self.buffer(HEADS));
        self.linear(&net.qkv, &n, &qkv, false);
        let turn = RopeCache {
            qkv: &qkv,
            rows: &self.rows,
            sequences: &self.sequences,
            table: &self.table,
            cache: &cache,
            heads: HEADS,
            kv_heads: KV_HEADS,
            head_dim: HEAD,
            interleaved: true,
        };
        self.run(&rope_cache(gpu, turn).unwrap());
        let attend = Attention {
            qkv: &qkv,
            cache: &cache,
            rows: &self.rows,
            sequences: &self.sequences,
            out: &o,
            lse: Some(&lse),
            spans: None,
            count: &self.count,
            max_rows: rows,
            heads: HEADS,
            kv_heads: KV_HEADS,
            head_dim: HEAD,
        };
        self.run(&attention(gpu, attend).unwrap());
        let x2 = self.copy(&x1);
        self.linear(&net.out, &o, &x2, true);
        let (upper, x3) = self.feed_forward(1, &x2);
        let (loss, dx) = self.head(&x3);
        self.feed_forward_backward(1, &upper, &dx);
        // Attention, backwards.
        let (d_o, dqkv) = (self.linear_backward(&net.out, &dx), self.buffer(QKV));
        let backward = AttentionBackward {
            qkv: &qkv,
            kv: &cache,
            lse: &lse,
            o: &o,
            upstream: &d_o,
            rows: &self.rows,
            sequences: &self.sequences,
            query_end: &gpu.upload(&net.batch.query_end),
            stats: &gpu.poisoned("stats", rows * HEADS * 2),
            dqkv: &dqkv,
            count: &self.count,
            heads: HEADS,
            kv_heads: KV_HEADS,
            head_dim: HEAD,
            scale: 1.0 / (HEAD as f32).sqrt(),
        };
        attention_backward(gpu, backward).unwrap().iter().for_each(|dispatch| self.run(dispatch));
        let turn_back = RopeBackward {
            dqkv: &dqkv,
            table: &self.table,
            rows: &self.rows,
            heads: HEADS,
            kv_heads: KV_HEADS,
            head_dim: HEAD,
            interleaved: true,
        };
        if rope {
            self.run(&rope_backward(gpu, turn_back).unwrap());
        }
        self.norm_backward(1, &x1, &self.linear_backward(&net.qkv, &dqkv), &dx);
        self.feed_forward_backward(0, &lower, &dx);
        (loss, gpu.floats(&self.db))
    }

    /// Final norm, head and loss on the loss rows; the loss and the gradient of `x`.
    fn head(&self, x: &Buffer) -> (f64, Buffer) {
        let (gpu, net) = (self.gpu, self.net);
        let few = net.loss_rows.len();
        let indices = gpu.upload(&net.loss_rows);
        let gathered = self.buffer(HIDDEN);
        let run = |dispatch: &crate::Dispatch| {
            let mut commands = gpu.commands("head");
            commands.dispatch(dispatch, few as u32);
            commands.submit();
        };
        run(&gather_rows(gpu, x, &indices, &gathered, HIDDEN).unwrap());
        let on_few = OnDevice { count: gpu.count(few), ..OnDevice::new(gpu, net) };
        let n = on_few.norm(3, &gathered);
        let logits = on_few.buffer(VOCAB);
        on_few.linear(&net.head, &n, &logits, false);
        let loss = gpu.poisoned("loss", few);
        let args = CrossEntropy {
            logits: &logits,
            targets: &gpu.upload(&net.targets),
            weights: &gpu.upload(&net.loss_weights),
            loss: &loss,
            probability: &gpu.poisoned("probability", few),
            vocab: VOCAB,
            threshold: None,
        };
        run(&cross_entropy(gpu, args).unwrap());
        let dn = on_few.linear_backward(&net.head, &logits);
        let d_gathered = gpu.upload(&vec![0f32; net.rows() * HIDDEN]);
        on_few.norm_backward(3, &gathered, &dn, &d_gathered);
        let dx = gpu.upload(&vec![0f32; net.rows() * HIDDEN]);
        run(&scatter_rows(gpu, ScatterRows { dy: &d_gathered, indices: &indices, dx: &dx, dim: HIDDEN }).unwrap());
        (gpu.floats(&loss).iter().map(|&l| f64::from(l)).sum(), dx)
    }
}

/// ‖got − want‖ / ‖want‖.
fn distance(got: &[f32], want: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = square(&mut got.iter().zip(want).map(|(&g, w)| f64::from(g) - w));
    (difference / square(&mut want.iter().copied())).sqrt()
}

#[test]
fn the_gradient_of_every_adapter_entry_agrees_with_finite_differences() {
    on_every_kind(|gpu| {
        let net = Network::new(gpu);
        let device = OnDevice::new(gpu, &net);
        let b: Vec<f64> = net.b.iter().map(|&v| f64::from(v)).collect();
        let want = reference::gradient(&net);
        let (loss, got) = device.gradient(true);
        assert!((loss / reference::loss(&net, &b) - 1.0).abs() < 1e-5, "loss {loss}");
        for (site, range) in [0, SITES[1], SITES[2], LAYER_B, LAYER_B + SITES[1], LAYER_B + SITES[2], 2 * LAYER_B]
            .windows(2)
            .map(|pair| pair[0]..pair[1])
            .enumerate()
        {
            let error = distance(&got[range.clone()], &want[range]);
            assert!(error < 1e-4, "site {site}: relative error {error:e}");
        }
        assert_eq!(got, device.gradient(true).1, "a second run must give the same bits");
        // The same comparison refuses a gradient that is wrong: above the attention all is well, below it is not.
        let (_, wrong) = device.gradient(false);
        assert!(distance(&wrong[LAYER_B..], &want[LAYER_B..]) < 1e-4);
        let error = distance(&wrong[..LAYER_B], &want[..LAYER_B]);
        assert!(error > 1e-2, "a gradient without the inverse rotation passes for right ({error:e})");
    });
}
