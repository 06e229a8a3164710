// The second half of attention_decode.wgsl where each workgroup has done one span of a row's keys: adds the spans in their
// order and divides. An invocation has four elements of one head.
// Shapes: rows [rows]; spans [rows, KV_HEADS, shares, SPANS, SHARED HEAD_DIM + 8]; out [rows, HEADS, HEAD_DIM], HEAD_DIM a
// multiple of 4. Needs include/rows and include/attention_spans.

@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> spans: array<vec4<f32>>;

@compute @workgroup_size(64)
fn attention_combine(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let depth = HEAD_DIM / 4u;
    let head = (group.x * 64u + lane) / depth;
    let d = (group.x * 64u + lane) % depth;
    if head >= HEADS {
        return;
    }
    let sharing = HEADS / KV_HEADS;
    let share = head / sharing * shares() + head % sharing / SHARED;
    let in_share = head % sharing % SHARED;
    let keys = rows[group.y].position + 1u;
    let count = (keys - 1u) / span_keys(keys) + 1u;
    var all: Span;
    for (var s = 0u; s < count; s++) {
        let at = span_at(group.y, share, s);
        let ends = at + SHARED * depth;
        let next = Span(spans[ends][in_share], spans[ends + 1u][in_share], spans[at + in_share * depth + d]);
        if s == 0u {
            all = next;
        } else {
            all = with_next(all, next);
        }
    }
    out[(group.y * HEADS + head) * depth + d] = all.sum / all.total;
}
