// Blocks of 32 x 32 scores in workgroup memory, for attention on GPUs: 32 own lines of a workgroup (pairs of a row and a
// head, or keys) against 32 others (keys, or pairs). Of the 128 invocations, 16 share four own lines: each scores them
// against two others (6 vec4 read for every 32 multiply-adds), and then sums four elements of the others, weighted
// (2 vec4 for every 16).
// Lines lie an odd number of vec4 apart, so that invocations beside each other read from different banks. What is staged
// next is read into registers before the products with what is staged now. Loops go four steps at a time: wgpu counts
// every trip around a loop.
// Workgroup memory: 13440 bytes.

const LANES = 128u;
const LINES = 32u;
// Elements of a line that are staged at a time, in vec4: for scores and for sums.
const SLICE = 8u;
const WIDE_SLICE = 16u;

const PITCH = SLICE + 1u;
const OTHERS = LINES * PITCH;
const WEIGHTS_PITCH = LINES + 1u;

// A slice of the own lines, then one of the others; or a wide slice of the others, [LINES][WIDE_SLICE].
var<workgroup> staged: array<vec4<f32>, 2u * LINES * PITCH>;
// [LINES / 4][LINES]: what four own lines weigh each other line by.
var<workgroup> weights: array<vec4<f32>, LINES / 4u * WEIGHTS_PITCH>;

// The places of an invocation: its own lines are 4 own .. 4 own + 4; the others it scores are `other` and other + 16, and
// the vec4 it sums is `other` of a wide slice.
struct Place {
    own: u32,
    other: u32,
}

fn place_of(lane: u32) -> Place {
    return Place(lane / 16u, lane % 16u);
}

// Four vec4: of the four own lines, or four that an invocation stages.
struct Square {
    r0: vec4<f32>,
    r1: vec4<f32>,
    r2: vec4<f32>,
    r3: vec4<f32>,
}

// Stages a slice of scores: element lane % SLICE of own lines lane / SLICE and 16 after it, and of the same others.
fn stage_slice(lane: u32, read: Square) {
    let at = lane / SLICE * PITCH + lane % SLICE;
    workgroupBarrier();
    staged[at] = read.r0;
    staged[at + 16u * PITCH] = read.r1;
    staged[OTHERS + at] = read.r2;
    staged[OTHERS + at + 16u * PITCH] = read.r3;
    workgroupBarrier();
}

// Stages a wide slice: element lane % WIDE_SLICE of others lane / WIDE_SLICE and every 8th after it.
fn stage_wide(lane: u32, read: Square) {
    workgroupBarrier();
    staged[lane] = read.r0;
    staged[lane + LANES] = read.r1;
    staged[lane + 2u * LANES] = read.r2;
    staged[lane + 3u * LANES] = read.r3;
    workgroupBarrier();
}

// The others of which an invocation stages a wide slice; past the last of `lines` the last one again.
fn wide_lines(lane: u32, lines: u32) -> vec4<u32> {
    return min(vec4(lane / WIDE_SLICE) + vec4(0u, 8u, 16u, 24u), vec4(lines - 1u));
}

// Scores of the four own lines with the two others.
struct Scores {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn add_product(sum: Scores, own: u32, a: u32, b: u32) -> Scores {
    let lines = mat4x4(staged[own], staged[own + PITCH], staged[own + 2u * PITCH], staged[own + 3u * PITCH]);
    return Scores(sum.a + staged[a] * lines, sum.b + staged[b] * lines);
}

// Adds the products over the first `width` elements of the staged slices, in whole fours: past `width` the
// own lines or the others are zero.
fn add_products(sum: Scores, at: Place, width: u32) -> Scores {
    var s = sum;
    let own = 4u * at.own * PITCH;
    let a = OTHERS + at.other * PITCH;
    let b = a + 16u * PITCH;
    for (var e = 0u; e < width; e += 4u) {
        s = add_product(s, own + e, a + e, b + e);
        s = add_product(s, own + e + 1u, a + e + 1u, b + e + 1u);
        s = add_product(s, own + e + 2u, a + e + 2u, b + e + 2u);
        s = add_product(s, own + e + 3u, a + e + 3u, b + e + 3u);
    }
    return s;
}

// Seen by all after the next barrier; none may still need the weights before.
fn set_weights(at: Place, a: vec4<f32>, b: vec4<f32>) {
    weights[at.own * WEIGHTS_PITCH + at.other] = a;
    weights[at.own * WEIGHTS_PITCH + at.other + 16u] = b;
}

fn scaled(sum: Square, by: vec4<f32>) -> Square {
    return Square(sum.r0 * by.x, sum.r1 * by.y, sum.r2 * by.z, sum.r3 * by.w);
}

fn add_line(sum: Square, w: vec4<f32>, x: vec4<f32>) -> Square {
    return Square(sum.r0 + w.x * x, sum.r1 + w.y * x, sum.r2 + w.z * x, sum.r3 + w.w * x);
}

// Adds the staged wide slice of the first `lines` others, weighted, line by line, in whole fours: past `lines` weights are
// zero.
fn add_weighted(sum: Square, at: Place, lines: u32) -> Square {
    var s = sum;
    for (var i = 0u; i < lines; i += 4u) {
        let w = at.own * WEIGHTS_PITCH + i;
        let x = i * WIDE_SLICE + at.other;
        s = add_line(s, weights[w], staged[x]);
        s = add_line(s, weights[w + 1u], staged[x + WIDE_SLICE]);
        s = add_line(s, weights[w + 2u], staged[x + 2u * WIDE_SLICE]);
        s = add_line(s, weights[w + 3u], staged[x + 3u * WIDE_SLICE]);
    }
    return s;
}
