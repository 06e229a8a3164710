// Draws the next token of each sequence and writes the row of the next step, so that a decode loop never leaves the GPU.
// One workgroup a sequence. With z = penalised logit / temperature, gap = max z - z:
//   kept   gap <= cut, the least of: the gap of the TOP_K-th token; the gap at which the kept tokens reach the share
//          top_p of what top-k left; -ln min_p. The first two are found by a search of fixed length, 5 intervals a
//          step: a cut is exact to RANGE / 5^SEARCH_STEPS, and tokens closer than that to it are kept.
//   token  argmax over the kept of z + Gumbel(seed, position, token): an exact draw from their softmax, without sums.
//          Temperature 0: argmax z.
//   log-probability  z - ln sum exp z over the whole vocabulary (temperature 0: at temperature 1).
// Repetition penalty (Keskar et al., arXiv 1909.05858): the logit of a token seen before is divided by it where
// positive, else multiplied. A NaN or +inf among the logits gives the token 0xffffffff.
// Shapes: logits [sequences, VOCABULARY]; seen [sequences, ceil(VOCABULARY / 32)] bits; ring [STEPS, SEQUENCES] of
// (token, bits of the log-probability); rows [sequences], written.
// The same form for all adapters; sums run in a fixed order.

override VOCABULARY: u32;
override SEQUENCES: u32;
override STEPS: u32;

struct Sampling {
    seed_low: u32,
    seed_high: u32,
    temperature: f32,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
    top_k: u32,
    sequence: u32,
    slot: u32,
}

struct Progress {
    position: u32,
    step: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> settings: array<Sampling>;
@group(0) @binding(2) var<storage, read_write> progress: array<Progress>;
@group(0) @binding(3) var<storage, read_write> seen: array<u32>;
@group(0) @binding(4) var<storage, read_write> ring: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> rows: array<Row>;

const LANES = 256u;
const FAN = 16u;
const RANGE = 64.0;
const SEARCH_STEPS = 12u;
const NO_TOKEN = 0xffffffffu;

var<workgroup> partial: array<vec4<f32>, LANES>;
var<workgroup> folded: array<vec4<f32>, FAN>;
var<workgroup> best_keys: array<f32, LANES>;
var<workgroup> best_tokens: array<u32, LANES>;

var<private> first_logit: u32;
var<private> first_seen: u32;
var<private> penalty: f32;
var<private> sharpness: f32;

fn scaled(token: u32) -> f32 {
    var value = logits[first_logit + token];
    if penalty != 1.0 {
        if ((seen[first_seen + token / 32u] >> (token % 32u)) & 1u) == 1u {
            value = select(value * penalty, value / penalty, value > 0.0);
        }
    }
    return value * sharpness;
}

fn sum_over_workgroup(value: vec4<f32>, lane: u32) -> vec4<f32> {
    partial[lane] = value;
    workgroupBarrier();
    if lane < FAN {
        var sum = vec4(0.0);
        for (var i = 0u; i < LANES / FAN; i++) {
            sum += partial[lane * (LANES / FAN) + i];
        }
        folded[lane] = sum;
    }
    workgroupBarrier();
    var total = vec4(0.0);
    for (var i = 0u; i < FAN; i++) {
        total += folded[i];
    }
    return total;
}

fn max_over_workgroup(value: vec4<f32>, lane: u32) -> vec4<f32> {
    partial[lane] = value;
    workgroupBarrier();
    if lane < FAN {
        var largest = partial[lane * (LANES / FAN)];
        for (var i = 1u; i < LANES / FAN; i++) {
            largest = max(largest, partial[lane * (LANES / FAN) + i]);
        }
        folded[lane] = largest;
    }
    workgroupBarrier();
    var largest = folded[0];
    for (var i = 1u; i < FAN; i++) {
        largest = max(largest, folded[i]);
    }
    return largest;
}

// The least gap up to `limit` at which the tokens (each counting 1, or exp(-gap) where by_mass) reach `wanted`.
fn search(wanted: f32, limit: f32, by_mass: bool, largest: f32, lane: u32) -> f32 {
    var low = 0.0;
    var high = limit;
    for (var step = 0u; step < SEARCH_STEPS; step++) {
        let cuts = vec4(low) + (high - low) * vec4(0.2, 0.4, 0.6, 0.8);
        var reached = vec4(0.0);
        for (var token = lane; token < VOCABULARY; token += LANES) {
            let gap = largest - scaled(token);
            let amount = select(1.0, exp(-gap), by_mass);
            reached += select(vec4(0.0), vec4(amount), vec4(gap) <= cuts);
        }
        let total = sum_over_workgroup(reached, lane);
        if total.x >= wanted {
            high = cuts.x;
        } else if total.y >= wanted {
            low = cuts.x;
            high = cuts.y;
        } else if total.z >= wanted {
            low = cuts.y;
            high = cuts.z;
        } else if total.w >= wanted {
            low = cuts.z;
            high = cuts.w;
        } else {
            low = cuts.w;
        }
    }
    return high;
}

// Sum of exp(-gap) over the tokens with gap <= cut.
fn mass_within(cut: f32, largest: f32, lane: u32) -> f32 {
    var mass = 0.0;
    for (var token = lane; token < VOCABULARY; token += LANES) {
        let gap = largest - scaled(token);
        if gap <= cut {
            mass += exp(-gap);
        }
    }
    return sum_over_workgroup(vec4(mass, 0.0, 0.0, 0.0), lane).x;
}

// The finaliser of MurmurHash3.
fn mix(value: u32) -> u32 {
    var h = value;
    h = (h ^ (h >> 16u)) * 0x85ebca6bu;
    h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
    return h ^ (h >> 16u);
}

// A number from the Gumbel distribution; stream depends on seed and position.
fn gumbel(stream: u32, token: u32) -> f32 {
    // 23 bits: half a step off both ends stays exact in f32, so neither logarithm meets 0.
    let uniform_number = (f32(mix(stream ^ mix(token + 0x9e3779b9u)) >> 9u) + 0.5) / 8388608.0;
    return -log(-log(uniform_number));
}

@compute @workgroup_size(LANES)
fn sample(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.y;
    let wish = settings[index];
    let greedy = wish.temperature <= 0.0;
    first_logit = index * VOCABULARY;
    first_seen = index * ((VOCABULARY + 31u) / 32u);
    penalty = wish.repetition_penalty;
    sharpness = select(1.0 / max(wish.temperature, 1e-6), 1.0, greedy);

    // Largest, and whether any is not a number or infinite (told by its bits: comparisons may be optimised away).
    var seen_so_far = vec4(-3.4e38, 0.0, 0.0, 0.0);
    for (var token = lane; token < VOCABULARY; token += LANES) {
        let bits = bitcast<u32>(logits[first_logit + token]);
        if (bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u {
            seen_so_far.y = 1.0;
        } else {
            seen_so_far.x = max(seen_so_far.x, scaled(token));
        }
    }
    let extremes = max_over_workgroup(seen_so_far, lane);
    let largest = extremes.x;
    let all = mass_within(3.4e38, largest, lane);

    var cut = select(RANGE, 3.4e38, greedy);
    var kept = all;
    if !(wish.temperature <= 0.0) {
        if wish.top_k > 0u && wish.top_k < VOCABULARY {
            cut = search(f32(wish.top_k), RANGE, false, largest, lane);
            kept = mass_within(cut, largest, lane);
        }
        if wish.top_p < 1.0 {
            cut = search(max(wish.top_p, 0.0) * kept, cut, true, largest, lane);
        }
        if wish.min_p > 0.0 {
            cut = min(cut, -log(min(wish.min_p, 1.0)));
        }
    }

    let position = progress[index].position;
    let stream = mix(position ^ mix(wish.seed_low ^ mix(wish.seed_high + 0x7f4a7c15u)));
    var best_key = -3.4e38;
    var best_token = NO_TOKEN;
    for (var token = lane; token < VOCABULARY; token += LANES) {
        let gap = largest - scaled(token);
        if gap <= cut {
            var key = -gap;
            if !greedy {
                key += gumbel(stream, token);
            }
            if key > best_key {
                best_key = key;
                best_token = token;
            }
        }
    }
    best_keys[lane] = best_key;
    best_tokens[lane] = best_token;
    workgroupBarrier();
    if lane > 0u {
        return;
    }
    // Of equal keys the lowest token wins, whichever lane met it.
    for (var i = 1u; i < LANES; i++) {
        if best_keys[i] > best_key || (best_keys[i] == best_key && best_tokens[i] < best_token) {
            best_key = best_keys[i];
            best_token = best_tokens[i];
        }
    }
    if extremes.y > 0.0 {
        best_token = NO_TOKEN;
    }
    var log_probability = 0.0;
    if best_token != NO_TOKEN {
        log_probability = scaled(best_token) - largest - log(all);
        seen[first_seen + best_token / 32u] |= 1u << (best_token % 32u);
    }
    let step = progress[index].step;
    ring[step % STEPS * SEQUENCES + index] = vec2(best_token, bitcast<u32>(log_probability));
    rows[index] = Row(best_token, position, wish.sequence, wish.slot);
    progress[index] = Progress(position + 1u, step + 1u);
}
