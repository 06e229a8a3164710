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
