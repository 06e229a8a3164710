//! Data files and the errors of reading them.

mod controls;
mod conversation;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use controls::{Controls, KeyedQuestion};
pub use conversation::{Conversation, Fact};

/// The largest data file that is read, in bytes; a conversation of thousands of facts is far smaller.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// A data file that cannot be used. Each message names the file and, where there is one, the field and its index.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is far larger than any such file.
    #[error("{file} has {bytes} bytes; at most {MAX_FILE_BYTES} are read: is it the right file?")]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not the expected JSON.
    #[error("{file}, at `{field}`: {reason}")]
    Field {
        /// The file.
        file: PathBuf,
        /// Path of the field with indices, as in `facts[3].keys[0]`; `.` for the whole file.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A kind of data file.
pub trait DataFile: DeserializeOwned {
    /// Checks what the types cannot say. Returns the path of the first bad field and what is wrong with it.
    ///
    /// # Errors
    /// That path and reason.
    fn check(&self) -> Result<(), (String, String)>;

    /// Parses and checks the text of a file; `file` is named in errors.
    ///
    /// # Errors
    /// [`DataError::Field`].
    fn parse(file: &Path, text: &str) -> Result<Self, DataError> {
        let field = |field: String, reason: String| DataError::Field { file: file.to_owned(), field, reason };
        let mut json = serde_json::Deserializer::from_str(text);
        let value: Self = serde_path_to_error::deserialize(&mut json)
            .map_err(|e| field(e.path().to_string(), e.inner().to_string()))?;
        json.end().map_err(|e| field(".".to_owned(), e.to_string()))?;
        value.check().map_err(|(path, reason)| field(path, reason))?;
        Ok(value)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`DataError`].
    fn load(file: &Path) -> Result<Self, DataError> {
        let read = |source| DataError::Read { file: file.to_owned(), source };
        let bytes = std::fs::metadata(file).map_err(read)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(DataError::TooLarge { file: file.to_owned(), bytes });
        }
        Self::parse(file, &std::fs::read_to_string(file).map_err(read)?)
    }
}

/// Refuses an empty text.
fn not_blank(path: String, text: &str) -> Result<(), (String, String)> {
    if text.trim().is_empty() { Err((path, "is empty".to_owned())) } else { Ok(()) }
}

/// Refuses an empty list of keys, and keys that would match any answer.
fn check_keys(path: &str, keys: &[String]) -> Result<(), (String, String)> {
    if keys.is_empty() {
        return Err((path.to_owned(), "needs at least one key".to_owned()));
    }
    for (i, key) in keys.iter().enumerate() {
        if crate::score::normalise(key).is_empty() {
            return Err((format!("{path}[{i}]"), "has neither a letter nor a digit".to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
