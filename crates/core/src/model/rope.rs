//! Rotary position embedding: the table of angles.

use super::ModelConfig;

/// cos and sin of position · θ^(−2i/d) for every position below `positions`, as \[position\]\[i\]\[cos, sin\] in f32,
/// computed in f64: WGSL promises too little about the sine of a large angle. `factors`, where the file has them,
/// divide the frequencies (long-context scaling).
pub fn rope_table(config: &ModelConfig, factors: Option<&[f32]>, positions: usize) -> Vec<[f32; 2]> {
    let half = config.head_dim / 2;
    let frequencies: Vec<f64> = (0..half)
        .map(|i| {
            let base = f64::from(config.rope_theta).powf(-2.0 * i as f64 / config.head_dim as f64);
            base / factors.and_then(|f| f.get(i)).map_or(1.0, |&f| f64::from(f))
        })
        .collect();
    (0..positions)
        .flat_map(|position| {
            frequencies.iter().map(move |frequency| {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                [cos as f32, sin as f32]
            })
        })
        .collect()
}
