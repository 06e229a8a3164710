// The product of matmul.wgsl, same shapes, for GPUs: K is a multiple of 32, WEIGHT_START of 4.
// Both kernels sum in the same order, whatever their overrides: a sum over each block of 32 columns in the order of the
// columns, and the sums of the blocks in the order of the blocks. So a row has the same bits alone, among others and in a
// prefill. (No fma() and no dot(): a compiler that contracts w * x + s does so in both.)
// Entry points:
//   blocks_per_workgroup  8 rows by OUTPUT_LANES * OUTPUTS outputs a workgroup, for few rows
//   tile_per_workgroup    8 * ROW_LANES rows by 64 outputs a workgroup, for many rows
// Needs include/weights_*, include/packed_*, include/row_sums, include/row_tile, include/column_blocks,
// include/workgroup_tile and include/tile_full or include/tile_half: with the latter x and W are rounded to half precision.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;

// Columns 4i .. 4i+4 of a row. Rows beyond the last one repeat the last one; their results are not stored.
fn four_at(row: u32, i: u32) -> vec4<f32> {
    return x[min(row, count.x - 1u) * (K / 4u) + i];
}

fn four_of(row: u32, i: u32) -> vec4<f32> {
    return rounded(four_at(row, i));
}

// Outputs beyond the last one repeat the last one; their results are not stored.
fn output_at(first: u32, i: u32) -> u32 {
    return min(first + i, N - 1u);
}

@compute @workgroup_size(OUTPUT_LANES, BLOCK_LANES)
fn blocks_per_workgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) own: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let outputs = OUTPUT_LANES * OUTPUTS;
    let row = group.y * ROWS;
    let first = group.x * outputs;
    for (var start = 0u; start < K / 32u; start += BLOCKS) {
        let blocks = min(BLOCKS, K / 32u - start);
        let last = start + blocks == K / 32u;
        multiply_blocks(first, row, start, blocks, own);
        workgroupBarrier();
        for (var result = lane; result < outputs * ROWS; result += OUTPUT_LANES * BLOCK_LANES) {
            let total = total_of(start, blocks, result);
            if last {
                store(row + result / outputs, first + result % outputs, total);
            } else {
                partial[earlier(result)] = total;
            }
        }
        if !last {
            workgroupBarrier();
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// tile_per_workgroup. Steps of 16 columns, half a block, through two buffers in workgroup memory: while one is multiplied
// the next step's x and packed weights are on their way in registers, and are stored into the other one; one barrier a
// step. An invocation computes 8 neighbouring rows by 4 outputs (OUTPUT_LANES = 16) or 8 (OUTPUT_LANES = 8). Three shapes:
//   OUTPUT_LANES  ROW_LANES  rows  invocations  an invocation  workgroup memory (in half precision)
//   16            8          64    128          8 by 4         16 KiB (8)
//   16            4          32    64           8 by 4         12 KiB (6)
//   8             8          64    64           8 by 8         16 KiB (8)
//
// What it moves, for each multiplication: from memory or cache 1 / 64 of an x and 1 / 64 (32 rows: 1 / 32) of a weight;
// from workgroup memory 3 / 8 of a number with 8 by 4, 1 / 4 with 8 by 8, four to a load. Registers hold a block's sums
// and the totals (2 * 32 or 2 * 64), 16 or 32 weights and 4 of x. Loads of x by neighbouring invocations are of one place;
// weights are stored so that loads and stores of 8 neighbouring invocations go to different banks.

override ROW_LANES: u32 = 8u;
// Both buffers: 16 columns of 8 * ROW_LANES rows, in fours.
override X_FOURS: u32 = 512u;
var<workgroup> x_tile: array<Four, X_FOURS>;
var<workgroup> w_tile: array<Four, 512>;

// What an invocation reads for a step.
struct Fetched {
    x0: vec4<f32>,
    x1: vec4<f32>,
    x2: vec4<f32>,
    x3: vec4<f32>,
    w0: Packed,
    w1: Packed,
}

fn weights_of(n: u32, i: u32) -> Packed {
    return packed_of(min(n, N - 1u), i);
}

// Invocations go over 4 fours of a row of x and 2 eights of a row of W, then to the next row.
fn fetch(row: u32, output: u32, lane: u32, step: u32) -> Fetched {
    let lanes = OUTPUT_LANES * ROW_LANES;
    var next = Fetched();
    let i = 4u * step + lane % 4u;
    next.x0 = four_at(row + lane / 4u, i);
    next.x1 = four_at(row + (lane + lanes) / 4u, i);
    if OUTPUT_LANES == 8u {
        next.x2 = four_at(row + (lane + 2u * lanes) / 4u, i);
        next.x3 = four_at(row + (lane + 3u * lanes) / 4u, i);
    }
    next.w0 = weights_of(output + lane / 2u, 2u * step + lane % 2u);
    if lanes == 64u {
        next.w1 = weights_of(output + (lane + lanes) / 2u, 2u * step + lane % 2u);
    }
    return next;
}

// Where four columns of an output stand. Without the exclusive or, outputs BANKS apart would share their banks. It is the
// same for outputs OUTPUT_LANES apart, which four_outputs reads together.
fn w_place(buffer: u32, output: u32, i: u32) -> u32 {
    return buffer * 256u + output * 4u + (i ^ (output / BANKS % min(4u, OUTPUT_LANES / BANKS)));
}

fn store_weights(buffer: u32, eight: u32, packed: Packed) {
    let w = unpacked(packed);
    w_tile[w_place(buffer, eight / 2u, eight % 2u * 2u)] = kept(w.low);
    w_tile[w_place(buffer, eight / 2u, eight % 2u * 2u + 1u)] = kept(w.high);
}

fn store_fetched(next: Fetched, lane: u32, buffer: u32) {
    let lanes = OUTPUT_LANES * ROW_LANES;
    let at = buffer * (32u * ROW_LANES) + lane;
    x_tile[at] = kept(next.x0);
    x_tile[at + lanes] = kept(next.x1);
    if OUTPUT_LANES == 8u {
        x_tile[at + 2u * lanes] = kept(next.x2);
        x_tile[at + 3u * lanes] = kept(next.x3);
    }
    store_weights(buffer, lane, next.w0);
    if lanes == 64u {
        store_weights(buffer, lane + lanes, next.w1);
    }
}

// One row's sums: 4 outputs OUTPUT_LANES apart, and 4 more where an invocation computes 8.
struct Line {
    a: vec4<f32>,
    b: vec4<f32>,
}

struct Tile {
    r0: Line,
    r1: Line,
    r2: Line,
    r3: Line,
    r4: Line,
    r5: Line,
    r6: Line,
    r7: Line,
}

// Four columns of an invocation's outputs, a column's weights together.
struct Weights {
    a: mat4x4<f32>,
    b: mat4x4<f32>,
}

fn four_outputs(at: u32) -> mat4x4<f32> {
    let next = 4u * OUTPUT_LANES;
    return transpose(mat4x4(
        taken(w_tile[at]), taken(w_tile[at + next]), taken(w_tile[at + 2u * next]), taken(w_tile[at + 3u * next]),
    ));
}

fn multiply_line(sum: Line, factors: vec4<f32>, w: Weights) -> Line {
    if OUTPUT_LANES == 8u {
        return Line(add_four(sum.a, factors, w.a), add_four(sum.b, factors, w.b));
    }
    return Line(add_four(sum.a, factors, w.a), sum.b);
}

fn multiply(given: Tile, row: u32, output: u32, buffer: u32) -> Tile {
    var s = given;
    for (var i = 0u; i < 4u; i++) {
        let w_at = w_place(buffer, output, i);
        var w = Weights();
        w.a = four_outputs(w_at);
        if OUTPUT_LANES == 8u {
            w.b = four_outputs(w_at + 128u);
        }
        let at = buffer * (32u * ROW_LANES) + row * 4u + i;
        s.r0 = multiply_line(s.r0, taken(x_tile[at]), w);
        s.r1 = multiply_line(s.r1, taken(x_tile[at + 4u]), w);
        s.r2 = multiply_line(s.r2, taken(x_tile[at + 8u]), w);
        s.r3 = multiply_line(s.r3, taken(x_tile[at + 12u]), w);
        s.r4 = multiply_line(s.r4, taken(x_tile[at + 16u]), w);
        s.r5 = multiply_line(s.r5, taken(x_tile[at + 20u]), w);
        s.r6 = multiply_line(s.r6, taken(x_tile[at + 24u]), w);
        s.r7 = multiply_line(s.r7, taken(x_tile[at + 28u]), w);
    }
    return s;
}

fn sum_of(s: Line, t: Line) -> Line {
    return Line(s.a + t.a, s.b + t.b);
}

fn add_tiles(s: Tile, t: Tile) -> Tile {
    return Tile(
        sum_of(s.r0, t.r0), sum_of(s.r1, t.r1), sum_of(s.r2, t.r2), sum_of(s.r3, t.r3),
        sum_of(s.r4, t.r4), sum_of(s.r5, t.r5), sum_of(s.r6, t.r6), sum_of(s.r7, t.r7),
    );
}

fn store_line(row: u32, n: u32, sum: Line) {
    store(row, n, sum.a.x);
    store(row, n + OUTPUT_LANES, sum.a.y);
    store(row, n + 2u * OUTPUT_LANES, sum.a.z);
    store(row, n + 3u * OUTPUT_LANES, sum.a.w);
    if OUTPUT_LANES == 8u {
        store(row, n + 32u, sum.b.x);
        store(row, n + 40u, sum.b.y);
        store(row, n + 48u, sum.b.z);
        store(row, n + 56u, sum.b.w);
    }
}

@compute @workgroup_size(OUTPUT_LANES, ROW_LANES)
fn tile_per_workgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) own: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first_row = group.y * 8u * ROW_LANES;
    let first_output = group.x * 64u;
    let row = 8u * own.y;
    store_fetched(fetch(first_row, first_output, lane, 0u), lane, 0u);
    var total = Tile();
    var sum = Tile();
    for (var step = 0u; step < K / 16u; step++) {
        // Behind it stands this step's tile, and nobody reads the other buffer any more.
        workgroupBarrier();
        let next = fetch(first_row, first_output, lane, min(step + 1u, K / 16u - 1u));
        sum = multiply(sum, row, own.x, step % 2u);
        if step % 2u == 1u {
            total = add_tiles(total, sum);
            sum = Tile();
        }
        store_fetched(next, lane, (step + 1u) % 2u);
    }
    let at = first_row + row;
    let n = first_output + own.x;
    store_line(at, n, total.r0);
    store_line(at + 1u, n, total.r1);
    store_line(at + 2u, n, total.r2);
    store_line(at + 3u, n, total.r3);
    store_line(at + 4u, n, total.r4);
    store_line(at + 5u, n, total.r5);
    store_line(at + 6u, n, total.r6);
    store_line(at + 7u, n, total.r7);
}
