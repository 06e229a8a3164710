// Gradient of a low-rank adapter's inner activations u = A x, from y += gate B u:
//   du[t, U_OFFSET + j] = gate[t] Σ_n dy[t, DY_OFFSET + n] B[n, j],  0 <= n < N, 0 <= j < RANK.
// Shapes: those of include/lora_site and include/lora_inner_gradient, which it needs, as include/rows and
// include/lora_columns.
// Entry points:
//   lora_backward_u      4 rows and 8 columns of B a workgroup, whose 32 invocations share out n and meet once: for GPUs, and
//                        for what the others cannot take
//   tile_per_invocation  4 rows and 8 columns of B an invocation, for emulated adapters without subgroups; N, DY_STRIDE and
//                        DY_OFFSET are multiples of 4

@group(0) @binding(0) var<storage, read> dy: array<f32>;

const LANES = 32u;
// [column][row][lane]
var<workgroup> partial: array<f32, 1024>;

@compute @workgroup_size(LANES)
fn lora_backward_u(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_row = group.y * 4u;
    let first_column = group.z * COLUMNS;
    let columns = min(COLUMNS, RANK - first_column);
    let at = min(vec4(first_row) + vec4(0u, 1u, 2u, 3u), vec4(count.x - 1u)) * DY_STRIDE + DY_OFFSET;
    let base = (count.y - 1u) * SLOT_STRIDE + B_OFFSET + first_column;
    var sum: array<vec4<f32>, COLUMNS>;
    for (var n = lane; n < N; n += LANES) {
        let upstream = vec4(dy[at.x + n], dy[at.y + n], dy[at.z + n], dy[at.w + n]);
        for (var j = 0u; j < COLUMNS; j++) {
            if j < columns {
                sum[j] += upstream * b[base + n * RANK + j];
            }
        }
    }
    for (var j = 0u; j < COLUMNS; j++) {
        for (var r = 0u; r < 4u; r++) {
            partial[(j * 4u + r) * LANES + lane] = sum[j][r];
        }
    }
    workgroupBarrier();
    let j = lane / 4u;
    let row = first_row + lane % 4u;
    if j < columns && row < count.x {
        var total = 0.0;
        for (var i = 0u; i < LANES; i++) {
            total += partial[lane * LANES + i];
        }
        du[row * U_STRIDE + U_OFFSET + first_column + j] = gate_of(row) * total;
    }
}

// The rest is tile_per_invocation's.
@group(0) @binding(0) var<storage, read> dy_by_fours: array<vec4<f32>>;

// Column j of the row of B that begins at `at`.
fn column(at: u32, columns: u32, j: u32) -> f32 {
    if j < columns {
        return b[at + j];
    }
    return 0.0;
}

// Adds the products of one output of four rows with its row of B.
fn add_output(sum: Columns, columns: u32, upstream: vec4<f32>, at: u32) -> Columns {
    let low = vec4(column(at, columns, 0u), column(at, columns, 1u), column(at, columns, 2u), column(at, columns, 3u));
    let high = vec4(column(at, columns, 4u), column(at, columns, 5u), column(at, columns, 6u), column(at, columns, 7u));
    return add(sum, columns, upstream, low, high);
}

@compute @workgroup_size(8)
fn tile_per_invocation(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Where all columns fit in one group, the compiler is to know how many there are.
    let first_column = select(group.z * COLUMNS, 0u, RANK <= COLUMNS);
    let columns = min(COLUMNS, RANK - first_column);
    let first_row = (group.y * 8u + lane) * 4u;
    let row = min(vec4(first_row) + vec4(0u, 1u, 2u, 3u), vec4(count.x - 1u));
    let at = row * (DY_STRIDE / 4u) + DY_OFFSET / 4u;
    let base = (count.y - 1u) * SLOT_STRIDE + B_OFFSET + first_column;
    var sum = Columns();
    for (var n = 0u; n < N / 4u; n++) {
        let start = base + 4u * n * RANK;
        let g = transpose(mat4x4(dy_by_fours[at.x + n], dy_by_fours[at.y + n], dy_by_fours[at.z + n], dy_by_fours[at.w + n]));
        sum = add_output(sum, columns, g[0], start);
        sum = add_output(sum, columns, g[1], start + RANK);
        sum = add_output(sum, columns, g[2], start + 2u * RANK);
        sum = add_output(sum, columns, g[3], start + 3u * RANK);
    }
    keep_all(columns, first_row, row, first_column, sum);
}
