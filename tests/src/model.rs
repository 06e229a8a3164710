//! The real model and the reference fixtures.

use std::path::{Path, PathBuf};

use tmem_core::model::gguf::{GgufError, GgufHeader, GgufReader};

/// The workspace's root folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace")
}

/// The real model: `TMEM_MODEL`, else the file that `cargo xtask model` fetches.
///
/// # Panics
/// There is no such file. Tests that need the model fail without it; they are never skipped.
pub fn model_path() -> PathBuf {
    let path = std::env::var_os("TMEM_MODEL")
        .map_or_else(|| root().join("models/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from);
    assert!(path.is_file(), "no model at {}: run `cargo xtask model`, or set TMEM_MODEL to a file", path.display());
    path
}

/// The header of a model file; reads no tensor data.
///
/// # Panics
/// The file cannot be read or is not a GGUF file.
pub fn read_header(path: &Path) -> GgufHeader {
    use std::io::Read;
    let mut file = std::fs::File::open(path).expect("the model file can be opened");
    let (mut reader, mut buffer) = (GgufReader::new(), vec![0; 1 << 16]);
    while reader.header().is_none() {
        let read = file.read(&mut buffer).expect("the model file can be read");
        assert!(read > 0, "the model file ends within its header");
        reader.push(&buffer[..read], |_, _| Ok::<_, GgufError>(())).expect("the model file is a GGUF file");
    }
    reader.header().expect("the loop ends with a header").clone()
}

/// A file of `tests/fixtures` as JSON.
///
/// # Panics
/// The file is missing or not JSON of that shape.
pub fn json_fixture<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = root().join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
