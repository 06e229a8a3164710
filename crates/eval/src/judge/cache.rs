//! Replies of a judge on disk, so that a run that is repeated or resumed asks nothing twice.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tmem_core::hash::hexadecimal;

/// What was asked of which model, and what it replied: everything that is needed to check a verdict later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) url: String,
    pub(super) model: String,
    /// The body of the request as sent.
    pub(super) request: serde_json::Value,
    pub(super) reply: String,
}

/// A folder with one file per request, named by the request's hash.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn file(&self, url: &str, request: &serde_json::Value) -> PathBuf {
        let digest = Sha256::digest(format!("{url}\n{request}"));
        let name = hexadecimal(&digest);
        self.folder.join(format!("{name}.json"))
    }

    /// The reply to a request that was asked before. A damaged file counts as none: it is written anew.
    pub(super) fn get(&self, url: &str, request: &serde_json::Value) -> Option<String> {
        let text = fs::read_to_string(self.file(url, request)).ok()?;
        let entry: Entry = serde_json::from_str(&text).ok()?;
        (entry.url == url && entry.request == *request).then_some(entry.reply)
    }

    /// Keeps a reply: written beside its place first, so that a kill leaves no half file.
    pub(super) fn put(&self, entry: &Entry) -> Result<(), (PathBuf, std::io::Error)> {
        let file = self.file(&entry.url, &entry.request);
        let write = || {
            fs::create_dir_all(&self.folder)?;
            let beside = file.with_extension(format!("{}.part", std::process::id()));
            fs::write(&beside, serde_json::to_string_pretty(entry)?)?;
            fs::rename(&beside, &file)
        };
        write().map_err(|error| (file.clone(), error))
    }
}
