//! Where a run's files lie.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The few things a run does with its folder. A kill may come at any moment: an append may be cut off in the middle,
/// the rest happens whole or not at all. The tests' storage dies on purpose.
pub trait Storage {
    /// A file's bytes; `None` where there is no such file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&self, file: &str) -> io::Result<Option<Vec<u8>>>;

    /// Appends bytes; on return they are on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn append(&mut self, file: &str, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file to a length.
    ///
    /// # Errors
    /// What the operating system says.
    fn truncate(&mut self, file: &str, length: u64) -> io::Result<()>;

    /// Puts a whole file in place of the old one; on return it is on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn replace(&mut self, file: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file, if there is one.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&mut self, file: &str) -> io::Result<()>;

    /// The path of a file, for messages.
    fn path(&self, file: &str) -> PathBuf;
}

/// A folder on disk, made where it is missing.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// The folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Makes the folder that a file lies in.
    fn make_room(&self, file: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(path)
    }
}

impl Storage for Disk {
    fn read(&self, file: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.folder.join(file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn append(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let mut open = OpenOptions::new().create(true).append(true).open(self.make_room(file)?)?;
        open.write_all(bytes)?;
        open.sync_data()
    }

    fn truncate(&mut self, file: &str, length: u64) -> io::Result<()> {
        let open = OpenOptions::new().write(true).open(self.folder.join(file))?;
        open.set_len(length)?;
        open.sync_data()
    }

    fn replace(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.make_room(file)?;
        let mut name = path.clone().into_os_string();
        name.push(".part");
        let beside = PathBuf::from(name);
        let mut open = File::create(&beside)?;
        open.write_all(bytes)?;
        open.sync_data()?;
        fs::rename(&beside, &path)?;
        // A new name lasts once its folder is on the disk. Where a folder cannot be synced, the rename is all there is.
        if let Some(parent) = path.parent().and_then(|parent| File::open(parent).ok()) {
            let _ = parent.sync_all();
        }
        Ok(())
    }

    fn remove(&mut self, file: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }
}
