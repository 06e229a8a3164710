//! Takes comments and indentation out of the shaders, a third of what programs would carry, and numbers what is left.
//! For browsers the kernels with subgroups are left out: wgpu cannot ask for those there.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // As this build has them: with a shared target folder the script may have been compiled in another checkout.
    let folder = |name| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let source = folder("CARGO_MANIFEST_DIR")?.join("../../shaders");
    let target = folder("OUT_DIR")?.join("shaders");
    println!("cargo::rerun-if-changed={}", source.display());
    let browser = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|target| target == "wasm32");
    let mut hasher = DefaultHasher::new();
    for folder in ["", "include"] {
        fs::create_dir_all(target.join(folder))?;
        let mut files: Vec<_> = fs::read_dir(source.join(folder))?.collect::<io::Result<Vec<_>>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files.iter().filter(|file| file.path().extension().is_some_and(|ending| ending == "wgsl")) {
            let left_out = browser && file.file_name().to_string_lossy().ends_with("subgroup.wgsl");
            let text = if left_out { String::new() } else { stripped(&fs::read_to_string(file.path())?) };
            text.hash(&mut hasher);
            fs::write(target.join(folder).join(file.file_name()), text)?;
        }
    }
    println!("cargo::rustc-env=SHADERS_FINGERPRINT={:016x}", hasher.finish());
    Ok(())
}

/// WGSL has no strings that a comment's slashes could stand in.
fn stripped(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}
