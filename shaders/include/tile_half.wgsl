// What goes into a product, in half precision: the functions of include/tile_full. Sums stay f32. Two halves to a word by
// WGSL's own functions, which every device has; what is too large becomes the largest half.

alias Four = vec2<u32>;

const BANKS = 4u;

fn kept(v: vec4<f32>) -> Four {
    let within = clamp(v, vec4(-65504.0), vec4(65504.0));
    return vec2(pack2x16float(within.xy), pack2x16float(within.zw));
}

fn taken(four: Four) -> vec4<f32> {
    return vec4(unpack2x16float(four.x), unpack2x16float(four.y));
}

fn rounded(v: vec4<f32>) -> vec4<f32> {
    return taken(kept(v));
}
