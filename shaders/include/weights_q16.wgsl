// Weights of format Q16: w = d * q. The functions are described in weights_q4.wgsl. Each quant is taken out times 65536,
// which saves emulated adapters a shift; the scales stand divided by as much, and both are exact.

override N: u32;
override K: u32;
override WEIGHT_START: u32 = 0u;

@group(0) @binding(1) var<storage, read> weight: array<u32>;

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn block_scale(n: u32, b: u32) -> vec2<f32> {
    return vec2(bitcast<f32>(weight[WEIGHT_START + N * (K / 2u) + n * (K / 32u) + b]), 0.0);
}

// The four quants of two words, each times 65536.
fn signed_halves(a: u32, b: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4(a << 16u, a & 0xffff0000u, b << 16u, b & 0xffff0000u)));
}

fn load8(n: u32, i: u32, scale: vec2<f32>) -> Eight {
    let at = WEIGHT_START + n * (K / 2u) + 4u * i;
    return Eight(
        signed_halves(weight[at], weight[at + 1u]) * scale.x,
        signed_halves(weight[at + 2u], weight[at + 3u]) * scale.x,
    );
}

fn load4(n: u32, i: u32, scale: vec2<f32>) -> vec4<f32> {
    let at = WEIGHT_START + n * (K / 2u) + 2u * i;
    return signed_halves(weight[at], weight[at + 1u]) * scale.x;
}

fn weight_at(n: u32, k: u32) -> f32 {
    let word = weight[WEIGHT_START + n * (K / 2u) + k / 2u];
    let quant = select(word << 16u, word & 0xffff0000u, k % 2u == 1u);
    return f32(bitcast<i32>(quant)) * block_scale(n, k / 32u).x;
}

// The same words, four at a time.
@group(0) @binding(4) var<storage, read> weight_quads: array<vec4<u32>>;

struct Block {
    at: u32,
    scale: f32,
}

fn block_of(n: u32, b: u32) -> Block {
    return Block(WEIGHT_START / 4u + (n * (K / 32u) + b) * 4u, block_scale(n, b).x);
}

fn eight_of(block: Block, j: u32) -> Eight {
    let words = weight_quads[block.at + j];
    return Eight(
        signed_halves(words.x, words.y) * block.scale,
        signed_halves(words.z, words.w) * block.scale,
    );
}
