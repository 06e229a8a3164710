// Reductions over a workgroup of LANES invocations, in a fixed tree order, so that a second run gives the same bits.
// Every invocation of the workgroup must call them, and every one gets the result.

const LANES = 128u;
var<workgroup> reduction_partial: array<f32, LANES>;

fn workgroup_sum(value: f32, lane: u32) -> f32 {
    reduction_partial[lane] = value;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if lane < width {
            reduction_partial[lane] += reduction_partial[lane + width];
        }
        workgroupBarrier();
    }
    let total = reduction_partial[0];
    workgroupBarrier();
    return total;
}

fn workgroup_max(value: f32, lane: u32) -> f32 {
    reduction_partial[lane] = value;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if lane < width {
            reduction_partial[lane] = max(reduction_partial[lane], reduction_partial[lane + width]);
        }
        workgroupBarrier();
    }
    let largest = reduction_partial[0];
    workgroupBarrier();
    return largest;
}
