//! Size and SHA-256 of a file.

use std::{
    fmt, fs, io,
    io::{Read, Write},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::FetchError;

/// What identifies the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
}

impl Fingerprint {
    /// The hash as 64 lower-case hexadecimal digits.
    pub fn sha256_hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.bytes, self.sha256_hex())
    }
}

/// The fingerprint of a file, read in pieces.
pub fn fingerprint(path: &Path) -> Result<Fingerprint, FetchError> {
    let read = || copy_and_hash(&mut fs::File::open(path)?, &mut io::sink());
    read().map_err(FetchError::io("read", path))
}

/// Copies `from` to `to` and says what went through.
pub(crate) fn copy_and_hash(from: &mut impl Read, to: &mut impl Write) -> io::Result<Fingerprint> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(Fingerprint { bytes, sha256: hash.finalize().into() }),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
}

/// Whether `path` is a file with this content; a wrong size is seen without reading it.
pub(crate) fn matches(path: &Path, expected: &Fingerprint) -> Result<bool, FetchError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() == expected.bytes => Ok(fingerprint(path)? == *expected),
        Ok(_) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(FetchError::io("read", path)(e)),
    }
}
