// Keeps every adapter site within its trust region: with ratio = ‖B A‖_F / ‖W‖_F,
//   B <- B limit / ratio   where ratio > limit.
// ‖B A‖_F² = Σ_ij s[site, i, j] g[site, i, j], with s = BᵀB (gram.wgsl) and g = A Aᵀ.
// Shapes: b: slot s >= 1 from (s - 1) SLOT_STRIDE on; sites [sites] of (offset in the slot, outputs); s and g
// [sites, RANK, RANK]; weight_norms [sites], ‖W‖_F; bound.x = limit; count.y = slot.
// One workgroup a site: one form for all adapters.

override RANK: u32;
override SLOT_STRIDE: u32;

@group(0) @binding(0) var<storage, read_write> b: array<f32>;
@group(0) @binding(1) var<storage, read> sites: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> s: array<f32>;
@group(0) @binding(3) var<uniform> count: vec4<u32>;
@group(0) @binding(4) var<storage, read> g: array<f32>;
@group(0) @binding(5) var<storage, read> weight_norms: array<f32>;
@group(0) @binding(6) var<uniform> bound: vec4<f32>;

const LANES = 64u;

@compute @workgroup_size(LANES)
fn trust_region(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let site = sites[group.x];
    let pairs = RANK * RANK;
    var square = 0.0;
    for (var i = 0u; i < pairs; i++) {
        square += s[group.x * pairs + i] * g[group.x * pairs + i];
    }
    let ratio = sqrt(max(square, 0.0)) / weight_norms[group.x];
    // Also where the ratio is not a number.
    if !(ratio > bound.x) {
        return;
    }
    let scale = bound.x / ratio;
    let start = (count.y - 1u) * SLOT_STRIDE + site.x;
    for (var i = lane; i < site.y * RANK; i += LANES) {
        b[start + i] *= scale;
    }
}
