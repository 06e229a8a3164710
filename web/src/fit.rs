//! Will it fit? Asked as soon as the head of a model file is known, before its weights are loaded.

use tmem_core::engine::{BatchRoom, MemoryEstimate};
use tmem_core::model::gguf::{GgufError, GgufReader, TensorInfo};
use tmem_core::model::{LoadError, ModelConfig, SlowAdapter};
use tmem_core::settings::Settings;

use crate::format;

/// What a device offers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The largest buffer a kernel can use.
    pub buffer: u64,
    /// The computer's memory, where the browser tells it. It never tells the GPU's own, so a model that passes may
    /// still be refused later.
    pub memory: Option<u64>,
}

/// Watches a file's head go by.
pub struct Gauge {
    reader: Option<GgufReader>,
    settings: Settings,
    room: Room,
    /// Whether a slow adapter is merged, which holds quantised projections in 16 bits.
    merged: bool,
}

/// Why a file is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum GaugeError {
    /// It cannot be a model.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is too large, in words.
    #[error("{0}")]
    TooLarge(String),
}

impl From<GgufError> for GaugeError {
    fn from(error: GgufError) -> Self {
        Self::Load(error.into())
    }
}

impl Gauge {
    /// In front of the first byte.
    pub fn new(settings: Settings, room: Room) -> Self {
        Self { reader: Some(GgufReader::new()), settings, room, merged: false }
    }

    /// For a file that a slow adapter is merged into.
    #[must_use]
    pub fn with_merged_adapter(self) -> Self {
        Self { merged: true, ..self }
    }

    /// Takes the next piece of the file; after the head this costs nothing.
    ///
    /// # Errors
    /// A file that is no model of a supported kind, or too large for the device.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), GaugeError> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        reader.push(piece, |_, _| Ok::<(), GgufError>(()))?;
        let Some(header) = reader.header() else { return Ok(()) };
        let config = ModelConfig::from_gguf(header).map_err(LoadError::from)?;
        let in_layer = |tensor: &TensorInfo| tensor.name.starts_with("blk.");
        let held = |tensor: &TensorInfo| {
            if self.merged && in_layer(tensor) { SlowAdapter::merged_bytes(tensor) } else { tensor.device_bytes() }
        };
        // Embedding and head are cut to what one buffer takes.
        let largest = header.tensors.iter().filter(|tensor| in_layer(tensor)).map(held).max().unwrap_or(0);
        let weights = header.tensors.iter().map(held).fold(0, u64::saturating_add);
        // Settings that do not suit this model are told of when they are taken into use.
        let needed =
            MemoryEstimate::new(&config, weights, &self.settings, BatchRoom::default()).map_or(0, |sum| sum.total());
        self.reader = None;
        match refusal(needed, largest, self.room) {
            Some(words) => Err(GaugeError::TooLarge(words)),
            None => Ok(()),
        }
    }
}

/// Why a model that needs this much, and this much in one buffer, will not fit; `None` where nothing speaks against
/// trying.
fn refusal(needed: u64, largest: u64, room: Room) -> Option<String> {
    // Browsers round to a power of two and never tell more than 8 GiB.
    const MOST_TOLD: u64 = 8 << 30;
    if let Some(memory) = room.memory.filter(|&memory| memory < MOST_TOLD && needed > memory) {
        return Some(format!(
            "This model needs about {} of memory, this device has about {}: use a smaller model.",
            format::bytes(needed),
            format::bytes(memory)
        ));
    }
    (largest > room.buffer).then(|| {
        format!(
            "This model needs a buffer of {}, this GPU allows {}: use a smaller model.",
            format::bytes(largest),
            format::bytes(room.buffer)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_default_model_fits_an_ordinary_device() {
        assert_eq!(refusal(400 << 20, 30 << 20, Room { buffer: 128 << 20, memory: Some(4 * GIB) }), None);
        assert_eq!(refusal(400 << 20, 30 << 20, Room { buffer: 128 << 20, memory: None }), None);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_figures() {
        let words = refusal(6 * GIB, GIB, Room { buffer: 4 * GIB, memory: Some(4 * GIB) }).unwrap();
        assert!(words.contains("6.4 GB") && words.contains("4.3 GB"), "{words}");
        let most = Room { buffer: 4 * GIB, memory: Some(8 * GIB) };
        assert_eq!(refusal(16 * GIB, GIB, most), None, "8 GiB is the most a browser tells");
        let words = refusal(GIB, GIB, Room { buffer: 128 << 20, memory: None }).unwrap();
        assert!(words.contains("134.2 MB"), "{words}");
    }

    /// Q3_K takes 16 bits and a scale of 32 for every 32 weights on the GPU, which the file's size does not tell.
    #[test]
    fn weights_are_counted_as_the_device_holds_them() {
        let file = include_bytes!("../../tests/fixtures/tiny_k.mixed.gguf");
        let push = |room| Gauge::new(Settings::small(), room).push(&file[..file.len() / 2]);
        let largest = 256 * 256 * 2 + 256 * 8 * 4;
        let words = push(Room { buffer: largest - 1, memory: None }).unwrap_err().to_string();
        assert!(words.contains("needs a buffer of 139.3 kB"), "{words}");
        assert!(push(Room { buffer: largest, memory: Some(GIB) }).is_ok());
        let words = push(Room { buffer: largest, memory: Some(1) }).unwrap_err().to_string();
        assert!(words.contains("of memory"), "{words}");
    }

    #[test]
    fn a_file_that_is_no_model_is_refused_at_its_first_bytes() {
        let mut gauge = Gauge::new(Settings::small(), Room { buffer: GIB, memory: None });
        assert!(matches!(gauge.push(b"<!doctype html><html>this is not a model at all"), Err(GaugeError::Load(_))));
    }
}
