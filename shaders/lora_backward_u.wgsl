// Gradient of a low-rank adapter's inner activations u = A x, from y += gate B u:
//   du[t, U_OFFSET + j] = gate[t] Σ_n dy[t, DY_OFFSET + n] B[n, j],  0 <= n < N, 0 <= j < RANK.
// Shapes: b: slot s >= 1 from (s - 1) SLOT_STRIDE on, B [N, RANK] at B_OFFSET in it; du [rows, U_STRIDE]; the others
// in include/lora_site. Needs include/rows and include/lora_site.
// A workgroup covers 4 rows and 8 columns of B, its 32 invocations share out n and meet once: for GPUs, and for what
// lora_backward_u_subgroup.wgsl cannot take.

override SLOT_STRIDE: u32;

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> du: array<f32>;

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
