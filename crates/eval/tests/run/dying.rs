//! A storage in memory that dies when its time has come, as a process does that is killed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use tmem_eval::run::Storage;

/// Files, and how much longer it lives. Every operation costs a unit of life, and every byte that is appended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dying {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// `None` lives for ever.
    pub(crate) life: Option<usize>,
    /// Units of life used up.
    pub(crate) used: usize,
}

impl Dying {
    /// How much of `cost` can still be paid; less than all of it is death.
    fn pay(&mut self, cost: usize) -> usize {
        let paid = self.life.map_or(cost, |life| cost.min(life));
        if let Some(life) = &mut self.life {
            *life = if paid < cost { 0 } else { *life - paid };
        }
        self.used += paid;
        paid
    }

    fn whole(&mut self) -> io::Result<()> {
        if self.pay(1) == 1 { Ok(()) } else { Err(io::Error::other("killed")) }
    }

    pub(crate) fn text(&self, file: &str) -> &str {
        std::str::from_utf8(self.files.get(file).map_or(&[], Vec::as_slice)).unwrap()
    }
}

impl Storage for Dying {
    fn read(&self, file: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.get(file).cloned())
    }

    fn append(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let paid = self.pay(bytes.len() + 1);
        let written = paid.min(bytes.len());
        self.files.entry(file.to_owned()).or_default().extend_from_slice(&bytes[..written]);
        // The last unit: all bytes are there, and the process dies before it knows.
        if paid > bytes.len() { Ok(()) } else { Err(io::Error::other("killed")) }
    }

    fn truncate(&mut self, file: &str, length: u64) -> io::Result<()> {
        self.whole()?;
        self.files.entry(file.to_owned()).or_default().truncate(length as usize);
        Ok(())
    }

    fn replace(&mut self, file: &str, bytes: &[u8]) -> io::Result<()> {
        self.whole()?;
        self.files.insert(file.to_owned(), bytes.to_vec());
        self.whole()
    }

    fn remove(&mut self, file: &str) -> io::Result<()> {
        self.whole()?;
        self.files.remove(file);
        self.whole()
    }

    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(file)
    }
}
