// Gram matrix of every adapter site's B: s[site, i, j] = Σ_n B[n, i] B[n, j]. With G = A Aᵀ on the other side,
// ‖B A‖_F² = Σ_ij s[i, j] G[i, j].
// Shapes: b: slot s >= 1 from (s - 1) SLOT_STRIDE on; sites [sites] of (offset in the slot, outputs);
// s [sites, RANK, RANK]; count.y = slot. One workgroup a site, an invocation to each (i, j): one form for all adapters.

override RANK: u32;
override SLOT_STRIDE: u32;

@group(0) @binding(0) var<storage, read> b: array<f32>;
@group(0) @binding(1) var<storage, read> sites: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> s: array<f32>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;

@compute @workgroup_size(64)
fn gram(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let site = sites[group.x];
    let base = (count.y - 1u) * SLOT_STRIDE + site.x;
    for (var pair = lane; pair < RANK * RANK; pair += 64u) {
        let i = pair / RANK;
        let j = pair % RANK;
        var sum = 0.0;
        for (var n = 0u; n < site.y; n++) {
            let row = base + n * RANK;
            sum += b[row + i] * b[row + j];
        }
        s[group.x * RANK * RANK + pair] = sum;
    }
}
