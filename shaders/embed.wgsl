// Token embeddings: x[r, k] = W[token of row r, k]. Tokens beyond the vocabulary read its last entry.
// Shapes: rows [rows]; W [N, K] (include weights_*); x [rows, K]. Element-wise: one form for all adapters.

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn embed(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = group.x * 64u + lane;
    if k < K {
        x[group.y * K + k] = weight_at(min(rows[group.y].token, N - 1u), k);
    }
}
