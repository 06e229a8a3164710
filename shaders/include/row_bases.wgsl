// Where a tile of 8 rows begins in a matrix; for kernels that keep the tile in registers. Needs count.

// Rows beyond the last one repeat the last one; their results are not stored.
struct Bases {
    a: vec4<u32>,
    b: vec4<u32>,
}

fn bases_of(first_row: u32, stride: u32, offset: u32) -> Bases {
    let last = vec4(count.x - 1u);
    let a = vec4(first_row) + vec4(0u, 1u, 2u, 3u);
    return Bases(min(a, last) * stride + offset, min(a + 4u, last) * stride + offset);
}
