// The product of matmul_transposed.wgsl, same shapes, for emulated adapters with subgroups of at least 8 invocations
// (matmul_subgroup.wgsl says why). Each invocation reads dy of one row, four n at a time, and gets the other rows' by
// broadcast. K is a multiple of 32; N, DY_STRIDE and DY_OFFSET are multiples of 4. Every sum runs over n in order.

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn tile_per_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let i = group.x * LANES + lane;
    // Units and rows beyond the last one repeat the last one; their results are not stored.
    let read = min(i, K / 8u - 1u);
    let row = group.y * 8u;
    let at = (min(row + lane, count.x - 1u) * DY_STRIDE + DY_OFFSET) / 4u;
    var sum = Tile();
    for (var n = 0u; n < N; n += 4u) {
        let own = dy[at + n / 4u];
        let w0 = load8(n, read, block_scale(n, read / 4u));
        sum = add(sum, from_lower(own.x), from_upper(own.x), w0);
        let w1 = load8(n + 1u, read, block_scale(n + 1u, read / 4u));
        sum = add(sum, from_lower(own.y), from_upper(own.y), w1);
        let w2 = load8(n + 2u, read, block_scale(n + 2u, read / 4u));
        sum = add(sum, from_lower(own.z), from_upper(own.z), w2);
        let w3 = load8(n + 3u, read, block_scale(n + 3u, read / 4u));
        sum = add(sum, from_lower(own.w), from_upper(own.w), w3);
    }
    store_tile(row, i, sum);
}
