// SwiGLU: h[r, i] = silu(g) u with g = gate_up[r, i], u = gate_up[r, FFN + i], silu(g) = g / (1 + exp(-g)).
// Shapes: gate_up [rows, 2 FFN] (gate first); h [rows, FFN]. Element-wise: one form for all adapters.
// Entry points: swiglu; swiglu_by_fours, where FFN is a multiple of 4, in a quarter of the reads.

override FFN: u32;

@group(0) @binding(0) var<storage, read> gate_up: array<f32>;
@group(0) @binding(1) var<storage, read_write> h: array<f32>;

@compute @workgroup_size(64)
fn swiglu(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * 64u + lane;
    if i < FFN {
        let at = group.y * 2u * FFN + i;
        let gate = gate_up[at];
        h[group.y * FFN + i] = gate / (1.0 + exp(-gate)) * gate_up[at + FFN];
    }
}

@group(0) @binding(0) var<storage, read> gate_up_fours: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> h_fours: array<vec4<f32>>;

@compute @workgroup_size(64)
fn swiglu_by_fours(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * 64u + lane;
    if i < FFN / 4u {
        let at = group.y * (FFN / 2u) + i;
        let gate = gate_up_fours[at];
        h_fours[group.y * (FFN / 4u) + i] = gate / (1.0 + exp(-gate)) * gate_up_fours[at + FFN / 4u];
    }
}
