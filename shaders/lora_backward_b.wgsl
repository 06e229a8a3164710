// Gradient of an adapter's B, from y += gate B u:
//   db[B_OFFSET + n RANK + j] = Σ_t gate[t] dy[t, DY_OFFSET + n] u[t, U_OFFSET + j],  0 <= n < N, 0 <= j < RANK.
// Shapes: those of include/lora_site and include/lora_b_gradient, which it needs, as include/rows and include/lora_columns.
// Entry points, all summing over rows in a fixed order:
//   rows_in_order           4 n an invocation over all rows, for emulated adapters
//   rows_in_order_by_fours  8 n an invocation, where N, DY_STRIDE and DY_OFFSET are multiples of 4
//   rows_in_stripes         64 n a workgroup; 4 invocations to each share out the rows and meet once, for GPUs

@group(0) @binding(0) var<storage, read> dy: array<f32>;

@compute @workgroup_size(8)
fn rows_in_order(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_column = group.z * COLUMNS;
    let columns = min(COLUMNS, RANK - first_column);
    let n = vec4(group.x * 32u + lane) + vec4(0u, 8u, 16u, 24u);
    let read = min(n, vec4(N - 1u)) + DY_OFFSET;
    var sum: array<vec4<f32>, COLUMNS>;
    for (var row = 0u; row < count.x; row++) {
        let at = read + row * DY_STRIDE;
        let upstream = gate_of(row) * vec4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
        for (var j = 0u; j < COLUMNS; j++) {
            if j < columns {
                sum[j] += upstream * u[row * U_STRIDE + U_OFFSET + first_column + j];
            }
        }
    }
    for (var j = 0u; j < columns; j++) {
        for (var i = 0u; i < 4u; i++) {
            if n[i] < N {
                db[B_OFFSET + n[i] * RANK + first_column + j] = sum[j][i];
            }
        }
    }
}

@group(0) @binding(0) var<storage, read> dy_by_fours: array<vec4<f32>>;

@compute @workgroup_size(8)
fn rows_in_order_by_fours(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Where all columns fit in one group, the compiler is to know how many there are.
    let first_column = select(group.z * COLUMNS, 0u, RANK <= COLUMNS);
    let columns = min(COLUMNS, RANK - first_column);
    let n = vec2((group.x * 16u + lane) * 4u) + vec2(0u, 32u);
    let read = (min(n, vec2(N - 4u)) + DY_OFFSET) / 4u;
    var near = Columns();
    var far = Columns();
    for (var row = 0u; row < count.x; row++) {
        let at = row * U_STRIDE + U_OFFSET + first_column;
        let own = factors_at(columns, at, gate_of(row));
        near = add(near, columns, dy_by_fours[read.x + row * (DY_STRIDE / 4u)], own.low, own.high);
        far = add(far, columns, dy_by_fours[read.y + row * (DY_STRIDE / 4u)], own.low, own.high);
    }
    keep_all(columns, n.x, first_column, near);
    keep_all(columns, n.y, first_column, far);
}

const STRIPES = 4u;
// [column][lane]
var<workgroup> partial: array<f32, 2048>;

@compute @workgroup_size(256)
fn rows_in_stripes(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_column = group.z * COLUMNS;
    let columns = min(COLUMNS, RANK - first_column);
    let n = group.x * 64u + lane % 64u;
    let read = DY_OFFSET + min(n, N - 1u);
    var sum: array<f32, COLUMNS>;
    for (var row = lane / 64u; row < count.x; row += STRIPES) {
        let upstream = gate_of(row) * dy[row * DY_STRIDE + read];
        for (var j = 0u; j < COLUMNS; j++) {
            if j < columns {
                sum[j] += upstream * u[row * U_STRIDE + U_OFFSET + first_column + j];
            }
        }
    }
    for (var j = 0u; j < COLUMNS; j++) {
        partial[j * 256u + lane] = sum[j];
    }
    workgroupBarrier();
    if n < N {
        for (var j = lane / 64u; j < columns; j += STRIPES) {
            let at = j * 256u + lane % 64u;
            let total = partial[at] + partial[at + 64u] + partial[at + 128u] + partial[at + 192u];
            db[B_OFFSET + n * RANK + first_column + j] = total;
        }
    }
}
