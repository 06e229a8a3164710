// Gradient of a gather of rows: dx[indices[i], :] += dy[i, :]. The indices must differ from each other.
// Shapes: dy [rows, DIM]; dx [any, DIM]; indices [rows]. Element-wise: one form for all adapters.

override DIM: u32;

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(256)
fn scatter_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * 256u + lane;
    if i < DIM {
        dx[indices[group.y] * DIM + i] += dy[group.y * DIM + i];
    }
}
