// The projection of include/projection.wgsl for GPUs: blocks_per_workgroup of matmul_workgroup.wgsl, which says how it
// divides the work and what that moves, with a norm on the way in and an adapter and SwiGLU on the way out. WEIGHT_START
// is a multiple of 4. Needs include/weights_*, include/packed_*, include/projection and include/row_sums.
// The sums of squares, too, run over each block and then over the blocks; an invocation has one for a block and a row.

override OUTPUT_LANES: u32 = 8u;
override BLOCK_LANES: u32 = 8u;
override OUTPUTS: u32 = 1u;
override BLOCKS: u32 = 8u;
override PARTIALS: u32 = 64u;
var<workgroup> partial: array<f32, PARTIALS>;
// For each of a round's blocks, and for all rounds before it, ROWS sums of squares.
override SQUARES: u32 = 1u;
var<workgroup> squares: array<f32, SQUARES>;

// Columns 4i .. 4i+4 of a row as they are multiplied.
fn four_of(row: u32, i: u32) -> vec4<f32> {
    return columns_of(row, i) * gain_of(i);
}

fn four_columns(row: u32, i: u32) -> array<Rows, 4> {
    let none = vec4(0.0);
    if ROWS == 1u {
        let v = four_of(row, i);
        return array(
            Rows(vec4(v.x, none.xyz), none), Rows(vec4(v.y, none.xyz), none),
            Rows(vec4(v.z, none.xyz), none), Rows(vec4(v.w, none.xyz), none),
        );
    }
    if ROWS == 2u {
        let v = four_of(row, i);
        let w = four_of(row + 1u, i);
        return array(
            Rows(vec4(v.x, w.x, 0.0, 0.0), none), Rows(vec4(v.y, w.y, 0.0, 0.0), none),
            Rows(vec4(v.z, w.z, 0.0, 0.0), none), Rows(vec4(v.w, w.w, 0.0, 0.0), none),
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

// The output at place i of a workgroup whose first one is `first`. With SWIGLU the first half of the places are gates,
// the second half what they are multiplied by. Outputs beyond the last one repeat the last one; their results are not
// stored.
fn output_at(first: u32, i: u32) -> u32 {
    let half = OUTPUT_LANES * OUTPUTS / 2u;
    if SWIGLU && i >= half {
        return HALF + min(first + i - half, HALF - 1u);
    }
    return min(first + i, HALF - 1u);
}

fn blocks_of(first: u32, i: u32, b: u32) -> Blocks {
    let n = vec4(
        output_at(first, i), output_at(first, i + OUTPUT_LANES),
        output_at(first, i + 2u * OUTPUT_LANES), output_at(first, i + 3u * OUTPUT_LANES),
    );
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
    }
    if ROWS > 2u {
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

// The sum of squares of a block, in the order of its fours.
fn squares_of(row: u32, b: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) {
        sum += square(columns_of(row, 8u * b + i));
    }
    return sum;
}

// A result's sum over the blocks so far: what the rounds before gave, which the same invocation left, and this round's.
fn total_of(start: u32, blocks: u32, result: u32) -> f32 {
    var total = 0.0;
    if start > 0u {
        total = partial[BLOCKS * OUTPUT_LANES * OUTPUTS * ROWS + result];
    }
    for (var b = 0u; b < blocks; b++) {
        total += partial[place(b, result)];
    }
    return total;
}

fn squares_so_far(start: u32, blocks: u32, r: u32) -> f32 {
    var total = 0.0;
    if start > 0u {
        total = squares[BLOCKS * ROWS + r];
    }
    for (var b = 0u; b < blocks; b++) {
        total += squares[b * ROWS + r];
    }
    return total;
}

@compute @workgroup_size(OUTPUT_LANES, BLOCK_LANES)
fn blocks_per_workgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) own: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let lanes = OUTPUT_LANES * BLOCK_LANES;
    let outputs = OUTPUT_LANES * OUTPUTS;
    let stored = select(outputs, outputs / 2u, SWIGLU);
    let row = group.y * ROWS;
    let first = group.x * stored;
    for (var start = 0u; start < K / 32u; start += BLOCKS) {
        let blocks = min(BLOCKS, K / 32u - start);
        let last = start + blocks == K / 32u;
        for (var b = own.y; b < blocks; b += BLOCK_LANES) {
            var w = blocks_of(first, own.x, start + b);
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
        if NORMED {
            for (var i = lane; i < blocks * ROWS; i += lanes) {
                squares[i] = squares_of(row + i % ROWS, start + i / ROWS);
            }
        }
        workgroupBarrier();
        if last {
            for (var i = lane; i < stored * ROWS; i += lanes) {
                let r = i / stored;
                let result = r * outputs + i % stored;
                var by = 1.0;
                if NORMED {
                    by = factor(squares_so_far(start, blocks, r));
                }
                var up = 0.0;
                if SWIGLU {
                    up = by * total_of(start, blocks, result + stored);
                }
                finish(row + r, first + i % stored, by * total_of(start, blocks, result), up);
            }
        } else {
            for (var result = lane; result < outputs * ROWS; result += lanes) {
                partial[BLOCKS * outputs * ROWS + result] = total_of(start, blocks, result);
            }
            if NORMED {
                for (var r = lane; r < ROWS; r += lanes) {
                    squares[BLOCKS * ROWS + r] = squares_so_far(start, blocks, r);
                }
            }
            workgroupBarrier();
        }
    }
}
