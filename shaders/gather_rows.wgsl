// y[r] = x[indices[r]].
// Shapes: x [*, DIM]; indices [rows]; y [rows, DIM]. Element-wise: one form for all adapters.

override DIM: u32;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn gather_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * 64u + lane;
    if i < DIM {
        y[group.y * DIM + i] = x[indices[group.y] * DIM + i];
    }
}
