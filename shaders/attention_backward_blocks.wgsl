// dq and dk, dv of attention_backward.wgsl, same maths, shapes and bindings, for GPUs: 32 lines a workgroup, in blocks of
// 32 x 32 scores, of which none leaves the workgroup. include/score_block.wgsl counts reads. Every sum runs in the order of
// its keys, or of its pairs of a row and a head, and what a line does not see adds zeroes, so that a sequence has the
// same bits wherever it stands in the batch.
// Entry points:
//   queries_by_block  32 pairs of a row and a head that share keys; walks over runs of keys as attention_blocks.wgsl does
//   keys_by_block     32 keys of one key head, which walk over all pairs of a row and one of their GROUP heads. A workgroup
//                     sums dv (x even) or dk (x odd), so that sums of both do not have to share registers, and more
//                     workgroups share the longest walk, that of a shared prefix; the price is a fifth product in place
//                     of four
// Needs include/rows, include/attention_gradient, include/pair_tile and include/score_block.

// Reads one slice of two lines of pairs and two of keys or values; past the end of a line zeroes for the pairs.
fn read_queries_and_keys(at: vec4<u32>, slice: u32, lane: u32) -> Square {
    let d = min(slice + lane % SLICE, HEAD_DIM / 4u - 1u);
    let inside = slice + lane % SLICE < HEAD_DIM / 4u;
    return Square(
        select(vec4(0.0), qkv[at.x + d], inside), select(vec4(0.0), qkv[at.y + d], inside),
        kv[at.z + d], kv[at.w + d],
    );
}

fn read_upstream_and_values(at: vec4<u32>, slice: u32, lane: u32) -> Square {
    let d = min(slice + lane % SLICE, HEAD_DIM / 4u - 1u);
    let inside = slice + lane % SLICE < HEAD_DIM / 4u;
    return Square(
        select(vec4(0.0), upstream[at.x + d], inside), select(vec4(0.0), upstream[at.y + d], inside),
        kv[at.z + d], kv[at.w + d],
    );
}

// Own lines and others the other way round.
fn swapped(read: Square) -> Square {
    return Square(read.r2, read.r3, read.r0, read.r1);
}

// Scores q . k of pairs (own lines) and keys at these offsets; or, where `keys_own`, of keys and pairs.
fn scores_of(at: vec4<u32>, keys_own: bool, place: Place, lane: u32) -> Scores {
    let depth = HEAD_DIM / 4u;
    var s = Scores();
    var read = read_queries_and_keys(at, 0u, lane);
    for (var slice = 0u; slice < depth; slice += SLICE) {
        if keys_own {
            read = swapped(read);
        }
        stage_slice(lane, read);
        if slice + SLICE < depth {
            read = read_queries_and_keys(at, slice + SLICE, lane);
        }
        s = add_products(s, place, min(SLICE, depth - slice));
    }
    return s;
}

// The same for do . v.
fn value_scores_of(at: vec4<u32>, keys_own: bool, place: Place, lane: u32) -> Scores {
    let depth = HEAD_DIM / 4u;
    var s = Scores();
    var read = read_upstream_and_values(at, 0u, lane);
    for (var slice = 0u; slice < depth; slice += SLICE) {
        if keys_own {
            read = swapped(read);
        }
        stage_slice(lane, read);
        if slice + SLICE < depth {
            read = read_upstream_and_values(at, slice + SLICE, lane);
        }
        s = add_products(s, place, min(SLICE, depth - slice));
    }
    return s;
}

// Wide slices of four lines.
fn read_keys(at: vec4<u32>, slice: u32, lane: u32) -> Square {
    let d = min(slice + lane % WIDE_SLICE, HEAD_DIM / 4u - 1u);
    return Square(kv[at.x + d], kv[at.y + d], kv[at.z + d], kv[at.w + d]);
}

fn read_queries(at: vec4<u32>, slice: u32, lane: u32) -> Square {
    let d = min(slice + lane % WIDE_SLICE, HEAD_DIM / 4u - 1u);
    return Square(qkv[at.x + d], qkv[at.y + d], qkv[at.z + d], qkv[at.w + d]);
}

fn read_upstream(at: vec4<u32>, slice: u32, lane: u32) -> Square {
    let d = min(slice + lane % WIDE_SLICE, HEAD_DIM / 4u - 1u);
    return Square(upstream[at.x + d], upstream[at.y + d], upstream[at.z + d], upstream[at.w + d]);
}

// Sums of whole lines, a wide slice each.
struct Sums {
    s0: Square,
    s1: Square,
    s2: Square,
    s3: Square,
}

// Writes elements of the sums at these offsets of dqkv.
fn keep_slice(at: vec4<u32>, real: vec4<bool>, d: u32, sum: Square) {
    let inside = d < HEAD_DIM / 4u;
    if inside && real.x {
        dqkv[at.x + d] = sum.r0;
    }
    if inside && real.y {
        dqkv[at.y + d] = sum.r1;
    }
    if inside && real.z {
        dqkv[at.z + d] = sum.r2;
    }
    if inside && real.w {
        dqkv[at.w + d] = sum.r3;
    }
}

fn keep(at: vec4<u32>, real: vec4<bool>, d: u32, sums: Sums) {
    keep_slice(at, real, d, sums.s0);
    keep_slice(at, real, d + WIDE_SLICE, sums.s1);
    keep_slice(at, real, d + 2u * WIDE_SLICE, sums.s2);
    keep_slice(at, real, d + 3u * WIDE_SLICE, sums.s3);
}

fn qkv_at_each(rows: vec4<u32>, heads: vec4<u32>) -> vec4<u32> {
    return (rows * ((GROUP + 2u) * KV_HEADS) + heads) * (HEAD_DIM / 4u);
}

// Statistics of four pairs.
struct Stats {
    lse: vec4<f32>,
    d: vec4<f32>,
}

fn stats_of(pairs: Pairs) -> Stats {
    var found = Stats();
    for (var i = 0u; i < 4u; i++) {
        if pairs.real[i] {
            let one = stats[pairs.rows[i] * GROUP * KV_HEADS + pairs.heads[i]];
            found.lse[i] = one.x;
            found.d[i] = one.y;
        }
    }
    return found;
}

@compute @workgroup_size(LANES)
fn queries_by_block(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let depth = HEAD_DIM / 4u;
    let tile = tile_of(group, GROUP);
    let place = place_of(lane);
    let pairs = pairs_from(tile, 4u * place.own);
    let of_pairs = stats_of(pairs);
    let line = lane / SLICE;
    let pair0 = pair_at(tile, line);
    let pair1 = pair_at(tile, line + 16u);
    let q = vec2(qkv_at(pair0.x, pair0.y), qkv_at(pair1.x, pair1.y));
    let g = vec2(upstream_at(pair0.x, pair0.y), upstream_at(pair1.x, pair1.y));
    var dq = Sums();
    for (var second = 0u; second < 2u; second++) {
        let lengths = lengths_of(pairs, second == 1u);
        var first = tile.first_row;
        while first < tile.end_row {
            let company = company_of(first, tile.end_row, second == 1u);
            let seen = lengths_in(company, first, pairs, lengths);
            first = company.end;
            for (var start = 0u; start < company.length; start += LINES) {
                let keys = min(LINES, company.length - start);
                let k = vec2(
                    kv_at(index_in(company, start + min(line, keys - 1u)), tile.key_head),
                    kv_at(index_in(company, start + min(line + 16u, keys - 1u)), tile.key_head),
                );
                let score = scores_of(vec4(q, k), false, place, lane);
                let dp = value_scores_of(vec4(g, k + KV_HEADS * depth), false, place, lane);
                let lines = indices_in(company, vec4(start) + wide_lines(lane, keys)) * (2u * KV_HEADS * depth)
                    + tile.key_head * depth;
                var read = read_keys(lines, 0u, lane);
                let a = weigh(score.a, dp.a, of_pairs.lse, of_pairs.d, vec4(start + place.other) < seen);
                let b = weigh(score.b, dp.b, of_pairs.lse, of_pairs.d, vec4(start + place.other + 16u) < seen);
                set_weights(place, a.ds, b.ds);
                stage_wide(lane, read);
                if depth > WIDE_SLICE {
                    read = read_keys(lines, WIDE_SLICE, lane);
                }
                dq.s0 = add_weighted(dq.s0, place, keys);
                if depth > WIDE_SLICE {
                    stage_wide(lane, read);
                    if depth > 2u * WIDE_SLICE {
                        read = read_keys(lines, 2u * WIDE_SLICE, lane);
                    }
                    dq.s1 = add_weighted(dq.s1, place, keys);
                }
                if depth > 2u * WIDE_SLICE {
                    stage_wide(lane, read);
                    if depth > 3u * WIDE_SLICE {
                        read = read_keys(lines, 3u * WIDE_SLICE, lane);
                    }
                    dq.s2 = add_weighted(dq.s2, place, keys);
                }
                if depth > 3u * WIDE_SLICE {
                    stage_wide(lane, read);
                    dq.s3 = add_weighted(dq.s3, place, keys);
                }
            }
        }
    }
    keep(qkv_at_each(pairs.rows, pairs.heads), pairs.real, place.other, dq);
}

// Pairs of a row and a head of one key head, counted row by row, (row, head).
fn pair_of(pair: u32, key_head: u32) -> vec2<u32> {
    return vec2(pair / GROUP, key_head * GROUP + pair % GROUP);
}

// What a pair adds: whether it sees each of four keys, and its statistics.
struct Reader {
    sees: vec4<bool>,
    lse: f32,
    d: f32,
}

// `end` is one past the last pair.
fn reader_of(pair: u32, end: u32, key_head: u32, keys: vec4<u32>) -> Reader {
    let at = pair_of(min(pair, end - 1u), key_head);
    let seen = keys_of(at.x);
    let stat = stats[at.x * GROUP * KV_HEADS + at.y];
    let in_prefix = (keys >= vec4(seen.prefix_start)) & (keys < vec4(seen.prefix_end));
    let in_own = (keys >= vec4(seen.start)) & (keys < vec4(seen.end));
    return Reader((in_prefix | in_own) & vec4(pair < end), stat.x, stat.y);
}

// Offsets of four pairs in qkv, or in `upstream`.
fn query_lines(pairs: vec4<u32>, key_head: u32) -> vec4<u32> {
    return qkv_at_each(pairs / GROUP, vec4(key_head * GROUP) + pairs % GROUP);
}

fn upstream_lines(pairs: vec4<u32>, key_head: u32) -> vec4<u32> {
    return (pairs / GROUP * (GROUP * KV_HEADS) + key_head * GROUP + pairs % GROUP) * (HEAD_DIM / 4u);
}

@compute @workgroup_size(LANES)
fn keys_by_block(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let depth = HEAD_DIM / 4u;
    let key_head = group.x / 2u;
    let of_keys = group.x % 2u == 1u;
    let place = place_of(lane);
    let line = lane / SLICE;
    let first = group.y * LINES;
    let last = count.x - 1u;
    let keys = vec4(first + 4u * place.own) + vec4(0u, 1u, 2u, 3u);
    let k = vec2(kv_at(min(first + line, last), key_head), kv_at(min(first + line + 16u, last), key_head));
    var end_row = 0u;
    for (var j = first; j <= min(first + LINES - 1u, last); j++) {
        end_row = max(end_row, query_end[j]);
    }
    let end = min(end_row, count.x) * GROUP;
    var sums = Sums();
    for (var start = first * GROUP; start < end; start += LINES) {
        let pairs = min(LINES, end - start);
        let pair0 = pair_of(start + min(line, pairs - 1u), key_head);
        let pair1 = pair_of(start + min(line + 16u, pairs - 1u), key_head);
        let reader_a = reader_of(start + place.other, end, key_head, keys);
        let reader_b = reader_of(start + place.other + 16u, end, key_head, keys);
        let q = vec2(qkv_at(pair0.x, pair0.y), qkv_at(pair1.x, pair1.y));
        let score = scores_of(vec4(q, k), true, place, lane);
        let lines = vec4(start) + wide_lines(lane, pairs);
        var dp = Scores();
        if of_keys {
            let g = vec2(upstream_at(pair0.x, pair0.y), upstream_at(pair1.x, pair1.y));
            dp = value_scores_of(vec4(g, k + KV_HEADS * depth), true, place, lane);
        }
        let a = weigh(score.a, dp.a, vec4(reader_a.lse), vec4(reader_a.d), reader_a.sees);
        let b = weigh(score.b, dp.b, vec4(reader_b.lse), vec4(reader_b.d), reader_b.sees);
        if of_keys {
            set_weights(place, a.ds, b.ds);
        } else {
            set_weights(place, a.p, b.p);
        }
        stage_pairs(lines, key_head, 0u, of_keys, lane);
        sums.s0 = add_weighted(sums.s0, place, pairs);
        if depth > WIDE_SLICE {
            stage_pairs(lines, key_head, WIDE_SLICE, of_keys, lane);
            sums.s1 = add_weighted(sums.s1, place, pairs);
        }
        if depth > 2u * WIDE_SLICE {
            stage_pairs(lines, key_head, 2u * WIDE_SLICE, of_keys, lane);
            sums.s2 = add_weighted(sums.s2, place, pairs);
        }
        if depth > 3u * WIDE_SLICE {
            stage_pairs(lines, key_head, 3u * WIDE_SLICE, of_keys, lane);
            sums.s3 = add_weighted(sums.s3, place, pairs);
        }
    }
    let head = GROUP * KV_HEADS + key_head + select(KV_HEADS, 0u, of_keys);
    keep(qkv_at_each(keys, vec4(head)), keys <= vec4(last), place.other, sums);
}

// Stages a wide slice of the pairs' queries, or of their upstream gradients.
fn stage_pairs(pairs: vec4<u32>, key_head: u32, slice: u32, queries: bool, lane: u32) {
    if queries {
        stage_wide(lane, read_queries(query_lines(pairs, key_head), slice, lane));
    } else {
        stage_wide(lane, read_upstream(upstream_lines(pairs, key_head), slice, lane));
    }
}
