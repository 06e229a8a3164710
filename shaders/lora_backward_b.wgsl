// Gradient of an adapter's B, from y += gate B u:
//   db[B_OFFSET + n RANK + j] = Σ_t gate[t] dy[t, DY_OFFSET + n] u[t, U_OFFSET + j],  0 <= n < N, 0 <= j < RANK.
// Shapes: u [rows, U_STRIDE]; db: laid out as one slot of B; the others in include/lora_site.
// Needs include/rows and include/lora_site. Entry points, both summing over rows in a fixed order:
//   rows_in_order       4 n an invocation over all rows, for emulated adapters
//   rows_in_stripes     64 n a workgroup; 4 invocations to each share out the rows and meet once, for GPUs

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(4) var<storage, read_write> db: array<f32>;

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
