//! The page: WebAssembly, its JavaScript glue and the static files, in `web/dist`.

use std::{
    fmt, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use flate2::{Compression, write::GzEncoder};
use wasm_bindgen_cli_support::Bindgen;

use crate::shell;

const TARGET: &str = "wasm32-unknown-unknown";
const PACKAGE: &str = "tmem-web";
/// Stem of the generated files: `tmem_web.js` and `tmem_web_bg.wasm`.
const STEM: &str = "tmem_web";

/// How much the compiler optimises the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebProfile {
    /// The development profile: shared with tests and lints, large.
    Dev,
    /// The profile `web`: optimised for size across crates.
    Web,
}

impl WebProfile {
    /// From a command line's `--dev`.
    pub fn dev_if(dev: bool) -> Self {
        if dev { Self::Dev } else { Self::Web }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Web => "web",
        }
    }
}

/// What was built: each file with its size, raw and compressed by gzip, in bytes.
#[derive(Clone, Debug)]
pub struct Built(Vec<(String, u64, u64)>);

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<32} {:>10} {:>10}", "web/dist", "KiB", "gzip KiB")?;
        let mut sum = (0, 0);
        for (name, raw, gzip) in &self.0 {
            writeln!(f, "{name:<32} {:>10.1} {:>10.1}", *raw as f64 / 1024.0, *gzip as f64 / 1024.0)?;
            sum = (sum.0 + raw, sum.1 + gzip);
        }
        write!(f, "{:<32} {:>10.1} {:>10.1}", "all", sum.0 as f64 / 1024.0, sum.1 as f64 / 1024.0)
    }
}

/// Where the page is built.
pub fn dist_folder() -> PathBuf {
    shell::repository().join("web/dist")
}

/// Builds the page: cargo, wasm-bindgen (as a library, at the version in the lock file), static files. (Binaryen makes
/// the module smaller and what is sent of it, compressed, larger.)
pub fn build(profile: WebProfile) -> Result<Built> {
    ensure_target()?;
    let module = compile(profile)?;
    let dist = dist_folder();
    if dist.exists() {
        fs::remove_dir_all(&dist).with_context(|| format!("cannot clear {}", dist.display()))?;
    }
    fs::create_dir_all(&dist).with_context(|| format!("cannot create {}", dist.display()))?;
    Bindgen::new()
        .input_path(&module)
        .out_name(STEM)
        .web(true)?
        .typescript(false)
        // The default path is `import.meta.url`; leaving it in lets page and worker start without naming the module.
        .omit_default_module_path(false)
        // A quarter of the bundle, and of use to developers alone.
        .remove_name_section(profile == WebProfile::Web)
        .remove_producers_section(profile == WebProfile::Web)
        .generate(&dist)
        .context("wasm-bindgen failed")?;
    copy_folder(&shell::repository().join("web/static"), &dist)?;
    measure(&dist)
}

/// Adds the WebAssembly target to the toolchain if it is not there.
pub(crate) fn ensure_target() -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(shell::repository());
    let output = rustc.output().context("cannot start rustc")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && folder.is_dir() {
        return Ok(());
    }
    if shell::find_program("rustup").is_none() {
        bail!("this Rust toolchain lacks the target {TARGET}, and there is no rustup to add it; install rustup");
    }
    shell::run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(shell::repository()))
}

/// Compiles the page and returns the path of the module.
fn compile(profile: WebProfile) -> Result<PathBuf> {
    let mut command = shell::cargo();
    command.args(["build", "--package", PACKAGE, "--lib", "--target", TARGET, "--profile", profile.name()]);
    eprintln!("$ {}", shell::line(&command));
    if profile == WebProfile::Web {
        command.args(["--config", &without_paths()]);
    }
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the page does not compile: {}", output.status);
    }
    let module = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == STEM)
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .find(|path| path.extension().is_some_and(|e| e == "wasm"));
    module.context("cargo named no WebAssembly module")
}

/// Flags that take the paths of this machine's crates out of the page: panics would carry each of them.
fn without_paths() -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten().map(|entry| entry.path());
    let flags: Vec<_> = registries
        .chain([shell::repository()])
        .map(|path| format!("{:?}", format!("--remap-path-prefix={}/=", path.display())))
        .collect();
    format!("target.{TARGET}.rustflags=[{}]", flags.join(","))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(context)?;
    for entry in fs::read_dir(from).with_context(context)? {
        let entry = entry.with_context(context)?;
        let target = to.join(entry.file_name());
        if entry.file_type().with_context(context)?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).with_context(context)?;
        }
    }
    Ok(())
}

fn measure(dist: &Path) -> Result<Built> {
    let mut files = Vec::new();
    let mut folders = vec![dist.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path)?;
            let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
            gzip.write_all(&bytes)?;
            let name = path.strip_prefix(dist).unwrap_or(&path).display().to_string();
            files.push((name, bytes.len() as u64, gzip.finish()?.len() as u64));
        }
    }
    files.sort();
    Ok(Built(files))
}
