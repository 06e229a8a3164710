// Blocks of columns side by side: how matmul_workgroup.wgsl and projection_workgroup.wgsl divide products of few rows.
// An item of work is one block of columns for OUTPUTS outputs and ROWS (1, 2, 4 or 8) rows; its sums go to workgroup
// memory. A round covers BLOCKS blocks; then one invocation for each output and row adds the round's sums, in order.
// Invocations are laid out as OUTPUT_LANES neighbouring outputs by BLOCK_LANES neighbouring blocks.
//
// What an item moves, with OUTPUTS = O and ROWS = R: O blocks of weights, each once from memory, in one piece (Q4: 16
// bytes and 4 of scale for 32 weights); 128 R bytes of x, from cache: 4 R / O bytes a weight. Eight neighbouring
// invocations read the same four columns, so a load of x by 32 invocations touches 4 pieces of 16 bytes, while their
// loads of weights touch 8 runs of 4 blocks (Q4: 64 bytes each). Dequantising costs about 4 instructions a weight, for
// all R rows together. A block's sum costs one store and one load in workgroup memory for 32 multiplications.
//
// Needs include/weights_*, include/packed_*, include/row_sums and include/tile_*, and of the shader
//   four_of(row, i)      columns 4i .. 4i+4 of a row as they are multiplied
//   output_at(first, i)  the output at place i of a workgroup whose first one is `first`

// Invocations of a workgroup that are side by side in outputs, and in blocks.
override OUTPUT_LANES: u32 = 8u;
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

fn first_eight(block: Block) -> Eight {
    let w = eight_of(block, 0u);
    return Eight(rounded(w.low), rounded(w.high));
}

// Adds the first 8 columns of a block, which are the row's columns 8i .. 8i+8.
fn add_eight(given: Sums, w: Blocks, row: u32, i: u32) -> Sums {
    var s = given;
    let low = four_columns(row, 2u * i);
    let high = four_columns(row, 2u * i + 1u);
    let w0 = first_eight(w.w0);
    s.s0 = add4(add4(s.s0, w0.low, low), w0.high, high);
    if OUTPUTS > 1u {
        let w1 = first_eight(w.w1);
        s.s1 = add4(add4(s.s1, w1.low, low), w1.high, high);
    }
    if OUTPUTS > 2u {
        let w2 = first_eight(w.w2);
        s.s2 = add4(add4(s.s2, w2.low, low), w2.high, high);
        let w3 = first_eight(w.w3);
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

// The items of a round of `blocks` blocks from `start` on, for rows from `row` on.
fn multiply_blocks(first: u32, row: u32, start: u32, blocks: u32, own: vec3<u32>) {
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
}

// Where what the rounds before gave for a result stands.
fn earlier(result: u32) -> u32 {
    return BLOCKS * OUTPUT_LANES * OUTPUTS * ROWS + result;
}

// A result's sum over all blocks so far; results are counted by row, then output.
fn total_of(start: u32, blocks: u32, result: u32) -> f32 {
    var total = 0.0;
    if start > 0u {
        total = partial[earlier(result)];
    }
    for (var b = 0u; b < blocks; b++) {
        total += partial[place(b, result)];
    }
    return total;
}
