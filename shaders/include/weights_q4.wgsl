// Weights of format Q4 (crates/gpu/src/weights.rs): w = d * q + m. One of five includes with the same functions:
//   block_scale(n, b)     scale and offset of block b (32 elements) of row n
//   load8(n, i, scale)    elements 8i .. 8i+8 of row n, scale being that of their block
//   load4(n, i, scale)    elements 4i .. 4i+4
//   weight_at(n, k)       one element
//   block_of(n, b)        what block b of row n holds, read four words at a time; K a multiple of 32, WEIGHT_START of 4
//   eight_of(block, j)    elements 8j .. 8j+8 of it
// Elements from K / 32 * 32 on (F16 and F32 only) are read by weight_at.

// Rows and columns of the matrix; first word of it in the buffer.
override N: u32;
override K: u32;
override WEIGHT_START: u32 = 0u;

@group(0) @binding(1) var<storage, read> weight: array<u32>;

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn block_scale(n: u32, b: u32) -> vec2<f32> {
    return unpack2x16float(weight[WEIGHT_START + N * (K / 8u) + n * (K / 32u) + b]);
}

fn load8(n: u32, i: u32, scale: vec2<f32>) -> Eight {
    return dequantised(weight[WEIGHT_START + n * (K / 8u) + i], scale);
}

// Each quant is taken out where it stands, and its scale brought down by a power of two, which is exact: emulated adapters
// shift lane by lane.
const IN_PLACE = vec4(1.0, 0x1p-4, 0x1p-8, 0x1p-12);

fn lower_half(word: u32, scale: vec2<f32>) -> vec4<f32> {
    let quants = vec4<f32>(vec4(word) & vec4(0xfu, 0xf0u, 0xf00u, 0xf000u));
    return quants * (IN_PLACE * scale.x) + scale.y;
}

fn dequantised(word: u32, scale: vec2<f32>) -> Eight {
    let high = vec4<f32>(vec4(word) & vec4(0xf0000u, 0xf00000u, 0xf000000u, 0xf0000000u));
    return Eight(lower_half(word, scale), high * (0x1p-16 * IN_PLACE * scale.x) + scale.y);
}

fn load4(n: u32, i: u32, scale: vec2<f32>) -> vec4<f32> {
    return lower_half(weight[WEIGHT_START + n * (K / 8u) + i / 2u] >> (i % 2u * 16u), scale);
}

fn weight_at(n: u32, k: u32) -> f32 {
    let scale = block_scale(n, k / 32u);
    let word = weight[WEIGHT_START + n * (K / 8u) + k / 8u];
    return f32((word >> (k % 8u * 4u)) & 15u) * scale.x + scale.y;
}

// The same words, four at a time.
@group(0) @binding(4) var<storage, read> weight_quads: array<vec4<u32>>;

struct Block {
    quants: vec4<u32>,
    scale: vec2<f32>,
}

fn block_of(n: u32, b: u32) -> Block {
    return Block(weight_quads[WEIGHT_START / 4u + n * (K / 32u) + b], block_scale(n, b));
}

fn eight_of(block: Block, j: u32) -> Eight {
    return dequantised(block.quants[j], block.scale);
}
