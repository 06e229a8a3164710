// Gradient of SwiGLU, h[t, i] = silu(g) u with g = gate_up[t, i], u = gate_up[t, FFN + i], silu(g) = g σ(g):
//   d_gate_up[t, i] = dh[t, i] u σ(g) (1 + g (1 - σ(g))),  d_gate_up[t, FFN + i] = dh[t, i] silu(g).
// Shapes: gate_up, d_gate_up [rows, 2 FFN] (gate first); dh [rows, FFN]. Element-wise: one form for all adapters.
// Entry points: swiglu_backward; swiglu_backward_by_fours, where FFN is a multiple of 4, in a quarter of the reads.

override FFN: u32;

@group(0) @binding(0) var<storage, read> gate_up: array<f32>;
@group(0) @binding(1) var<storage, read> dh: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_gate_up: array<f32>;

@compute @workgroup_size(256)
fn swiglu_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * 256u + lane;
    if i >= FFN {
        return;
    }
    let at = group.y * 2u * FFN + i;
    let gate = gate_up[at];
    let up = gate_up[at + FFN];
    let upstream = dh[group.y * FFN + i];
    let sigmoid = 1.0 / (1.0 + exp(-gate));
    d_gate_up[at] = upstream * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
    d_gate_up[at + FFN] = upstream * gate * sigmoid;
}

@group(0) @binding(0) var<storage, read> gate_up_fours: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dh_fours: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> d_gate_up_fours: array<vec4<f32>>;

@compute @workgroup_size(64)
fn swiglu_backward_by_fours(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let fours = FFN / 4u;
    let i = group.x * 64u + lane;
    if i >= fours {
        return;
    }
    let at = group.y * 2u * fours + i;
    let gate = gate_up_fours[at];
    let up = gate_up_fours[at + fours];
    let upstream = dh_fours[group.y * fours + i];
    let sigmoid = 1.0 / (1.0 + exp(-gate));
    d_gate_up_fours[at] = upstream * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
    d_gate_up_fours[at + fours] = upstream * gate * sigmoid;
}
