// Tiles of 32 pairs of a row and a head, and the keys they see, for attention on GPUs: ROWS neighbouring rows by SHARED
// heads that share keys. Needs SHARED (at most 4), rows, sequences and count bound, include/rows
// and include/score_block.

override ROWS: u32 = 32u / SHARED;

struct Tile {
    first_row: u32,
    end_row: u32,
    key_head: u32,
    first_head: u32,
    end_head: u32,
}

// The tile of a workgroup (x: shares of key heads, y: rows), with `sharing` heads to a key head.
fn tile_of(group: vec3<u32>, sharing: u32) -> Tile {
    let shares = (sharing + SHARED - 1u) / SHARED;
    let key_head = group.x / shares;
    let first_head = key_head * sharing + group.x % shares * SHARED;
    let first_row = group.y * ROWS;
    let end_row = min(first_row + ROWS, count.x);
    return Tile(first_row, end_row, key_head, first_head, min(first_head + SHARED, (key_head + 1u) * sharing));
}

// Four pairs: their rows and heads in the batch, and which of them are any.
struct Pairs {
    rows: vec4<u32>,
    heads: vec4<u32>,
    real: vec4<bool>,
}

fn pairs_from(tile: Tile, first: u32) -> Pairs {
    let pair = vec4(first) + vec4(0u, 1u, 2u, 3u);
    let row = vec4(tile.first_row) + pair / SHARED;
    let head = vec4(tile.first_head) + pair % SHARED;
    return Pairs(row, head, (row < vec4(tile.end_row)) & (head < vec4(tile.end_head)));
}

// Row and head of one pair, for reads: past the last row or head the last one again.
fn pair_at(tile: Tile, pair: u32) -> vec2<u32> {
    let row = min(tile.first_row + pair / SHARED, tile.end_row - 1u);
    return vec2(row, min(tile.first_head + pair % SHARED, tile.end_head - 1u));
}

// The keys of a row are walked over in blocks of LINES positions, in two runs: the whole blocks that lie in the shared prefix,
// which rows of several sequences have in common, then the rest. Where blocks begin does not depend on where a prefix ends,
// so that a row has the same bits with a prefix and without.
struct Run {
    // Rows walk over it together where this is the same: the cache index of the prefix, then the sequence.
    joint: u32,
    // Position of the first key, and how many the row sees from there.
    first: u32,
    length: u32,
}

fn run_of(row_index: u32, second: bool) -> Run {
    let row = rows[row_index];
    let sequence = sequences[row.sequence];
    let seen = row.position + 1u;
    let in_prefix = sequence.prefix_length / LINES * LINES;
    if second {
        return Run(row.sequence, in_prefix, seen - min(in_prefix, seen));
    }
    return Run(sequence.prefix_start, 0u, min(in_prefix, seen));
}

// Neighbouring rows, up to row `end`, that walk over a run together, and the longest of their runs.
struct Company {
    sequence: Sequence,
    first: u32,
    length: u32,
    end: u32,
}

// The company of row `first`, which ends before row `end` at the latest.
fn company_of(first: u32, end: u32, second: bool) -> Company {
    let own = run_of(first, second);
    var company = Company(sequences[rows[first].sequence], own.first, own.length, first + 1u);
    if !second {
        // Some of them may know more of the prefix than this row does.
        company.sequence.prefix_length = 0xffffffffu;
    }
    while company.end < end {
        let next = run_of(company.end, second);
        if next.joint != own.joint {
            break;
        }
        company.length = max(company.length, next.length);
        company.end++;
    }
    return company;
}

// Cache index of a company's key, counted from the first one of the run.
fn index_in(company: Company, key: u32) -> u32 {
    return kv_index(company.sequence, company.first + key);
}

fn indices_in(company: Company, keys: vec4<u32>) -> vec4<u32> {
    return vec4(
        index_in(company, keys.x), index_in(company, keys.y), index_in(company, keys.z), index_in(company, keys.w),
    );
}

// How many keys of their first or second runs four pairs see.
fn lengths_of(pairs: Pairs, second: bool) -> vec4<u32> {
    var lengths = vec4(0u);
    for (var i = 0u; i < 4u; i++) {
        if pairs.real[i] {
            lengths[i] = run_of(pairs.rows[i], second).length;
        }
    }
    return lengths;
}

// The lengths of the pairs that are in a company that starts with row `first`, else 0.
fn lengths_in(company: Company, first: u32, pairs: Pairs, lengths: vec4<u32>) -> vec4<u32> {
    return select(vec4(0u), lengths, (pairs.rows >= vec4(first)) & (pairs.rows < vec4(company.end)));
}
