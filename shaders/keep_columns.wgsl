// y[t, c] = 0 for columns c outside [FIRST, LAST); the others stay.
// Shapes: y [rows, STRIDE]. The grid's y axis covers rows.
// Entry point: main (one invocation per element).

override STRIDE: u32;
override FIRST: u32;
override LAST: u32;

@group(0) @binding(0) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 64u + lane;
    if column < STRIDE && (column < FIRST || column >= LAST) {
        y[group.y * STRIDE + column] = 0.0;
    }
}
