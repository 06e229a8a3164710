// The product of matmul.wgsl, same shapes, for GPUs: K is a multiple of 32, WEIGHT_START of 4.
// Both kernels sum in the same order, whatever their overrides: a sum over each block of 32 columns in the order of the
// columns, and the sums of the blocks in the order of the blocks. So a row has the same bits alone, among others and in a
// prefill. (No fma() and no dot(): a compiler that contracts w * x + s does so in both.)
// Entry points:
//   blocks_per_workgroup  ROWS (1, 4 or 8) rows by OUTPUT_LANES * OUTPUTS outputs a workgroup, for few rows
//   tile_per_workgroup    8 * ROW_LANES rows by 64 outputs a workgroup, for many rows
// Needs include/weights_*, include/packed_*, include/row_sums, include/row_tile and include/workgroup_tile.

// Invocations of a workgroup that are side by side in outputs; the others are side by side in blocks or rows.
override OUTPUT_LANES: u32 = 8u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;

// Columns 4i .. 4i+4 of a row. Rows beyond the last one repeat the last one; their results are not stored.
fn four_of(row: u32, i: u32) -> vec4<f32> {
    return x[min(row, count.x - 1u) * (K / 4u) + i];
}

// ---------------------------------------------------------------------------------------------------------------------
// blocks_per_workgroup. An item of work is one block of columns for OUTPUTS outputs and ROWS rows; its sums go to
// workgroup memory. A round covers BLOCKS blocks; then one invocation for each output and row adds the round's sums, in
// order. Invocations are laid out as OUTPUT_LANES neighbouring outputs by BLOCK_LANES neighbouring blocks.
//
// What an item moves, with OUTPUTS = O and ROWS = R: O blocks of weights, each once from memory, in one piece (Q4: 16
// bytes and 4 of scale for 32 weights); 128 R bytes of x, from cache: 4 R / O bytes a weight. Eight neighbouring
// invocations read the same four columns, so a load of x by 32 invocations touches 4 pieces of 16 bytes, while their
// loads of weights touch 8 runs of 4 blocks (Q4: 64 bytes each). Dequantising costs about 4 instructions a weight, for
// all R rows together. A block's sum costs one store and one load in workgroup memory for 32 multiplications.

override BLOCK_LANES: u32 = 8u;
// Outputs of an item: 1, 2 or 4.
override OUTPUTS: u32 = 1u;
// Blocks of a round, and what their sums take in workgroup memory; with room for one more where there are several rounds.
override BLOCKS: u32 = 8u;
override PARTIALS: u32 = 64u;
var<workgroup> partial: array<f32, PARTIALS>;

fn four_columns(row: u32, i: u32) -> array<Rows, 4> {
    let none = vec4(0.0);
    if ROWS == 1u {
        let v = four_of(row, i);
        return array(
            Rows(vec4(v.x, none.xyz), none), Rows(vec4(v.y, none.xyz), none),
            Rows(vec4(v.z, none.xyz), none), Rows(vec4(v.w, none.xyz), none),
        );
    }
    let a = transpose(mat4x4(four_of(row, i), four_of(row + 1u, i), four_of(row + 2u, i), four_of(row + 3u, i)));
    if ROWS == 4u {
        return array(Rows(a[0], none), Rows(a[1], none), Rows(a[2], none), Rows(a[3], none));
    }
    let b = transpose(mat4x4(four_of(row + 4u, i), four_of(row + 5u, i), four_of(row + 6u, i), four_of(row + 7u, i)));
    return array(Rows(a[0], b[0]), Rows(a[1], b[1]), Rows(a[2], b[2]), Rows(a[3], b[3]));
}

struct Blocks {
    w0: Block,
    w1: Block,
    w2: Block,
    w3: Block,
}

struct Sums {
    s0: Rows,
    s1: Rows,
    s2: Rows,
    s3: Rows,
}

// Outputs beyond the last one repeat the last one; their results are not stored.
fn blocks_of(first: u32, b: u32) -> Blocks {
    let n = min(vec4(first) + OUTPUT_LANES * vec4(0u, 1u, 2u, 3u), vec4(N - 1u));
    var blocks = Blocks();
    blocks.w0 = block_of(n.x, b);
    if OUTPUTS > 1u {
        blocks.w1 = block_of(n.y, b);
    }
    if OUTPUTS > 2u {
        blocks.w2 = block_of(n.z, b);
        blocks.w3 = block_of(n.w, b);
    }
    return blocks;
}

fn turned_blocks(w: Blocks) -> Blocks {
    var next = w;
    next.w0 = turned(w.w0);
    if OUTPUTS > 1u {
        next.w1 = turned(w.w1);
    }
    if OUTPUTS > 2u {
        next.w2 = turned(w.w2);
        next.w3 = turned(w.w3);
    }
    return next;
}

// Adds the first 8 columns of a block, which are the row's columns 8i .. 8i+8.
fn add_eight(given: Sums, w: Blocks, row: u32, i: u32) -> Sums {
    var s = given;
    let low = four_columns(row, 2u * i);
    let high = four_columns(row, 2u * i + 1u);
    let w0 = eight_of(w.w0, 0u);
    s.s0 = add4(add4(s.s0, w0.low, low), w0.high, high);
    if OUTPUTS > 1u {
        let w1 = eight_of(w.w1, 0u);
        s.s1 = add4(add4(s.s1, w1.low, low), w1.high, high);
    }
    if OUTPUTS > 2u {
        let w2 = eight_of(w.w2, 0u);
        s.s2 = add4(add4(s.s2, w2.low, low), w2.high, high);
        let w3 = eight_of(w.w3, 0u);
        s.s3 = add4(add4(s.s3, w3.low, low), w3.high, high);
    }
    return s;
}

// Where the sum of one of a round's blocks stands: by block, then row, then output. Where a block's sums go round all
// banks of workgroup memory, neighbouring blocks begin in different ones.
fn place(block: u32, result: u32) -> u32 {
    let results = OUTPUT_LANES * OUTPUTS * ROWS;
    return block * results + select(result, result ^ (block % 4u * 8u), results % 32u == 0u);
}

fn keep(block: u32, output: u32, sum: Rows) {
    let row = OUTPUT_LANES * OUTPUTS;
    partial[place(block, output)] = sum.a.x;
    if ROWS > 1u {
        partial[place(block, output + row)] = sum.a.y;
        partial[place(block, output + 2u * row)] = sum.a.z;
        partial[place(block, output + 3u * row)] = sum.a.w;
    }
    if ROWS > 4u {
        partial[place(block, output + 4u * row)] = sum.b.x;
        partial[place(block, output + 5u * row)] = sum.b.y;
        partial[place(block, output + 6u * row)] = sum.b.z;
        partial[place(block, output + 7u * row)] = sum.b.w;
    }
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
        for (var b = own.y; b < blocks; b += BLOCK_LANES) {
            var w = blocks_of(first + own.x, start + b);
            var s = Sums();
            for (var j = 0u; j < 4u; j++) {
                s = add_eight(s, w, row, 4u * (start + b) + j);
                w = turned_blocks(w);
            }
            keep(b, own.x, s.s0);
            if OUTPUTS > 1u {
                keep(b, own.x + OUTPUT_LANES, s.s1);
            }
            if OUTPUTS > 2u {
                keep(b, own.x + 2u * OUTPUT_LANES, s.s2);
                keep(b, own.x + 3u * OUTPUT_LANES, s.s3);
            }
        }
        workgroupBarrier();
        for (var result = lane; result < outputs * ROWS; result += OUTPUT_LANES * BLOCK_LANES) {
            // What the rounds before gave; the same invocation comes back for it.
            let before = BLOCKS * outputs * ROWS + result;
            var total = 0.0;
            if start > 0u {
                total = partial[before];
            }
            for (var b = 0u; b < blocks; b++) {
                total += partial[place(b, result)];
            }
            if start + blocks < K / 32u {
                partial[before] = total;
            } else {
                store(row + result / outputs, first + result % outputs, total);
            }
        }
        if start + blocks < K / 32u {
            workgroupBarrier();
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// tile_per_workgroup. Steps of 16 columns, half a block, through two buffers in workgroup memory: while one is multiplied
// the next step's x and packed weights are on their way in registers, and are stored into the other one; one barrier a
// step. An invocation computes 8 neighbouring rows by 4 outputs (OUTPUT_LANES = 16) or 8 (OUTPUT_LANES = 8). Three shapes:
//   OUTPUT_LANES  ROW_LANES  rows  invocations  an invocation  workgroup memory
//   16            8          64    128          8 by 4         16 KiB
//   16            4          32    64           8 by 4         12 KiB
//   8             8          64    64           8 by 8         16 KiB
//
// What it moves, for each multiplication: from memory or cache 1 / 64 of an x and 1 / 64 (32 rows: 1 / 32) of a weight;
// from workgroup memory 3 / 8 of a number with 8 by 4, 1 / 4 with 8 by 8, four to a load. Registers hold a block's sums
// and the totals (2 * 32 or 2 * 64), 16 or 32 weights and 4 of x. Loads of x by neighbouring invocations are of one place;
// weights are stored so that loads and stores of 8 neighbouring invocations go to different banks.

override ROW_LANES: u32 = 8u;
// Both buffers: 16 columns of 8 * ROW_LANES rows, in fours.
override X_FOURS: u32 = 512u;
var<workgroup> x_tile: array<vec4<f32>, X_FOURS>;
var<workgroup> w_tile: array<vec4<f32>, 512>;

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
    next.x0 = four_of(row + lane / 4u, i);
    next.x1 = four_of(row + (lane + lanes) / 4u, i);
    if OUTPUT_LANES == 8u {
        next.x2 = four_of(row + (lane + 2u * lanes) / 4u, i);
        next.x3 = four_of(row + (lane + 3u * lanes) / 4u, i);
    }
    next.w0 = weights_of(output + lane / 2u, 2u * step + lane % 2u);
    if lanes == 64u {
        next.w1 = weights_of(output + (lane + lanes) / 2u, 2u * step + lane % 2u);
    }
    return next;
}

// Where four columns of an output stand. Without the exclusive or, outputs two apart would share their banks.
fn w_place(buffer: u32, output: u32, i: u32) -> u32 {
    return buffer * 256u + output * 4u + (i ^ (output / 2u % 4u));
}

fn store_weights(buffer: u32, eight: u32, packed: Packed) {
    let w = unpacked(packed);
    w_tile[w_place(buffer, eight / 2u, eight % 2u * 2u)] = w.low;
    w_tile[w_place(buffer, eight / 2u, eight % 2u * 2u + 1u)] = w.high;
}

fn store_fetched(next: Fetched, lane: u32, buffer: u32) {
    let lanes = OUTPUT_LANES * ROW_LANES;
    let at = buffer * (32u * ROW_LANES) + lane;
    x_tile[at] = next.x0;
    x_tile[at + lanes] = next.x1;
    if OUTPUT_LANES == 8u {
        x_tile[at + 2u * lanes] = next.x2;
        x_tile[at + 3u * lanes] = next.x3;
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
    return transpose(mat4x4(w_tile[at], w_tile[at + next], w_tile[at + 2u * next], w_tile[at + 3u * next]));
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
        s.r0 = multiply_line(s.r0, x_tile[at], w);
        s.r1 = multiply_line(s.r1, x_tile[at + 4u], w);
        s.r2 = multiply_line(s.r2, x_tile[at + 8u], w);
        s.r3 = multiply_line(s.r3, x_tile[at + 12u], w);
        s.r4 = multiply_line(s.r4, x_tile[at + 16u], w);
        s.r5 = multiply_line(s.r5, x_tile[at + 20u], w);
        s.r6 = multiply_line(s.r6, x_tile[at + 24u], w);
        s.r7 = multiply_line(s.r7, x_tile[at + 28u], w);
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
