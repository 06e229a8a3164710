// The attention of attention.wgsl, same shapes, for GPUs and many rows (prefill, training); count.x = rows.
// A workgroup takes 32 pairs of a row and a head: neighbouring rows of up to four heads that share keys. It walks over the
// keys in blocks of 32, staged in workgroup memory and read once for all its pairs, with the online softmax; no score
// leaves the workgroup. include/score_block.wgsl counts reads.
// Rows of a tile may belong to different sequences. The workgroup walks once over the runs of keys that neighbouring rows
// have in common (include/pair_tile.wgsl), first over those of prefixes, then over the rows' own, and to pairs that do not
// see a key the key weighs 0. Blocks begin at whole multiples of 32 positions, and a key of weight 0 changes no bit, so
// that a row has the same bits whatever rows stand beside it and whatever part of its keys is a shared prefix.
// Workgroup memory: 15616 bytes. Entry points: attention_blocks; attention_blocks_lse writes lse, too. HEAD_DIM a multiple
// of 4, at most 256. Needs include/rows, include/pair_tile and include/score_block.

override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
// Heads taken together.
override SHARED: u32 = 1u;

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> cache: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<uniform> count: vec4<u32>;

const LEAST = -3e38;

// One vec4 an invocation, for those of the same own lines.
const EXCHANGE_PITCH = 17u;
var<workgroup> exchange: array<vec4<f32>, 8u * EXCHANGE_PITCH>;

fn query_at(tile: Tile, pair: u32) -> u32 {
    let at = pair_at(tile, pair);
    return (at.x * (HEADS + 2u * KV_HEADS) + at.y) * (HEAD_DIM / 4u);
}

// Offset of a head of the cache at an index; value heads follow the key heads.
fn cache_at(index: u32, head: u32) -> u32 {
    return (index * 2u * KV_HEADS + head) * (HEAD_DIM / 4u);
}

// Reads one slice of the queries and keys at these offsets; past the end of a head zeroes for the queries.
fn read_slice(at: vec4<u32>, slice: u32, lane: u32) -> Square {
    let d = min(slice + lane % SLICE, HEAD_DIM / 4u - 1u);
    let scale = select(0.0, inverseSqrt(f32(HEAD_DIM)), slice + lane % SLICE < HEAD_DIM / 4u);
    return Square(qkv[at.x + d] * scale, qkv[at.y + d] * scale, cache[at.z + d], cache[at.w + d]);
}

fn read_values(at: vec4<u32>, slice: u32, lane: u32) -> Square {
    let d = min(slice + lane % WIDE_SLICE, HEAD_DIM / 4u - 1u);
    return Square(cache[at.x + d], cache[at.y + d], cache[at.z + d], cache[at.w + d]);
}

fn keep(pairs: Pairs, d: u32, sum: Square) {
    let depth = HEAD_DIM / 4u;
    let o = (pairs.rows * HEADS + pairs.heads) * depth + d;
    if d < depth && pairs.real.x {
        out[o.x] = sum.r0;
    }
    if d < depth && pairs.real.y {
        out[o.y] = sum.r1;
    }
    if d < depth && pairs.real.z {
        out[o.z] = sum.r2;
    }
    if d < depth && pairs.real.w {
        out[o.w] = sum.r3;
    }
}

// Computes the tile; returns the log-sum-exp of the invocation's pairs.
fn attend(tile: Tile, pairs: Pairs, lane: u32) -> vec4<f32> {
    let depth = HEAD_DIM / 4u;
    let at = place_of(lane);
    let line = lane / SLICE;
    let queries = vec2(query_at(tile, line), query_at(tile, line + 16u));
    var largest = vec4(LEAST);
    // The sum over the keys that this invocation scores; all are added at the end.
    var total = vec4(0.0);
    var sum0 = Square();
    var sum1 = Square();
    var sum2 = Square();
    var sum3 = Square();
    for (var second = 0u; second < 2u; second++) {
        let lengths = lengths_of(pairs, second == 1u);
        var first = tile.first_row;
        while first < tile.end_row {
            let company = company_of(first, tile.end_row, second == 1u);
            let seen = lengths_in(company, first, pairs, lengths);
            first = company.end;
            for (var start = 0u; start < company.length; start += LINES) {
                let keys = min(LINES, company.length - start);
                let slice_at = vec4(
                    queries,
                    cache_at(index_in(company, start + min(line, keys - 1u)), tile.key_head),
                    cache_at(index_in(company, start + min(line + 16u, keys - 1u)), tile.key_head),
                );
                var s = Scores();
                var read = read_slice(slice_at, 0u, lane);
                for (var slice = 0u; slice < depth; slice += SLICE) {
                    stage_slice(lane, read);
                    if slice + SLICE < depth {
                        read = read_slice(slice_at, slice + SLICE, lane);
                    }
                    s = add_products(s, at, min(SLICE, depth - slice));
                }
                let lines = indices_in(company, vec4(start) + wide_lines(lane, keys));
                let head = KV_HEADS + tile.key_head;
                let values = vec4(
                    cache_at(lines.x, head), cache_at(lines.y, head), cache_at(lines.z, head), cache_at(lines.w, head),
                );
                read = read_values(values, 0u, lane);
                let seen_a = vec4(start + at.other) < seen;
                let seen_b = vec4(start + at.other + 16u) < seen;
                s.a = select(vec4(LEAST), s.a, seen_a);
                s.b = select(vec4(LEAST), s.b, seen_b);
                exchange[at.own * EXCHANGE_PITCH + at.other] = max(s.a, s.b);
                workgroupBarrier();
                let before = largest;
                for (var i = at.own * EXCHANGE_PITCH; i < at.own * EXCHANGE_PITCH + 16u; i += 4u) {
                    let four = max(max(exchange[i], exchange[i + 1u]), max(exchange[i + 2u], exchange[i + 3u]));
                    largest = max(largest, four);
                }
                let a = select(vec4(0.0), exp(s.a - largest), seen_a);
                let b = select(vec4(0.0), exp(s.b - largest), seen_b);
                set_weights(at, a, b);
                let fade = exp(before - largest);
                total = total * fade + (a + b);
                stage_wide(lane, read);
                if depth > WIDE_SLICE {
                    read = read_values(values, WIDE_SLICE, lane);
                }
                sum0 = add_weighted(scaled(sum0, fade), at, keys);
                if depth > WIDE_SLICE {
                    stage_wide(lane, read);
                    if depth > 2u * WIDE_SLICE {
                        read = read_values(values, 2u * WIDE_SLICE, lane);
                    }
                    sum1 = add_weighted(scaled(sum1, fade), at, keys);
                }
                if depth > 2u * WIDE_SLICE {
                    stage_wide(lane, read);
                    if depth > 3u * WIDE_SLICE {
                        read = read_values(values, 3u * WIDE_SLICE, lane);
                    }
                    sum2 = add_weighted(scaled(sum2, fade), at, keys);
                }
                if depth > 3u * WIDE_SLICE {
                    stage_wide(lane, read);
                    sum3 = add_weighted(scaled(sum3, fade), at, keys);
                }
            }
        }
    }
    workgroupBarrier();
    exchange[at.own * EXCHANGE_PITCH + at.other] = total;
    workgroupBarrier();
    total = vec4(0.0);
    for (var i = 0u; i < 16u; i++) {
        total += exchange[at.own * EXCHANGE_PITCH + i];
    }
    keep(pairs, at.other, scaled(sum0, 1.0 / total));
    if depth > WIDE_SLICE {
        keep(pairs, WIDE_SLICE + at.other, scaled(sum1, 1.0 / total));
    }
    if depth > 2u * WIDE_SLICE {
        keep(pairs, 2u * WIDE_SLICE + at.other, scaled(sum2, 1.0 / total));
    }
    if depth > 3u * WIDE_SLICE {
        keep(pairs, 3u * WIDE_SLICE + at.other, scaled(sum3, 1.0 / total));
    }
    return largest + log(total);
}

@compute @workgroup_size(LANES)
fn attention_blocks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group, HEADS / KV_HEADS);
    _ = attend(tile, pairs_from(tile, 4u * place_of(lane).own), lane);
}

@compute @workgroup_size(LANES)
fn attention_blocks_lse(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group, HEADS / KV_HEADS);
    let pairs = pairs_from(tile, 4u * place_of(lane).own);
    let value = attend(tile, pairs, lane);
    if place_of(lane).other == 0u {
        for (var i = 0u; i < 4u; i++) {
            if pairs.real[i] {
                lse[pairs.rows[i] * HEADS + pairs.heads[i]] = value[i];
            }
        }
    }
}
