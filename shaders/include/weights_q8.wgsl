// Weights of format Q8: w = d * q. The functions are described in weights_q4.wgsl.

override N: u32;
override K: u32;
override WEIGHT_START: u32 = 0u;

@group(0) @binding(1) var<storage, read> weight: array<u32>;

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn block_scale(n: u32, b: u32) -> vec2<f32> {
    return vec2(bitcast<f32>(weight[WEIGHT_START + N * (K / 4u) + n * (K / 32u) + b]), 0.0);
}

// Each byte is taken out where it stands and brought down by a power of two, which is exact: emulated adapters shift lane by
// lane. The lower three stand 128 higher meanwhile, so that they have no sign.
fn signed_bytes(word: u32) -> vec4<f32> {
    let bytes = bitcast<vec4<i32>>(vec4(word ^ 0x808080u) & vec4(0xffu, 0xff00u, 0xff0000u, 0xff000000u));
    return vec4<f32>(bytes) * vec4(1.0, 0x1p-8, 0x1p-16, 0x1p-24) - vec4(128.0, 128.0, 128.0, 0.0);
}

fn load8(n: u32, i: u32, scale: vec2<f32>) -> Eight {
    let at = WEIGHT_START + n * (K / 4u) + 2u * i;
    return Eight(signed_bytes(weight[at]) * scale.x, signed_bytes(weight[at + 1u]) * scale.x);
}

fn load4(n: u32, i: u32, scale: vec2<f32>) -> vec4<f32> {
    return signed_bytes(weight[WEIGHT_START + n * (K / 4u) + i]) * scale.x;
}

fn weight_at(n: u32, k: u32) -> f32 {
    let word = bitcast<i32>(weight[WEIGHT_START + n * (K / 4u) + k / 4u]);
    return f32((word << (24u - k % 4u * 8u)) >> 24u) * block_scale(n, k / 32u).x;
}

// The same words, four at a time.
@group(0) @binding(4) var<storage, read> weight_quads: array<vec4<u32>>;

struct Block {
    low: vec4<u32>,
    high: vec4<u32>,
    scale: f32,
}

fn block_of(n: u32, b: u32) -> Block {
    let at = WEIGHT_START / 4u + (n * (K / 32u) + b) * 2u;
    return Block(weight_quads[at], weight_quads[at + 1u], block_scale(n, b).x);
}

fn eight_of(block: Block, j: u32) -> Eight {
    let words = select(block.low, block.high, j >= 2u);
    let pair = select(words.xy, words.zw, j % 2u == 1u);
    return Eight(signed_bytes(pair.x) * block.scale, signed_bytes(pair.y) * block.scale);
}
