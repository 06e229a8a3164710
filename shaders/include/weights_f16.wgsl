// Weights of format F16, rows padded to even length. The functions are described in weights_q4.wgsl.

override N: u32;
override K: u32;
override WEIGHT_START: u32 = 0u;

@group(0) @binding(1) var<storage, read> weight: array<u32>;

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn block_scale(n: u32, b: u32) -> vec2<f32> {
    return vec2(1.0, 0.0);
}

fn load8(n: u32, i: u32, scale: vec2<f32>) -> Eight {
    let at = WEIGHT_START + n * ((K + 1u) / 2u) + 4u * i;
    return Eight(
        vec4(unpack2x16float(weight[at]), unpack2x16float(weight[at + 1u])),
        vec4(unpack2x16float(weight[at + 2u]), unpack2x16float(weight[at + 3u])),
    );
}

fn load4(n: u32, i: u32, scale: vec2<f32>) -> vec4<f32> {
    let at = WEIGHT_START + n * ((K + 1u) / 2u) + 2u * i;
    return vec4(unpack2x16float(weight[at]), unpack2x16float(weight[at + 1u]));
}

fn weight_at(n: u32, k: u32) -> f32 {
    let pair = unpack2x16float(weight[WEIGHT_START + n * ((K + 1u) / 2u) + k / 2u]);
    return select(pair.x, pair.y, k % 2u == 1u);
}

// The same words, four at a time.
@group(0) @binding(4) var<storage, read> weight_quads: array<vec4<u32>>;

struct Block {
    at: u32,
}

fn block_of(n: u32, b: u32) -> Block {
    return Block(WEIGHT_START / 4u + (n * (K / 32u) + b) * 4u);
}

fn eight_of(block: Block, j: u32) -> Eight {
    let words = weight_quads[block.at + j];
    return Eight(
        vec4(unpack2x16float(words.x), unpack2x16float(words.y)),
        vec4(unpack2x16float(words.z), unpack2x16float(words.w)),
    );
}
