// Weights of format F32. The functions are described in weights_q4.wgsl.

override N: u32;
override K: u32;
override WEIGHT_START: u32 = 0u;

@group(0) @binding(1) var<storage, read> weight: array<f32>;

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn block_scale(n: u32, b: u32) -> vec2<f32> {
    return vec2(1.0, 0.0);
}

fn load8(n: u32, i: u32, scale: vec2<f32>) -> Eight {
    let at = WEIGHT_START + n * K + 8u * i;
    return Eight(
        vec4(weight[at], weight[at + 1u], weight[at + 2u], weight[at + 3u]),
        vec4(weight[at + 4u], weight[at + 5u], weight[at + 6u], weight[at + 7u]),
    );
}

fn load4(n: u32, i: u32, scale: vec2<f32>) -> vec4<f32> {
    let at = WEIGHT_START + n * K + 4u * i;
    return vec4(weight[at], weight[at + 1u], weight[at + 2u], weight[at + 3u]);
}

fn weight_at(n: u32, k: u32) -> f32 {
    return weight[WEIGHT_START + n * K + k];
}

// The same words, four at a time.
@group(0) @binding(4) var<storage, read> weight_quads: array<vec4<f32>>;

struct Block {
    at: u32,
}

fn block_of(n: u32, b: u32) -> Block {
    return Block(WEIGHT_START / 4u + (n * (K / 32u) + b) * 8u);
}

fn eight_of(block: Block, j: u32) -> Eight {
    return Eight(weight_quads[block.at + 2u * j], weight_quads[block.at + 2u * j + 1u]);
}
