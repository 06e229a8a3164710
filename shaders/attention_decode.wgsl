// The attention of attention.wgsl, same shapes, for GPUs and few rows, whose keys are all in the cache. What a workgroup does
// is in include/attention_walk.wgsl; with one along z it goes over all spans of its row's keys, with SPANS of them each does
// one and attention_combine.wgsl follows. Decoding steps have attention_step.wgsl.
// Entry point: attention_decode. HEAD_DIM a multiple of 4, at most 256. Needs include/rows, include/attention_spans,
// include/attention_walk and include/attention_span_end. Workgroup memory: 15872 bytes.

@group(0) @binding(1) var<storage, read> cache: array<vec4<f32>>;

fn query_of(work: Work, at: u32, d: u32) -> vec4<f32> {
    return qkv[at + d];
}

@compute @workgroup_size(LANES)
fn attention_decode(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let work = work_of(group, groups);
    if work.first >= work.keys {
        return;
    }
    stage_queries(work, lane);
    walk(work, work.position + 1u, group, lane);
}
