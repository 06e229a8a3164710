//! The page: WebAssembly, its JavaScript glue and the static files, in `web/dist`.

use std::{
    fmt, fs,
    num::NonZeroU64,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

use crate::shell;

const TARGET: &str = "wasm32-unknown-unknown";
const PACKAGE: &str = "tmem-web";
/// Stem of the generated files: `tmem_web.js` and `tmem_web_bg.wasm`.
const STEM: &str = "tmem_web";
/// Rounds of the compressor; more of them gain next to nothing.
const ITERATIONS: NonZeroU64 = NonZeroU64::new(5).unwrap();

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

/// What was built: each file with its size and, where it has a compressed copy beside it, that of the copy, in bytes.
#[derive(Clone, Debug)]
pub struct Built(Vec<(String, u64, Option<u64>)>);

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: u64| format!("{:.1}", bytes as f64 / 1024.0);
        writeln!(f, "{:<32} {:>10} {:>10}", "web/dist", "KiB", "gzip KiB")?;
        let mut sum = (0, 0);
        for (name, raw, gzip) in &self.0 {
            writeln!(f, "{name:<32} {:>10} {:>10}", kib(*raw), gzip.map_or_else(|| "-".into(), kib))?;
            sum = (sum.0 + raw, sum.1 + gzip.unwrap_or(*raw));
        }
        write!(f, "{:<32} {:>10} {:>10}", "all, as it is sent", kib(sum.0), kib(sum.1))
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
    let mut files = files_below(&dist)?;
    files.sort();
    let mut built = Vec::new();
    for path in files {
        let gzip = if profile == WebProfile::Web { compress(&path)? } else { None };
        let name = path.strip_prefix(&dist).unwrap_or(&path).display().to_string();
        built.push((name, fs::metadata(&path)?.len(), gzip));
    }
    Ok(Built(built))
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

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// Puts a compressed copy, `NAME.gz`, beside a file, for servers to send in its place; returns the copy's size, or `None`
/// where it would not be smaller. Zopfli takes seconds for what servers compress in a blink, once, and a twentieth off it.
fn compress(path: &Path) -> Result<Option<u64>> {
    let bytes = fs::read(path)?;
    let mut gzip = Vec::new();
    let options = zopfli::Options { iteration_count: ITERATIONS, ..zopfli::Options::default() };
    zopfli::compress(options, zopfli::Format::Gzip, &bytes[..], &mut gzip)?;
    if gzip.len() >= bytes.len() {
        return Ok(None);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    fs::write(name, &gzip)?;
    Ok(Some(gzip.len() as u64))
}
