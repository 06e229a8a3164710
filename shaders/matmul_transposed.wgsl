// Product with a transposed weight matrix in any format, the gradient of a linear layer through its input:
//   dx[r, k] (+)= Σ_n dy[r, DY_OFFSET + n] W[n, k].
// Shapes: dy [rows, DY_STRIDE] (include row_bases); W [N, K] (include weights_*); dx [rows, K] (include column_tile);
// count.x = rows.
// Adds to dx where ACCUMULATE, else overwrites. Every sum runs over n in order.
// One entry point:
//   tile_per_invocation  16 rows by 8 columns an invocation, in registers; for emulated adapters, and on GPUs for what
//                        matmul_transposed_workgroup.wgsl cannot take

@group(0) @binding(0) var<storage, read> dy: array<f32>;

// Elements 8i .. 8i+8 of row n, zero beyond the end of the row (F16 and F32 only: quantised rows are whole blocks).
fn unit(n: u32, i: u32) -> Eight {
    if K % 8u == 0u || 8u * i + 8u <= K {
        return load8(n, i, block_scale(n, i / 4u));
    }
    var part = Eight();
    for (var j = 0u; j < min(4u, K - 8u * i); j++) {
        part.low[j] = weight_at(n, 8u * i + j);
    }
    for (var j = 4u; j < K - 8u * i; j++) {
        part.high[j - 4u] = weight_at(n, 8u * i + j);
    }
    return part;
}

const LANES = 8u;

fn add_of(sum: Tile, at: Bases, n: u32, w: Eight) -> Tile {
    let a = vec4(dy[at.a.x + n], dy[at.a.y + n], dy[at.a.z + n], dy[at.a.w + n]);
    let b = vec4(dy[at.b.x + n], dy[at.b.y + n], dy[at.b.z + n], dy[at.b.w + n]);
    return add(sum, a, b, w);
}

@compute @workgroup_size(LANES)
fn tile_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * LANES + lane;
    // Units beyond the last one repeat the last one, too.
    let read = min(i, (K + 7u) / 8u - 1u);
    let row = group.y * 16u;
    let at = bases_of(row, DY_STRIDE, DY_OFFSET);
    let below = bases_of(row + 8u, DY_STRIDE, DY_OFFSET);
    var s = Tile();
    var t = Tile();
    // Two n at a time: emulated adapters pay for what a loop carries each time around.
    for (var n = 0u; n < N / 2u * 2u; n += 2u) {
        let w0 = unit(n, read);
        s = add_of(s, at, n, w0);
        t = add_of(t, below, n, w0);
        let w1 = unit(n + 1u, read);
        s = add_of(s, at, n + 1u, w1);
        t = add_of(t, below, n + 1u, w1);
    }
    if N % 2u == 1u {
        let w = unit(N - 1u, read);
        s = add_of(s, at, N - 1u, w);
        t = add_of(t, below, N - 1u, w);
    }
    store_tile(row, i, s);
    store_tile(row + 8u, i, t);
}
