//! One process a folder: two that write the same run would spoil each other's files.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The file that is locked. It stays behind; the lock goes with the process, however it ends.
const LOCK: &str = ".lock";

/// The right to write to a folder, for as long as it is held.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder, which is made where it is missing.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.join(LOCK);
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                bail!("another process works in {}: wait for it, or give another --out", folder.display())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}: does its file system have locks?", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let first = FolderLock::take(&out).unwrap();
        let message = FolderLock::take(&out).unwrap_err().to_string();
        assert!(message.contains("another process works in"), "{message}");
        drop(first);
        FolderLock::take(&out).unwrap();
    }
}
