// A projection of a few rows with all that stands around it, for the kernels of projection*.wgsl:
//   s[r, n] = sum_k W[n, k] x[r, k]      (on GPUs with RMSNorm of x, projection_workgroup.wgsl)
//   s[r, n] += gate * sum_j B[slot - 1][n, j] u[r, j]                of the site that output n belongs to, if any
//   y[r, Y_OFFSET + n] = s[r, n], or added to where ACCUMULATE, or, where SWIGLU,
//   y[r, i] = silu(s[r, i]) s[r, N / 2 + i]                          0 <= i < N / 2
// Shapes: x [rows, K], K a multiple of 32; W [N, K] (include weights_*); u [rows, U_STRIDE];
// b: per slot SLOT_STRIDE elements; y [rows, Y_STRIDE]; count.x = rows, at most 64. Needs include/rows.
// What a dispatch has no use for may be bound to anything. Every sum runs over the columns in order.

override SWIGLU: bool = false;
override ACCUMULATE: bool = false;
override Y_STRIDE: u32;
override Y_OFFSET: u32 = 0u;
override RANK: u32 = 0u;
override U_STRIDE: u32 = 0u;
override SLOT_STRIDE: u32 = 0u;
// Up to three sites of an adapter: their outputs, counted from Y_OFFSET 0. The first one has u from 0 on, the second one
// from RANK, the third one from 2 RANK.
override SITE_0: u32 = 0u;
override SITE_0_END: u32 = 0u;
override SITE_1: u32 = 0u;
override SITE_1_END: u32 = 0u;
override SITE_2: u32 = 0u;
override SITE_2_END: u32 = 0u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;
@group(0) @binding(6) var<uniform> rows: array<Row, 64>;
@group(0) @binding(7) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(8) var<storage, read> u: array<f32>;
@group(0) @binding(9) var<storage, read> b: array<f32>;
// Where in a slot B [outputs, RANK] of each site begins. Not an override: all layers of a model share their kernels.
@group(0) @binding(10) var<uniform> b_starts: vec4<u32>;

// N, or N / 2 where SWIGLU.
override HALF: u32;

// Where row r of x begins. Rows beyond the last one repeat the last one; their results are not stored.
fn start_of(r: u32) -> u32 {
    return min(r, count.x - 1u) * (K / 4u);
}

struct Site {
    inside: bool,
    // Where the site's u begins in a row of u, and the output's row of B in a slot.
    u: u32,
    b: u32,
}

fn site_of(n: u32) -> Site {
    let at = Y_OFFSET + n;
    if at >= SITE_0 && at < SITE_0_END {
        return Site(true, 0u, b_starts.x + (at - SITE_0) * RANK);
    }
    if at >= SITE_1 && at < SITE_1_END {
        return Site(true, RANK, b_starts.y + (at - SITE_1) * RANK);
    }
    if at >= SITE_2 && at < SITE_2_END {
        return Site(true, 2u * RANK, b_starts.z + (at - SITE_2) * RANK);
    }
    return Site(false, 0u, 0u);
}

// A sum with what the row's adapter adds to it.
fn adapted(r: u32, n: u32, sum: f32) -> f32 {
    if RANK == 0u || r >= count.x {
        return sum;
    }
    let row = rows[r];
    let site = site_of(n);
    if row.slot == 0u || !site.inside {
        return sum;
    }
    let at = (row.slot - 1u) * SLOT_STRIDE + site.b;
    let u_at = r * U_STRIDE + site.u;
    var more = 0.0;
    for (var j = 0u; j < RANK; j++) {
        more += b[at + j] * u[u_at + j];
    }
    return sum + sequences[row.sequence].gate * more;
}

// Output n of row r, from its sum; with SWIGLU, n < HALF and `up` is the sum of output HALF + n.
fn finish(r: u32, n: u32, sum: f32, up: f32) {
    if r >= count.x || n >= HALF {
        return;
    }
    let at = r * Y_STRIDE + Y_OFFSET + n;
    var value = adapted(r, n, sum);
    if SWIGLU {
        value = value / (1.0 + exp(-value)) * adapted(r, HALF + n, up);
    }
    if ACCUMULATE {
        y[at] += value;
    } else {
        y[at] = value;
    }
}
