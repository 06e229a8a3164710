//! Where the peers lie, which of them are installed, and how each is started.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::{
    ours,
    peer_report::{Device, PeerReport},
    statistics::Unit,
};
use crate::{browser, shell};

/// The variable that names the folder that `install.sh` fills.
const VARIABLE: &str = "TMEM_PEERS";

/// An engine and the device that it is told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// llama.cpp on the Vulkan adapter that the trainer uses
    LlamaVulkan,
    /// llama.cpp on the CPU
    LlamaCpu,
    /// wllama in headless Chromium, in WebAssembly
    Wllama,
    /// wllama in headless Chromium, on its WebGPU; must be named, a software adapter may take hours
    WllamaWebgpu,
    /// transformers.js in headless Chromium, in WebAssembly, on random weights in ONNX
    TransformersJs,
    /// A training step with PyTorch and peft on the CPU
    Pytorch,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) prompt: usize,
    pub(super) generated: usize,
    pub(super) sequences: usize,
    pub(super) tokens: usize,
}

impl Sizes {
    /// What `trainer bench` measures.
    pub(super) const FULL: Self =
        Self { prompt: ours::PROMPT_TOKENS, generated: ours::GENERATED_TOKENS, sequences: 16, tokens: 51 };
    /// What is just enough to see that everything functions.
    pub(super) const SMOKE: Self = Self { prompt: 32, generated: 4, sequences: 2, tokens: 16 };
}

impl Peer {
    /// All that are measured where none is named.
    pub(super) const DEFAULT: [Self; 5] =
        [Self::LlamaVulkan, Self::LlamaCpu, Self::Wllama, Self::TransformersJs, Self::Pytorch];

    /// As it stands in a table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::LlamaVulkan => "llama.cpp, Vulkan",
            Self::LlamaCpu => "llama.cpp, CPU",
            Self::Wllama => "wllama, WASM",
            Self::WllamaWebgpu => "wllama, WebGPU",
            Self::TransformersJs => "transformers.js, WASM, random weights",
            Self::Pytorch => "PyTorch + peft, CPU",
        }
    }

    /// Where it has to run.
    pub(super) fn device(self) -> Device {
        match self {
            Self::LlamaVulkan => Device::Vulkan,
            Self::LlamaCpu | Self::Pytorch => Device::Cpu,
            Self::Wllama | Self::TransformersJs => Device::Wasm,
            Self::WllamaWebgpu => Device::WebGpu,
        }
    }

    /// Its page, where it runs in the browser.
    pub(super) fn page(self) -> Option<&'static str> {
        match self {
            Self::Wllama | Self::WllamaWebgpu => Some("wllama.html"),
            Self::TransformersJs => Some("transformers_js.html"),
            Self::LlamaVulkan | Self::LlamaCpu | Self::Pytorch => None,
        }
    }

    /// Whether it reads a prompt, and of how many tokens.
    pub(super) fn prompt(self, sizes: &Sizes) -> Option<usize> {
        (self != Self::Pytorch).then_some(sizes.prompt)
    }

    /// What the figures of one run are, in the order of [`Peer::figures`].
    pub(super) fn measures(self, sizes: &Sizes) -> [(String, Unit); 2] {
        let Sizes { prompt, generated, sequences, tokens } = sizes;
        if self == Self::Pytorch {
            let step = |how| (format!("training step, {sequences} x {tokens} tokens, last 4, {how}"), Unit::Seconds);
            [step("new cards"), step("kept states")]
        } else {
            [
                (format!("prefill, {prompt} tokens"), Unit::TokensPerSecond),
                (format!("decode, {generated} tokens"), Unit::TokensPerSecond),
            ]
        }
    }

    /// The figures of one run. PyTorch keeps no hidden states between steps: both of our steps stand beside its one.
    pub(super) fn figures(self, report: &PeerReport) -> Result<[f64; 2]> {
        let missing = || format!("{} left out a figure", self.title());
        let figures = if self == Self::Pytorch {
            report.step_seconds.map(|seconds| [seconds, seconds])
        } else {
            report.prompt_tokens_per_s.zip(report.decode_tokens_per_s).map(<[f64; 2]>::from)
        };
        figures.filter(|figures| figures.iter().all(|&figure| figure > 0.0 && figure.is_finite())).with_context(missing)
    }
}

/// The folder that `install.sh` fills, and what else the peers need.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    folder: PathBuf,
    node: Option<PathBuf>,
    chromium: Option<PathBuf>,
}

impl Installation {
    /// The folder named by [`VARIABLE`], or the one in the user's cache.
    pub(super) fn find() -> Result<Self> {
        let cache = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache").join("tmem-peers"));
        let folder = env::var_os(VARIABLE).map(PathBuf::from).or_else(cache);
        let folder =
            folder.with_context(|| format!("there is no home folder; name one for the peers in {VARIABLE}"))?;
        Ok(Self { folder, node: shell::find_program("node"), chromium: browser::find() })
    }

    /// Why a peer cannot run here and what to do about it, or nothing where it can.
    pub(super) fn missing(&self, peer: Peer) -> Option<String> {
        let install = |part: &str| Some(format!("not installed; run: bash xtask/peers/install.sh {part}"));
        let no_node =
            || Some("needs Node.js 20 or later; install it, then run: bash xtask/peers/install.sh".to_owned());
        let browser_part = if peer == Peer::TransformersJs { "transformers.js" } else { "wllama" };
        match peer {
            Peer::Pytorch if !self.python().is_file() => install("pytorch"),
            Peer::Pytorch => None,
            _ if self.node.is_none() => no_node(),
            Peer::LlamaVulkan | Peer::LlamaCpu if !self.has_module("node-llama-cpp") => install("llama.cpp"),
            Peer::LlamaVulkan if !self.has_vulkan_build() => {
                Some("there is no Vulkan build of node-llama-cpp for this machine".to_owned())
            }
            Peer::LlamaVulkan | Peer::LlamaCpu => None,
            _ if !self.has_module("puppeteer-core") => install(browser_part),
            Peer::Wllama | Peer::WllamaWebgpu if !self.has_module("@wllama/wllama") => install(browser_part),
            Peer::TransformersJs if !self.models().join("smollm2").join("config.json").is_file() => {
                install(browser_part)
            }
            Peer::TransformersJs if !self.has_module("@huggingface/transformers") => install(browser_part),
            Peer::Wllama | Peer::WllamaWebgpu | Peer::TransformersJs => {
                let no_browser = || format!("needs Chromium; install it or name it in {}", browser::VARIABLE);
                self.chromium.is_none().then(no_browser)
            }
        }
    }

    /// The command of one run.
    pub(super) fn command(&self, peer: Peer, model: &Path, threads: usize, sizes: &Sizes) -> Command {
        let scripts = shell::repository().join("xtask").join("peers");
        let Sizes { prompt, generated, sequences, tokens } = sizes;
        let threads = threads.to_string();
        if peer == Peer::Pytorch {
            let mut command = Command::new(self.python());
            // transformers warns of its own future; errors are no warnings.
            command.args(["-W", "ignore"]).arg(scripts.join("peft_step.py")).args(["--threads", &threads]);
            command.args(["--sequences", &sequences.to_string(), "--tokens", &tokens.to_string()]);
            return command;
        }
        let mut command = Command::new(self.node.as_deref().unwrap_or(Path::new("node")));
        if let Some(page) = peer.page() {
            command.arg(scripts.join("browser.mjs")).args(["--page", page]);
            command.arg("--chromium").arg(self.chromium.as_deref().unwrap_or(Path::new("chromium")));
            command.arg("--models").arg(self.models());
        } else {
            command.arg(scripts.join("llama_cpp.mjs"));
        }
        let backend = match peer.device() {
            Device::Cpu => "cpu",
            Device::Vulkan => "vulkan",
            Device::Wasm => "wasm",
            Device::WebGpu => "webgpu",
        };
        command.arg("--modules").arg(self.modules()).arg("--model").arg(model);
        command.args(["--backend", backend, "--threads", &threads]);
        command.args(["--prompt", &prompt.to_string(), "--generate", &generated.to_string()]);
        if peer == Peer::LlamaVulkan && env::var_os("GGML_VK_VISIBLE_DEVICES").is_none() {
            // Without it llama.cpp passes over adapters that are software, and falls back to the CPU.
            command.env("GGML_VK_VISIBLE_DEVICES", "0");
        }
        command
    }

    fn modules(&self) -> PathBuf {
        self.folder.join("node").join("node_modules")
    }

    /// Whether the prebuilt llama.cpp for Vulkan was installed; it exists for some machines only.
    fn has_vulkan_build(&self) -> bool {
        let builds = fs::read_dir(self.modules().join("@node-llama-cpp")).into_iter().flatten().flatten();
        builds.map(|build| build.file_name()).any(|name| name.to_string_lossy().ends_with("-vulkan"))
    }

    /// Models of other formats than GGUF.
    fn models(&self) -> PathBuf {
        self.folder.join("onnx")
    }

    fn has_module(&self, name: &str) -> bool {
        self.modules().join(name).join("package.json").is_file()
    }

    fn python(&self) -> PathBuf {
        self.folder.join("python").join("bin").join("python")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(folder: &Path) -> Installation {
        Installation { folder: folder.to_owned(), node: Some("node".into()), chromium: Some("chromium".into()) }
    }

    #[test]
    fn what_is_not_installed_says_how_to_install_it() {
        let folder = tempfile::tempdir().unwrap();
        let installation = installation(folder.path());
        let parts = [
            (Peer::LlamaCpu, "llama.cpp"),
            (Peer::Wllama, "wllama"),
            (Peer::TransformersJs, "transformers.js"),
            (Peer::Pytorch, "pytorch"),
        ];
        for (peer, part) in parts {
            let missing = installation.missing(peer).unwrap();
            assert!(missing.ends_with(&format!("install.sh {part}")), "{missing}");
        }
        let without_node = Installation { node: None, ..installation };
        assert!(without_node.missing(Peer::LlamaVulkan).unwrap().contains("Node.js"));
    }

    #[test]
    fn what_is_installed_is_not_missing() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("node/node_modules/node-llama-cpp");
        fs::create_dir_all(&package).unwrap();
        fs::write(package.join("package.json"), "{}").unwrap();
        assert_eq!(installation(folder.path()).missing(Peer::LlamaCpu), None);
        assert!(installation(folder.path()).missing(Peer::LlamaVulkan).unwrap().contains("no Vulkan build"));
        fs::create_dir_all(folder.path().join("node/node_modules/@node-llama-cpp/linux-x64-vulkan")).unwrap();
        assert_eq!(installation(folder.path()).missing(Peer::LlamaVulkan), None);
        assert!(installation(folder.path()).missing(Peer::Wllama).is_some());
    }

    #[test]
    fn the_device_is_named_in_the_command() {
        let line = |peer| {
            let command = installation(Path::new("/p")).command(peer, Path::new("m.gguf"), 2, &Sizes::FULL);
            shell::line(&command)
        };
        assert!(line(Peer::LlamaVulkan).contains("--backend vulkan --threads 2 --prompt 512 --generate 64"));
        assert!(line(Peer::Wllama).contains("--chromium chromium"));
        assert!(line(Peer::Pytorch).ends_with("--threads 2 --sequences 16 --tokens 51"));
    }

    #[test]
    fn a_figure_that_is_missing_or_no_number_is_an_error() {
        let report = PeerReport { prompt_tokens_per_s: Some(10.0), ..PeerReport::default() };
        assert!(Peer::LlamaCpu.figures(&report).is_err());
        let report = PeerReport { decode_tokens_per_s: Some(0.0), ..report };
        assert!(Peer::LlamaCpu.figures(&report).is_err());
        let report = PeerReport { decode_tokens_per_s: Some(2.5), ..report };
        assert_eq!(Peer::LlamaCpu.figures(&report).unwrap(), [10.0, 2.5]);
        let step = PeerReport { step_seconds: Some(2.0), ..PeerReport::default() };
        assert_eq!(Peer::Pytorch.figures(&step).unwrap(), [2.0, 2.0]);
    }
}
