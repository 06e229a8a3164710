//! Will it fit? Asked before anything is loaded.

use crate::format;

/// Beside the weights: key-value cache, activations, training buffers, measured on a model of 135 million weights.
const WORKSPACE: u64 = 450 << 20;

/// Bytes a model of this file size will need on the GPU, roughly.
pub fn needed(file_bytes: u64) -> u64 {
    file_bytes.saturating_add(file_bytes / 10).saturating_add(WORKSPACE)
}

/// Why a model will not fit, in words; `None` where nothing speaks against trying. `memory` is the computer's, where
/// the browser tells it; a browser never tells the GPU's own, so a model that passes may still be refused later.
pub fn refusal(file_bytes: u64, buffer_limit: u64, memory: Option<u64>) -> Option<String> {
    // Browsers round down to a power of two and never tell more than 8 GiB.
    const MOST_TOLD: u64 = 8 << 30;
    let needed = needed(file_bytes);
    if let Some(memory) = memory.filter(|&memory| memory < MOST_TOLD && needed > memory) {
        return Some(format!(
            "This model needs about {} of memory, this device has about {}: use a smaller model.",
            format::bytes(needed),
            format::bytes(memory)
        ));
    }
    // The embedding is the largest tensor; in models this small it is up to a third of the file.
    let largest = file_bytes / 3;
    (largest > buffer_limit).then(|| {
        format!(
            "This model needs buffers of about {}, this GPU allows {}: use a smaller model.",
            format::bytes(largest),
            format::bytes(buffer_limit)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_default_model_fits_an_ordinary_device() {
        assert_eq!(refusal(98_362_432, GIB, Some(4 * GIB)), None);
        assert_eq!(refusal(98_362_432, GIB, None), None);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_figures() {
        let words = refusal(5 * GIB, 4 * GIB, Some(4 * GIB)).unwrap();
        assert!(words.contains("6.4 GB") && words.contains("4.3 GB"), "{words}");
        assert!(refusal(5 * GIB, 4 * GIB, Some(8 * GIB)).is_none(), "8 GiB is the most a browser tells");
        assert!(refusal(GIB, 128 << 20, None).unwrap().contains("134.2 MB"));
        assert!(refusal(u64::MAX, GIB, None).is_some());
    }
}
