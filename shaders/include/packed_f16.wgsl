// Weights of format F16 as they lie in memory. Needs include/weights_f16. The functions are described in packed_q4.wgsl.

struct Packed {
    words: vec4<u32>,
}

fn packed_of(n: u32, i: u32) -> Packed {
    return Packed(weight_quads[WEIGHT_START / 4u + n * (K / 8u) + i]);
}

fn unpacked(packed: Packed) -> Eight {
    return Eight(
        vec4(unpack2x16float(packed.words.x), unpack2x16float(packed.words.y)),
        vec4(unpack2x16float(packed.words.z), unpack2x16float(packed.words.w)),
    );
}

fn turned(block: Block) -> Block {
    return Block(block.at + 1u);
}
