// A decoded row's walk over its keys, for attention_decode.wgsl and attention_step.wgsl, on GPUs: a workgroup takes one row
// and the heads that share keys, up to four (two above HEAD_DIM 128), so that keys and values are read once for all of them.
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
// with 3 heads. Workgroup memory: 15872 bytes.
// Needs include/rows, include/attention_spans, include/attention_span_end and `cache`, [indices, 2 KV_HEADS HEAD_DIM], keys first, as vec4.

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
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
// The row's own key, turned, where it is not in the cache yet.
var<workgroup> own_key: array<vec4<f32>, 64>;
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

// What a workgroup does: of the row at group.y the keys from `first` up to `keys`, for `heads` heads from `first_head` on.
struct Work {
    row: u32,
    position: u32,
    sequence: Sequence,
    kv_head: u32,
    first_head: u32,
    // The last share of a key head may have fewer heads; the last one then stands in for those missing.
    heads: u32,
    span: u32,
    first: u32,
    keys: u32,
    split: bool,
}

fn work_of(group: vec3<u32>, groups: vec3<u32>) -> Work {
    let sharing = HEADS / KV_HEADS;
    let kv_head = group.x / shares();
    let first_head = kv_head * sharing + group.x % shares() * SHARED;
    let row = rows[group.y];
    let all_keys = row.position + 1u;
    let span = span_keys(all_keys);
    let split = groups.z > 1u;
    let first = select(0u, group.z * span, split);
    let keys = select(all_keys, min(first + span, all_keys), split);
    let heads = min(SHARED, (kv_head + 1u) * sharing - first_head);
    return Work(
        group.y, row.position, sequences[row.sequence], kv_head, first_head, heads, span, first, keys, split,
    );
}

// Offset in qkv of a head of the row: queries, then keys, then values.
fn head_at(work: Work, head: u32) -> u32 {
    return (work.row * (HEADS + 2u * KV_HEADS) + head) * (HEAD_DIM / 4u);
}

// The row's own key in place of what was read of those from position `own` on: of the last key, and of what is past it.
fn with_own_key(k: Reads, position: u32, own: u32, at: vec4<u32>) -> Reads {
    var r = k;
    if position >= own {
        r.r0 = own_key[at.x];
        r.r1 = own_key[at.y];
        r.r2 = own_key[at.z];
        r.r3 = own_key[at.w];
    }
    if position + half_block() >= own {
        r.r4 = own_key[at.x];
        r.r5 = own_key[at.y];
        r.r6 = own_key[at.z];
        r.r7 = own_key[at.w];
    }
    return r;
}

fn with_own_value(v: Reads, position: u32, own: u32, value: vec4<f32>) -> Reads {
    return Reads(
        select(v.r0, value, position >= own),
        select(v.r1, value, position + GROUPS >= own),
        select(v.r2, value, position + 2u * GROUPS >= own),
        select(v.r3, value, position + 3u * GROUPS >= own),
        select(v.r4, value, position + 4u * GROUPS >= own),
        select(v.r5, value, position + 5u * GROUPS >= own),
        select(v.r6, value, position + 6u * GROUPS >= own),
        select(v.r7, value, position + 7u * GROUPS >= own),
    );
}

// Brings the queries to workgroup memory. `query_of(work, at, d)` of the shader is four elements from 4 d on of the head at
// offset `at` of qkv.
fn stage_queries(work: Work, lane: u32) {
    let depth = HEAD_DIM / 4u;
    for (var i = lane; i < SHARED * 4u * PARTS; i += LANES) {
        let head = work.first_head + min(i / (4u * PARTS), work.heads - 1u);
        let d = i % (4u * PARTS);
        let q = query_of(work, head_at(work, head), min(d, depth - 1u));
        queries[i] = select(vec4(0.0), q * inverseSqrt(f32(HEAD_DIM)), d < depth);
    }
}

// Goes over the keys, once the queries are in workgroup memory. The first `stored` of the row are in the cache; where one is
// not, `own_key` and qkv have it.
fn walk(work: Work, stored: u32, group: vec3<u32>, lane: u32) {
    let depth = HEAD_DIM / 4u;
    workgroupBarrier();

    // As a scorer: the key in the first half of a block, and the offsets of the part.
    let scorer = lane / PARTS;
    let part = lane % PARTS;
    let offsets = vec4(part) + vec4(0u, 1u, 2u, 3u) * PARTS;
    let in_head = min(offsets, vec4(depth - 1u));
    let k_at = vec4(work.kv_head * depth) + in_head;
    // As a weigher of one key: the largest score of the key's group so far.
    var largest = vec4(LEAST);
    // As a summer of values.
    let member = min(lane / (4u * PARTS), GROUPS - 1u);
    let v_in_head = min(lane % (4u * PARTS), depth - 1u);
    let v_at = (KV_HEADS + work.kv_head) * depth + v_in_head;
    var total = vec4(0.0);
    var sum = Heads();
    var earlier: Earlier;

    let cached = min(work.keys, stored);
    var k: Reads;
    var v: Reads;
    if work.first < cached {
        k = read_keys(work.sequence, work.first + scorer, cached, k_at);
        v = read_values(work.sequence, work.first + member, cached, v_at);
    }
    for (var begin = work.first; begin < work.keys; begin += work.span) {
        let end = min(begin + work.span, work.keys);
        for (var start = begin; start < end; start += block_keys()) {
            let next = start + block_keys();
            if min(next, work.keys) > stored {
                let value = qkv[head_at(work, HEADS + KV_HEADS + work.kv_head) + v_in_head];
                k = with_own_key(k, start + scorer, stored, in_head);
                v = with_own_value(v, start + member, stored, value);
            }
            var s = score(Two(), k.r0, k.r4, offsets.x);
            s = score(s, k.r1, k.r5, offsets.y);
            s = score(s, k.r2, k.r6, offsets.z);
            s = score(s, k.r3, k.r7, offsets.w);
            if next < cached {
                k = read_keys(work.sequence, next + scorer, cached, k_at);
            }
            if scorer < half_block() {
                partial[part * pitch() + scorer] = s.a;
                partial[part * pitch() + scorer + half_block()] = s.b;
            }
            workgroupBarrier();
            let seen = lane < block_keys() && start + lane < work.keys;
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
            if next < cached {
                v = read_values(work.sequence, next + member, cached, v_at);
            }
        }

        let ended = end_span(largest, total, sum, member, lane);
        if work.split {
            leave(span_at(group.y, group.x, group.z), ended, lane);
            return;
        }
        if lane < depth {
            let o = (work.row * HEADS + work.first_head) * depth + lane;
            earlier = add_spans(earlier, ended, o, work.heads, begin == 0u, end == work.keys);
        }
        largest = vec4(LEAST);
        total = vec4(0.0);
        sum = Heads();
        workgroupBarrier();
    }
}
