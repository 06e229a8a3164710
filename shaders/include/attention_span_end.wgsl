// The end of a span of keys, for include/attention_walk.wgsl, which has the workgroup memory that this uses: groups are added,
// and the span is added to those before it, or left in the scratch.

// Adds one head's outputs of all groups; invocations below HEAD_DIM / 4 have the sum.
fn sum_groups(own: vec4<f32>, lane: u32) -> vec4<f32> {
    workgroupBarrier();
    partial[lane] = own;
    workgroupBarrier();
    var sum = vec4(0.0);
    if lane < HEAD_DIM / 4u {
        for (var g = 0u; g < GROUPS; g++) {
            sum += partial[g * 4u * PARTS + lane];
        }
    }
    return sum;
}

// What a span comes to: outputs in invocations below HEAD_DIM / 4, the largest scores and sums of exponentials in all.
struct Ended {
    largest: vec4<f32>,
    total: vec4<f32>,
    sum: Heads,
}

// Adds all groups. A group without a key has the least of all numbers as its largest score, and counts for nothing.
fn end_span(largest: vec4<f32>, total: vec4<f32>, sum: Heads, member: u32, lane: u32) -> Ended {
    workgroupBarrier();
    if lane < GROUPS {
        fades[lane] = largest;
    }
    workgroupBarrier();
    var ended = Ended(fades[0], vec4(0.0), Heads());
    for (var g = 1u; g < GROUPS; g++) {
        ended.largest = max(ended.largest, fades[g]);
    }
    let fade = exp(fades[member] - ended.largest);
    if lane % (4u * PARTS) == 0u && lane / (4u * PARTS) < GROUPS {
        scores[member] = total * fade;
    }
    workgroupBarrier();
    for (var g = 0u; g < GROUPS; g++) {
        ended.total += scores[g];
    }
    let own = faded(sum, fade);
    ended.sum.h0 = sum_groups(own.h0, lane);
    if SHARED > 1u {
        ended.sum.h1 = sum_groups(own.h1, lane);
    }
    if SHARED > 2u {
        ended.sum.h2 = sum_groups(own.h2, lane);
    }
    if SHARED > 3u {
        ended.sum.h3 = sum_groups(own.h3, lane);
    }
    return ended;
}

// Leaves a span in the scratch, for attention_combine.
fn leave(at: u32, ended: Ended, lane: u32) {
    let depth = HEAD_DIM / 4u;
    if lane >= depth {
        return;
    }
    spans[at + lane] = ended.sum.h0;
    if SHARED > 1u {
        spans[at + depth + lane] = ended.sum.h1;
    }
    if SHARED > 2u {
        spans[at + 2u * depth + lane] = ended.sum.h2;
    }
    if SHARED > 3u {
        spans[at + 3u * depth + lane] = ended.sum.h3;
    }
    if lane == 0u {
        spans[at + SHARED * depth] = ended.largest;
        spans[at + SHARED * depth + 1u] = ended.total;
    }
}

// Largest score and sum of exponentials of the spans so far, for each head; the outputs wait in `out`.
struct Earlier {
    h0: vec2<f32>,
    h1: vec2<f32>,
    h2: vec2<f32>,
    h3: vec2<f32>,
}

// Adds the next span of a head whose outputs are at offset `at`; divides after the last one.
fn add_span(at: u32, earlier: vec2<f32>, next: Span, is_first: bool, is_last: bool) -> vec2<f32> {
    var all = next;
    if !is_first {
        all = with_next(Span(earlier.x, earlier.y, out[at]), next);
    }
    if is_last {
        out[at] = all.sum / all.total;
    } else {
        out[at] = all.sum;
    }
    return vec2(all.largest, all.total);
}

fn add_spans(earlier: Earlier, next: Ended, at: u32, heads: u32, is_first: bool, is_last: bool) -> Earlier {
    let depth = HEAD_DIM / 4u;
    let top = next.largest;
    let total = next.total;
    var e = earlier;
    e.h0 = add_span(at, e.h0, Span(top.x, total.x, next.sum.h0), is_first, is_last);
    if SHARED > 1u && heads > 1u {
        e.h1 = add_span(at + depth, e.h1, Span(top.y, total.y, next.sum.h1), is_first, is_last);
    }
    if SHARED > 2u && heads > 2u {
        e.h2 = add_span(at + 2u * depth, e.h2, Span(top.z, total.z, next.sum.h2), is_first, is_last);
    }
    if SHARED > 3u && heads > 3u {
        e.h3 = add_span(at + 3u * depth, e.h3, Span(top.w, total.w, next.sum.h3), is_first, is_last);
    }
    return e;
}
