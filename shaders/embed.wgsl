// Token embeddings: x[r, k] = W[token of row r - FIRST, k], where W holds tokens FIRST .. FIRST + N of VOCABULARY; rows of
// other tokens stay as they are. Tokens beyond the vocabulary read its last entry.
// Shapes: rows [rows]; W [N, K] (include weights_*); x [rows, K]. Element-wise: one form for all adapters.

override FIRST: u32 = 0u;
override VOCABULARY: u32;

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn embed(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = group.x * 64u + lane;
    let token = min(rows[group.y].token, VOCABULARY - 1u);
    if k < K && token >= FIRST && token - FIRST < N {
        x[group.y * K + k] = weight_at(token - FIRST, k);
    }
}
