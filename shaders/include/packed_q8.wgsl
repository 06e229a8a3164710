// Weights of format Q8 as they lie in memory. Needs include/weights_q8. The functions are described in packed_q4.wgsl.

struct Packed {
    low: u32,
    high: u32,
    scale: u32,
}

fn packed_of(n: u32, i: u32) -> Packed {
    let at = WEIGHT_START + n * (K / 4u) + 2u * i;
    let scales = WEIGHT_START + N * (K / 4u);
    return Packed(weight[at], weight[at + 1u], weight[scales + n * (K / 32u) + i / 4u]);
}

fn unpacked(packed: Packed) -> Eight {
    let scale = bitcast<f32>(packed.scale);
    return Eight(signed_bytes(packed.low) * scale, signed_bytes(packed.high) * scale);
}

fn turned(block: Block) -> Block {
    return Block(vec4(block.low.zw, block.high.xy), vec4(block.high.zw, block.low.xy), block.scale);
}
