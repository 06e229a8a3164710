// Weights of format Q16 as they lie in memory. Needs include/weights_q16. The functions are described in packed_q4.wgsl.

struct Packed {
    words: vec4<u32>,
    scale: u32,
}

fn packed_of(n: u32, i: u32) -> Packed {
    let at = WEIGHT_START + n * (K / 2u) + 4u * i;
    let scales = WEIGHT_START + N * (K / 2u);
    return Packed(
        vec4(weight[at], weight[at + 1u], weight[at + 2u], weight[at + 3u]),
        weight[scales + n * (K / 32u) + i / 4u],
    );
}

fn unpacked(packed: Packed) -> Eight {
    let scale = bitcast<f32>(packed.scale);
    return Eight(
        signed_halves(packed.words.x, packed.words.y) * scale,
        signed_halves(packed.words.z, packed.words.w) * scale,
    );
}

fn turned(block: Block) -> Block {
    return Block(block.at + 1u, block.scale);
}
