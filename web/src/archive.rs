//! What is exported and imported: a zip archive of a PEFT adapter and the cards it was trained on.

use std::io::{Cursor, Read as _, Write as _};

use tmem_core::card::Card;
use tmem_core::fast::peft::PeftFiles;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Most bytes of one file in an archive; a header can claim anything.
const MAX_BYTES: u64 = 512 << 20;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const CARDS: &str = "cards.json";

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a zip archive, or a damaged one.
    #[error("this is not a readable zip archive ({0}): choose one that was exported here")]
    Zip(#[from] zip::result::ZipError),
    /// A file in it cannot be read.
    #[error("`{name}` in the archive cannot be read ({reason}): export it again")]
    File {
        /// Name of the file.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

fn broken(name: &'static str, reason: impl ToString) -> ArchiveError {
    ArchiveError::File { name, reason: reason.to_string() }
}

/// Writes an archive.
///
/// # Errors
/// None in practice: everything is written to memory.
pub fn pack(adapter: &PeftFiles, cards: &[Card]) -> Result<Vec<u8>, ArchiveError> {
    let cards = serde_json::to_vec_pretty(cards).map_err(|e| broken(CARDS, e))?;
    let files = [(CONFIG, adapter.config.as_bytes()), (WEIGHTS, &adapter.weights), (CARDS, &cards)];
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    // Floating-point weights hardly compress.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in files {
        archive.start_file(name, options)?;
        archive.write_all(bytes).map_err(|e| broken(name, e))?;
    }
    Ok(archive.finish()?.into_inner())
}

/// Reads an archive. One without cards is an adapter from elsewhere and gives none.
///
/// # Errors
/// A damaged archive, or one that lacks the adapter.
pub fn unpack(bytes: &[u8]) -> Result<(PeftFiles, Vec<Card>), ArchiveError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let config = String::from_utf8(file(&mut archive, CONFIG)?).map_err(|e| broken(CONFIG, e))?;
    let weights = file(&mut archive, WEIGHTS)?;
    let cards = match archive.index_for_name(CARDS) {
        Some(_) => serde_json::from_slice(&file(&mut archive, CARDS)?).map_err(|e| broken(CARDS, e))?,
        None => Vec::new(),
    };
    Ok((PeftFiles { config, weights }, cards))
}

fn file(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &'static str) -> Result<Vec<u8>, ArchiveError> {
    let file = archive.by_name(name).map_err(|e| broken(name, e))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| broken(name, e))?;
    if read as u64 > MAX_BYTES {
        return Err(broken(name, "it is too large"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (PeftFiles, Vec<Card>) {
        let files = PeftFiles { config: "{\"r\": 6}".into(), weights: (0..=255).collect() };
        let card =
            Card { id: 1, question: "Who?".into(), wordings: vec![], answer: "Ada".into(), source_turn: Some(0) };
        (files, vec![card])
    }

    #[test]
    fn an_archive_comes_back_as_it_went() {
        let (files, cards) = example();
        let bytes = pack(&files, &cards).unwrap();
        let (files_again, cards_again) = unpack(&bytes).unwrap();
        assert_eq!((files_again.config, files_again.weights, cards_again), (files.config, files.weights, cards));
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let (files, cards) = example();
        let bytes = pack(&files, &cards).unwrap();
        assert!(unpack(b"no archive").unwrap_err().to_string().contains("not a readable zip archive"));
        assert!(unpack(&bytes[..bytes.len() / 2]).is_err());
        let mut flipped = bytes.clone();
        let at = bytes.windows(4).position(|w| w == [1, 2, 3, 4]).unwrap();
        flipped[at] ^= 0xFF;
        assert!(unpack(&flipped).unwrap_err().to_string().contains(WEIGHTS));
    }
}
