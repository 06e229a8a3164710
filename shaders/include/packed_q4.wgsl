// Weights of format Q4 as they lie in memory, for kernels that read them before they need them. Needs
// include/weights_q4. One of four includes with the same functions, for K a multiple of 32 and WEIGHT_START of 4:
//   packed_of(n, i)   elements 8i .. 8i+8 of row n
//   unpacked(packed)  their values
//   turned(block)     a block whose first eight are the given one's second eight, and so on: eight_of(…, 0u) of it indexes
//                     no registers

struct Packed {
    quants: u32,
    scale: u32,
}

fn packed_of(n: u32, i: u32) -> Packed {
    let scales = WEIGHT_START + N * (K / 8u);
    return Packed(weight[WEIGHT_START + n * (K / 8u) + i], weight[scales + n * (K / 32u) + i / 4u]);
}

fn unpacked(packed: Packed) -> Eight {
    return dequantised(packed.quants, unpack2x16float(packed.scale));
}

fn turned(block: Block) -> Block {
    return Block(block.quants.yzwx, block.scale);
}
