//! Checkpoints as files: each written whole or not at all, the latest few kept.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::TrainStep;
use crate::LearnError;

/// In front of a checkpoint's step.
const PREFIX: &str = "step-";
/// Behind it.
const SUFFIX: &str = ".safetensors";

/// Writes `bytes` as the checkpoint after `steps` steps, and removes all but the latest `keep` (at least one).
///
/// # Errors
/// What the operating system says; the checkpoints that were there then still are.
fn write_checkpoint(folder: &Path, steps: usize, bytes: &[u8], keep: usize) -> Result<(), LearnError> {
    let path = folder.join(format!("{PREFIX}{steps:09}{SUFFIX}"));
    let wrong = |error: std::io::Error| LearnError::Checkpoint { path: path.clone(), reason: error.to_string() };
    fs::create_dir_all(folder).map_err(wrong)?;
    // Written beside it and renamed: a kill leaves the old checkpoints and perhaps a file that is never read.
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished).map_err(wrong)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(wrong)?;
    fs::rename(&unfinished, &path).map_err(wrong)?;
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(wrong)?;
    let all = checkpoints(folder)?;
    for (_, old) in all.iter().rev().skip(keep.max(1)) {
        fs::remove_file(old).map_err(wrong)?;
    }
    Ok(())
}

/// The bytes of the latest checkpoint; `None` where there is none.
///
/// # Errors
/// What the operating system says.
fn read_checkpoint(folder: &Path) -> Result<Option<Vec<u8>>, LearnError> {
    let Some((_, path)) = checkpoints(folder)?.pop() else { return Ok(None) };
    let bytes = fs::read(&path);
    bytes.map(Some).map_err(|error| LearnError::Checkpoint { path, reason: error.to_string() })
}

impl TrainStep {
    /// Writes a checkpoint into `folder`, whole or not at all, and keeps the latest `keep`.
    ///
    /// # Errors
    /// What the operating system or the device says.
    pub fn save_to(&self, folder: &Path, keep: usize) -> Result<(), LearnError> {
        write_checkpoint(folder, self.steps, &self.save()?, keep)
    }

    /// Goes on from the latest checkpoint in `folder`; returns whether there was one.
    ///
    /// # Errors
    /// A checkpoint that cannot be read or is not of this run.
    pub fn resume_from(&mut self, folder: &Path) -> Result<bool, LearnError> {
        let Some(bytes) = read_checkpoint(folder)? else { return Ok(false) };
        self.restore(&bytes)?;
        Ok(true)
    }
}

/// All checkpoints with their steps, the latest last.
fn checkpoints(folder: &Path) -> Result<Vec<(usize, PathBuf)>, LearnError> {
    let wrong = |error: std::io::Error| LearnError::Checkpoint { path: folder.to_owned(), reason: error.to_string() };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(wrong)?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.map_err(wrong)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let steps = name.and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        all.extend(steps.map(|steps| (steps, path.clone())));
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_read_and_only_a_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("checkpoints");
        assert_eq!(read_checkpoint(&folder).unwrap(), None);
        for steps in [2, 4, 10] {
            write_checkpoint(&folder, steps, &[steps as u8], 2).unwrap();
        }
        // What a kill may leave, and what someone else put there.
        fs::write(folder.join("step-000000011.unfinished"), [0]).unwrap();
        fs::write(folder.join("notes.txt"), [0]).unwrap();
        assert_eq!(read_checkpoint(&folder).unwrap(), Some(vec![10]));
        let steps: Vec<usize> = checkpoints(&folder).unwrap().into_iter().map(|(steps, _)| steps).collect();
        assert_eq!(steps, [4, 10]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let message = write_checkpoint(&file.path().join("below"), 1, &[], 1).unwrap_err().to_string();
        assert!(message.contains("below"), "{message}");
    }
}
