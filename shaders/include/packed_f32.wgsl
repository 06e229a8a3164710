// Weights of format F32 as they lie in memory. Needs include/weights_f32. The functions are described in packed_q4.wgsl.

struct Packed {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn packed_of(n: u32, i: u32) -> Packed {
    let at = WEIGHT_START / 4u + n * (K / 4u) + 2u * i;
    return Packed(weight_quads[at], weight_quads[at + 1u]);
}

fn unpacked(packed: Packed) -> Eight {
    return Eight(packed.low, packed.high);
}

fn turned(block: Block) -> Block {
    return Block(block.at + 2u);
}
