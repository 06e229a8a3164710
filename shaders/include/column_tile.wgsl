// What the kernels of matmul_transposed.wgsl and matmul_transposed_subgroup.wgsl share: sums over 8 columns of a row and
// their way to dx. Shapes: dx [rows, K]; count.x = rows. Needs include/weights_* for K and Eight.

override DY_STRIDE: u32;
override DY_OFFSET: u32;
override ACCUMULATE: bool;

@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;

fn add8(sum: Eight, factor: f32, w: Eight) -> Eight {
    return Eight(sum.low + factor * w.low, sum.high + factor * w.high);
}

fn store(row: u32, k: u32, value: f32) {
    if row < count.x && k < K {
        let at = row * K + k;
        if ACCUMULATE {
            dx[at] += value;
        } else {
            dx[at] = value;
        }
    }
}

fn store8(row: u32, i: u32, value: Eight) {
    for (var j = 0u; j < 4u; j++) {
        store(row, 8u * i + j, value.low[j]);
        store(row, 8u * i + 4u + j, value.high[j]);
    }
}

// 8 columns of 8 rows.
struct Tile {
    r0: Eight,
    r1: Eight,
    r2: Eight,
    r3: Eight,
    r4: Eight,
    r5: Eight,
    r6: Eight,
    r7: Eight,
}

fn add(sum: Tile, lower: vec4<f32>, upper: vec4<f32>, w: Eight) -> Tile {
    return Tile(
        add8(sum.r0, lower.x, w), add8(sum.r1, lower.y, w), add8(sum.r2, lower.z, w), add8(sum.r3, lower.w, w),
        add8(sum.r4, upper.x, w), add8(sum.r5, upper.y, w), add8(sum.r6, upper.z, w), add8(sum.r7, upper.w, w),
    );
}

fn store_tile(row: u32, i: u32, sum: Tile) {
    store8(row, i, sum.r0);
    store8(row + 1u, i, sum.r1);
    store8(row + 2u, i, sum.r2);
    store8(row + 3u, i, sum.r3);
    store8(row + 4u, i, sum.r4);
    store8(row + 5u, i, sum.r5);
    store8(row + 6u, i, sum.r6);
    store8(row + 7u, i, sum.r7);
}
