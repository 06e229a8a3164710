// Rotary position embedding of one pair, for rope_cache.wgsl and attention_step.wgsl: by (cos, sin).

fn turned(a: f32, b: f32, turn: vec2<f32>) -> vec2<f32> {
    return vec2(a * turn.x - b * turn.y, a * turn.y + b * turn.x);
}
