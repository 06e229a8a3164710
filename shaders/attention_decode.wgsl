// The attention of attention.wgsl, same shapes, for GPUs and the rows of decoding steps: a workgroup takes one row and the
// heads that share keys, up to four (two above HEAD_DIM 128), so that keys and values are read once for all of them.
// It walks over the keys in blocks, with the online softmax:
//   1. PARTS invocations score one key, 16 elements each; neighbours read neighbouring vec4 of one key. Every
//      invocation starts 8 reads of keys and 8 of values (32 KiB of each in a workgroup) a block ahead.
//   2. one invocation a key adds the parts; then it weighs its key by the largest score of the key's group
//   3. GROUPS groups of invocations, each with its own maximum, sum and output, add every GROUPS-th value; an
//      invocation has four elements of each head.
// At the end of a span of keys (include/attention_spans.wgsl) the groups are added in their order, and the span to those
// before it. A row's result depends on nothing but the row.
//
// With one workgroup along z it goes over all spans of its row, and what it has of earlier ones waits in `out`. With SPANS
// of them each does one span and leaves it in the scratch, for attention_combine.wgsl to add.
//
// When to split: a row of SmolLM2 (3 key heads of 64) takes 3 workgroups, which read 512 bytes a key each. With up to 64 KiB
// on its way a workgroup draws close to what one core can, 64 bytes a clock on many GPUs; counted at 1.5 GHz, 96 GB/s each,
// 11 µs for 2048 keys and 22 µs for 4096. Eight spans take an eighth of that, or what the GPU's memory allows (4096 keys
// are 6.3 MB: 6 µs at 1 TB/s), and a second launch, 5 to 10 µs. So rows of more than 2048 keys are split (WHOLE), and only
// where fewer than 16 workgroups would be at work: 16 of them draw 1.5 TB/s by themselves.
// At the end of a span the groups are added: 9 barriers with 3 heads, and 48 reads of workgroup memory by 16 invocations,
// beside 3 barriers a block of 128 keys. A row of up to 2048 keys has that once, one that is walked over unsplit at most
// eight times.
// Reads and writes of workgroup memory per block and invocation: about 30 vec4 (12 of them queries), for 192 multiply-adds
// with 3 heads. Workgroup memory: 14848 bytes.
//
// Entry point: attention_decode. HEAD_DIM a multiple of 4, at most 256. Needs include/rows and include/attention_spans.

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> cache: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> spans: array<vec4<f32>>;

const LANES = 256u;
const LEAST = -3e38;

// [SHARED][4 PARTS], scaled; zero past the end of a head.
var<workgroup> queries: array<vec4<f32>, 128>;
// [PARTS][KEYS] scores of up to four heads, lines `pitch()` apart; at the end outputs, [GROUPS][4 PARTS].
var<workgroup> partial: array<vec4<f32>, 528>;
// [KEYS] of up to four heads; at the end sums, [GROUPS].
var<workgroup> scores: array<vec4<f32>, 128>;
var<workgroup> chances: array<vec4<f32>, 128>;
// [GROUPS]: the factors on what a group has summed; at the end its largest score.
var<workgroup> fades: array<vec4<f32>, 16>;

// Keys that all invocations together score at a time.
fn half_block() -> u32 {
    return 4u * GROUPS;
}

// The parts of a key lie in different banks of workgroup memory.
fn pitch() -> u32 {
    return block_keys() + max(1u, 8u / PARTS);
}

// Offset in the cache of the key at a position, in vec4.
fn place(sequence: Sequence, position: u32) -> u32 {
    return kv_index(sequence, position) * (2u * KV_HEADS * HEAD_DIM / 4u);
}

// What an invocation has read of a block.
struct Reads {
    r0: vec4<f32>,
    r1: vec4<f32>,
    r2: vec4<f32>,
    r3: vec4<f32>,
    r4: vec4<f32>,
    r5: vec4<f32>,
    r6: vec4<f32>,
    r7: vec4<f32>,
}

// The four vec4 at offsets `at` of the key at a position and of that half a block later. Past the last key the last one
// again, here and for values.
fn read_keys(sequence: Sequence, position: u32, keys: u32, at: vec4<u32>) -> Reads {
    let a = vec4(place(sequence, min(position, keys - 1u))) + at;
    let b = vec4(place(sequence, min(position + half_block(), keys - 1u))) + at;
    return Reads(cache[a.x], cache[a.y], cache[a.z], cache[a.w], cache[b.x], cache[b.y], cache[b.z], cache[b.w]);
}

fn value(sequence: Sequence, position: u32, keys: u32, at: u32) -> vec4<f32> {
    return cache[place(sequence, min(position, keys - 1u)) + at];
}

// The vec4 at offset `at` of eight values, GROUPS positions from one to the next.
fn read_values(sequence: Sequence, position: u32, keys: u32, at: u32) -> Reads {
    return Reads(
        value(sequence, position, keys, at),
        value(sequence, position + GROUPS, keys, at),
        value(sequence, position + 2u * GROUPS, keys, at),
        value(sequence, position + 3u * GROUPS, keys, at),
        value(sequence, position + 4u * GROUPS, keys, at),
        value(sequence, position + 5u * GROUPS, keys, at),
        value(sequence, position + 6u * GROUPS, keys, at),
        value(sequence, position + 7u * GROUPS, keys, at),
    );
}

// Scores of two keys.
struct Two {
    a: vec4<f32>,
    b: vec4<f32>,
}

// Adds the products of four elements of two keys with those of the queries at offset `at`.
fn score(sum: Two, a: vec4<f32>, b: vec4<f32>, at: u32) -> Two {
    var s = sum;
    let q0 = queries[at];
    s.a.x += dot(q0, a);
    s.b.x += dot(q0, b);
    if SHARED > 1u {
        let q1 = queries[4u * PARTS + at];
        s.a.y += dot(q1, a);
        s.b.y += dot(q1, b);
    }
    if SHARED > 2u {
        let q2 = queries[8u * PARTS + at];
        s.a.z += dot(q2, a);
        s.b.z += dot(q2, b);
    }
    if SHARED > 3u {
        let q3 = queries[12u * PARTS + at];
        s.a.w += dot(q3, a);
        s.b.w += dot(q3, b);
    }
    return s;
}

// Four elements of four heads.
struct Heads {
    h0: vec4<f32>,
    h1: vec4<f32>,
    h2: vec4<f32>,
    h3: vec4<f32>,
}

fn faded(sum: Heads, fade: vec4<f32>) -> Heads {
    return Heads(sum.h0 * fade.x, sum.h1 * fade.y, sum.h2 * fade.z, sum.h3 * fade.w);
}

fn weigh(sum: Heads, p: vec4<f32>, v: vec4<f32>) -> Heads {
    var s = sum;
    s.h0 += p.x * v;
    if SHARED > 1u {
        s.h1 += p.y * v;
    }
    if SHARED > 2u {
        s.h2 += p.z * v;
    }
    if SHARED > 3u {
        s.h3 += p.w * v;
    }
    return s;
}

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

@compute @workgroup_size(LANES)
fn attention_decode(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let depth = HEAD_DIM / 4u;
    let sharing = HEADS / KV_HEADS;
    let kv_head = group.x / shares();
    let first_head = kv_head * sharing + group.x % shares() * SHARED;
    // The last share of a key head may have fewer heads; the last one then stands in for those missing.
    let heads = min(SHARED, (kv_head + 1u) * sharing - first_head);
    let row = rows[group.y];
    let sequence = sequences[row.sequence];
    let all_keys = row.position + 1u;
    let span = span_keys(all_keys);
    let split = groups.z > 1u;
    // The keys that this workgroup goes over: from `first` up to `keys`.
    let first = select(0u, group.z * span, split);
    let keys = select(all_keys, min(first + span, all_keys), split);
    if first >= keys {
        return;
    }
    for (var i = lane; i < SHARED * 4u * PARTS; i += LANES) {
        let head = first_head + min(i / (4u * PARTS), heads - 1u);
        let d = i % (4u * PARTS);
        let q = qkv[(group.y * (HEADS + 2u * KV_HEADS) + head) * depth + min(d, depth - 1u)];
        queries[i] = select(vec4(0.0), q * inverseSqrt(f32(HEAD_DIM)), d < depth);
    }
    workgroupBarrier();

    // As a scorer: the key in the first half of a block, and the offsets of the part.
    let scorer = lane / PARTS;
    let part = lane % PARTS;
    let offsets = vec4(part) + vec4(0u, 1u, 2u, 3u) * PARTS;
    let k_at = vec4(kv_head * depth) + min(offsets, vec4(depth - 1u));
    // As a weigher of one key: the largest score of the key's group so far.
    var largest = vec4(LEAST);
    // As a summer of values.
    let member = min(lane / (4u * PARTS), GROUPS - 1u);
    let v_at = (KV_HEADS + kv_head) * depth + min(lane % (4u * PARTS), depth - 1u);
    var total = vec4(0.0);
    var sum = Heads();
    var earlier: Earlier;

    var k = read_keys(sequence, first + scorer, keys, k_at);
    var v = read_values(sequence, first + member, keys, v_at);
    for (var begin = first; begin < keys; begin += span) {
        let end = min(begin + span, keys);
        for (var start = begin; start < end; start += block_keys()) {
            let next = start + block_keys();
            var s = score(Two(), k.r0, k.r4, offsets.x);
            s = score(s, k.r1, k.r5, offsets.y);
            s = score(s, k.r2, k.r6, offsets.z);
            s = score(s, k.r3, k.r7, offsets.w);
            if next < keys {
                k = read_keys(sequence, next + scorer, keys, k_at);
            }
            if scorer < half_block() {
                partial[part * pitch() + scorer] = s.a;
                partial[part * pitch() + scorer + half_block()] = s.b;
            }
            workgroupBarrier();
            let seen = lane < block_keys() && start + lane < keys;
            var whole = vec4(LEAST);
            if lane < block_keys() {
                if seen {
                    whole = vec4(0.0);
                    for (var p = 0u; p < PARTS; p++) {
                        whole += partial[p * pitch() + lane];
                    }
                }
                scores[lane] = whole;
            }
            workgroupBarrier();
            if lane < block_keys() {
                let before = largest;
                for (var i = lane % GROUPS; i < block_keys(); i += 4u * GROUPS) {
                    let two = max(scores[i], scores[i + GROUPS]);
                    largest = max(largest, max(two, max(scores[i + 2u * GROUPS], scores[i + 3u * GROUPS])));
                }
                chances[lane] = select(vec4(0.0), exp(whole - largest), seen);
                if lane < GROUPS {
                    fades[lane] = exp(before - largest);
                }
            }
            workgroupBarrier();
            let fade = fades[member];
            let p0 = chances[member];
            let p1 = chances[member + GROUPS];
            let p2 = chances[member + 2u * GROUPS];
            let p3 = chances[member + 3u * GROUPS];
            let p4 = chances[member + 4u * GROUPS];
            let p5 = chances[member + 5u * GROUPS];
            let p6 = chances[member + 6u * GROUPS];
            let p7 = chances[member + 7u * GROUPS];
            total = total * fade + (((p0 + p1) + (p2 + p3)) + ((p4 + p5) + (p6 + p7)));
            sum = weigh(weigh(faded(sum, fade), p0, v.r0), p1, v.r1);
            sum = weigh(weigh(sum, p2, v.r2), p3, v.r3);
            sum = weigh(weigh(sum, p4, v.r4), p5, v.r5);
            sum = weigh(weigh(sum, p6, v.r6), p7, v.r7);
            if next < keys {
                v = read_values(sequence, next + member, keys, v_at);
            }
        }

        let ended = end_span(largest, total, sum, member, lane);
        if split {
            leave(span_at(group.y, group.x, group.z), ended, lane);
            return;
        }
        if lane < depth {
            let o = (group.y * HEADS + first_head) * depth + lane;
            earlier = add_spans(earlier, ended, o, heads, begin == 0u, end == keys);
        }
        largest = vec4(LEAST);
        total = vec4(0.0);
        sum = Heads();
        workgroupBarrier();
    }
}
