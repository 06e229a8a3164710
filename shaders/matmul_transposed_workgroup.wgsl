// The product of matmul_transposed.wgsl for GPUs: dx[r, k] (+)= Σ_n dy[r, DY_OFFSET + n] W[n, k].
// Shapes: dy [rows, DY_STRIDE]; W [N, K] (include weights_*, packed_*); dx [rows, K]; count.x = rows. K is a multiple of
// 32; N, DY_STRIDE and DY_OFFSET are multiples of 4. Adds to dx where ACCUMULATE, else overwrites. Every sum runs over n
// in order. Needs include/workgroup_tile.
//
// Steps of 16 n through two buffers in workgroup memory: while one is multiplied the next step's dy and packed weights are
// on their way in registers, and are stored into the other one; one barrier a step. An invocation computes ROWS
// neighbouring rows by 4 neighbouring columns. Two shapes:
//   ROWS  COLUMN_LANES  tile            invocations  workgroup memory
//   8     16            64 rows by 64   128          16 KiB
//   4     8             32 rows by 32   64           8 KiB, where there would be few workgroups else
// For each multiplication it takes 1 / 64 (1 / 32) of a dy and of a weight from memory or cache, and 3 / 8 (1 / 2) of a
// number from workgroup memory, four to a load. Loads of dy by neighbouring invocations are of one place; weights are
// stored so that loads and stores of 8 neighbouring invocations go to different banks.

override DY_STRIDE: u32;
override DY_OFFSET: u32;
override ACCUMULATE: bool;
override ROWS: u32;
override COLUMN_LANES: u32;
// Both buffers, in fours: 16 n of 8 * ROWS rows, and of 4 * COLUMN_LANES columns.
override DY_FOURS: u32;
override W_FOURS: u32;

const ROW_LANES = 8u;

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;

var<workgroup> dy_tile: array<vec4<f32>, DY_FOURS>;
var<workgroup> w_tile: array<vec4<f32>, W_FOURS>;

// dy of a row for n = 4i .. 4i+4, zero beyond the last n. Rows beyond the last one repeat the last one; their results are
// not stored.
fn four_of(row: u32, i: u32) -> vec4<f32> {
    let at = (min(row, count.x - 1u) * DY_STRIDE + DY_OFFSET) / 4u + min(i, N / 4u - 1u);
    return select(vec4(0.0), dy[at], i < N / 4u);
}

// Four columns of a row of dx, from column 4i on.
fn store(row: u32, i: u32, sum: vec4<f32>) {
    if row < count.x && i < K / 4u {
        let at = row * (K / 4u) + i;
        if ACCUMULATE {
            dx[at] += sum;
        } else {
            dx[at] = sum;
        }
    }
}

struct Fetched {
    dy0: vec4<f32>,
    dy1: vec4<f32>,
    w: Packed,
}

// Invocations go over 4 fours of a row of dy and COLUMN_LANES / 2 eights of a row of W, then to the next row. Of W what is
// beyond the last row or column repeats the last one: dy is zero there, or the result is not stored.
fn fetch(row: u32, eight: u32, lane: u32, step: u32) -> Fetched {
    let i = 4u * step + lane % 4u;
    let n = min(16u * step + lane / (COLUMN_LANES / 2u), N - 1u);
    return Fetched(
        four_of(row + lane / 4u, i),
        four_of(row + (lane + COLUMN_LANES * ROW_LANES) / 4u, i),
        packed_of(n, min(eight + lane % (COLUMN_LANES / 2u), K / 8u - 1u)),
    );
}

// Where four columns of an n stand. Without the exclusive or, stores of every second four would share their banks.
fn w_place(buffer: u32, n: u32, four: u32) -> u32 {
    let at = n * COLUMN_LANES + four;
    return buffer * 16u * COLUMN_LANES + (at ^ (at / 8u % 2u));
}

fn store_fetched(next: Fetched, lane: u32, buffer: u32) {
    let at = buffer * (32u * ROWS) + lane;
    dy_tile[at] = next.dy0;
    dy_tile[at + COLUMN_LANES * ROW_LANES] = next.dy1;
    let w = unpacked(next.w);
    let n = lane / (COLUMN_LANES / 2u);
    let four = lane % (COLUMN_LANES / 2u) * 2u;
    w_tile[w_place(buffer, n, four)] = w.low;
    w_tile[w_place(buffer, n, four + 1u)] = w.high;
}

struct Tile {
    r0: vec4<f32>,
    r1: vec4<f32>,
    r2: vec4<f32>,
    r3: vec4<f32>,
    r4: vec4<f32>,
    r5: vec4<f32>,
    r6: vec4<f32>,
    r7: vec4<f32>,
}

fn multiply(given: Tile, row: u32, column: u32, buffer: u32) -> Tile {
    var s = given;
    for (var i = 0u; i < 4u; i++) {
        let w = mat4x4(
            w_tile[w_place(buffer, 4u * i, column)],
            w_tile[w_place(buffer, 4u * i + 1u, column)],
            w_tile[w_place(buffer, 4u * i + 2u, column)],
            w_tile[w_place(buffer, 4u * i + 3u, column)],
        );
        let at = buffer * (32u * ROWS) + row * 4u + i;
        s.r0 = add_four(s.r0, dy_tile[at], w);
        s.r1 = add_four(s.r1, dy_tile[at + 4u], w);
        s.r2 = add_four(s.r2, dy_tile[at + 8u], w);
        s.r3 = add_four(s.r3, dy_tile[at + 12u], w);
        if ROWS == 8u {
            s.r4 = add_four(s.r4, dy_tile[at + 16u], w);
            s.r5 = add_four(s.r5, dy_tile[at + 20u], w);
            s.r6 = add_four(s.r6, dy_tile[at + 24u], w);
            s.r7 = add_four(s.r7, dy_tile[at + 28u], w);
        }
    }
    return s;
}

@compute @workgroup_size(COLUMN_LANES, ROW_LANES)
fn tile_per_workgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) own: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first_row = group.y * ROWS * ROW_LANES;
    let first_eight = group.x * (COLUMN_LANES / 2u);
    let row = ROWS * own.y;
    let last = (N + 15u) / 16u - 1u;
    store_fetched(fetch(first_row, first_eight, lane, 0u), lane, 0u);
    var sum = Tile();
    for (var step = 0u; step <= last; step++) {
        // Behind it stands this step's tile, and nobody reads the other buffer any more.
        workgroupBarrier();
        let next = fetch(first_row, first_eight, lane, min(step + 1u, last));
        sum = multiply(sum, row, own.x, step % 2u);
        store_fetched(next, lane, (step + 1u) % 2u);
    }
    let at = first_row + row;
    let i = group.x * COLUMN_LANES + own.x;
    store(at, i, sum.r0);
    store(at + 1u, i, sum.r1);
    store(at + 2u, i, sum.r2);
    store(at + 3u, i, sum.r3);
    if ROWS == 8u {
        store(at + 4u, i, sum.r4);
        store(at + 5u, i, sum.r5);
        store(at + 6u, i, sum.r6);
        store(at + 7u, i, sum.r7);
    }
}
