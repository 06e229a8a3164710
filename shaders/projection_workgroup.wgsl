// The projection of include/projection.wgsl for GPUs, divided as include/column_blocks says. WEIGHT_START is a multiple of
// 4. Needs include/weights_*, include/packed_*, include/projection, include/row_sums, include/column_blocks and
// include/tile_full: what reads every weight once has nothing to gain by half precision.
// Where NORMED, x goes through RMSNorm on its way in:
//   s[r, n] = sum_k W[n, k] (x[r, k] gain[k]) / sqrt(mean_k x[r, k]^2 + EPS),  gain [K].
// The sums of squares, too, run over each block and then over the blocks; an invocation has one for a block and a row.

override NORMED: bool = false;
override EPS: f32 = 0.0;

@group(0) @binding(5) var<storage, read> gain: array<vec4<f32>>;

// For each of a round's blocks, and for all rounds before it, ROWS sums of squares.
override SQUARES: u32 = 1u;
var<workgroup> squares: array<f32, SQUARES>;

fn four_of(row: u32, i: u32) -> vec4<f32> {
    let value = x[start_of(row) + i];
    if NORMED {
        return value * gain[i];
    }
    return value;
}

// What the sums of a row are multiplied by.
fn factor(squares: f32) -> f32 {
    return inverseSqrt(squares / f32(K) + EPS);
}

// With SWIGLU the first half of a workgroup's places are gates, the second half what they are multiplied by. Outputs
// beyond the last one repeat the last one; their results are not stored.
fn output_at(first: u32, i: u32) -> u32 {
    let half = OUTPUT_LANES * OUTPUTS / 2u;
    if SWIGLU && i >= half {
        return HALF + min(first + i - half, HALF - 1u);
    }
    return min(first + i, HALF - 1u);
}

// The sum of squares of a block, in the order of its fours.
fn squares_of(row: u32, b: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) {
        let value = x[start_of(row) + 8u * b + i];
        sum += dot(value, value);
    }
    return sum;
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
        multiply_blocks(first, row, start, blocks, own);
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
                partial[earlier(result)] = total_of(start, blocks, result);
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
