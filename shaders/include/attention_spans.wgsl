// Decoded rows and their keys, for attention_decode.wgsl and attention_combine.wgsl: how a row's keys are divided into
// spans, what is kept of a span, and how one is added to those before it.
// A row of up to WHOLE keys has one span. A longer one has up to SPANS of equal length, in whole blocks of keys. That
// depends on the number of keys alone, and spans are added in their order by the same expressions, whether one workgroup
// goes over all of them or each has its own: a row has the same bits in every batch.

override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
// Heads taken together: a share of those that have a key head in common.
override SHARED: u32 = 1u;
// Invocations that score one key.
override PARTS: u32 = (HEAD_DIM + 15u) / 16u;
// Groups that sum values, of 4 PARTS invocations.
override GROUPS: u32 = min(64u / PARTS, 16u);
override SPANS: u32;
override WHOLE: u32;

// Keys of a block.
fn block_keys() -> u32 {
    return 8u * GROUPS;
}

// Keys of each span but the last one, of a row with so many.
fn span_keys(keys: u32) -> u32 {
    let block = block_keys();
    return select((keys + SPANS * block - 1u) / (SPANS * block) * block, WHOLE, keys <= WHOLE);
}

// Shares of a key head.
fn shares() -> u32 {
    return (HEADS / KV_HEADS + SHARED - 1u) / SHARED;
}

// Where the scratch holds a span of a row's share, in vec4: outputs [SHARED][HEAD_DIM], not yet divided, then the largest
// score and the sum of exponentials of each head.
fn span_at(row: u32, share: u32, span: u32) -> u32 {
    return ((row * KV_HEADS * shares() + share) * SPANS + span) * (SHARED * HEAD_DIM / 4u + 2u);
}

// Some keys of one head: the largest score, the sum of the exponentials of scores beside it, and four elements of the
// output, not yet divided by that sum.
struct Span {
    largest: f32,
    total: f32,
    sum: vec4<f32>,
}

// What is rounded where is spelt out, so that no compiler fuses it in one kernel and not in the other.
fn with_next(before: Span, next: Span) -> Span {
    let largest = max(before.largest, next.largest);
    let fade = exp(before.largest - largest);
    let weight = exp(next.largest - largest);
    return Span(largest, fma(before.total, fade, next.total * weight), fma(before.sum, vec4(fade), next.sum * weight));
}
