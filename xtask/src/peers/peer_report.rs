//! What a peer's script prints, and whether it ran where it was told to.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// One run of a peer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct PeerReport {
    /// The peer's name.
    pub(super) peer: String,
    /// Its version and that of what it runs in.
    pub(super) version: String,
    /// Where it says that it ran: `CPU`, `Vulkan: ADAPTER`, `WASM`, `WebGPU`.
    pub(super) device: String,
    /// Threads on the CPU.
    pub(super) threads: usize,
    /// Layers that llama.cpp put on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gpu_layers: Option<usize>,
    /// Layers that there are, the head counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layers: Option<usize>,
    /// Where llama.cpp put the weights, such as `Vulkan0 92.10 MiB`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) buffers: Vec<String>,
    /// Tokens of the prompt that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_tokens: Option<usize>,
    /// Tokens of the prompt a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_tokens_per_s: Option<f64>,
    /// Generated tokens a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decode_tokens_per_s: Option<f64>,
    /// Seconds of a training step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) step_seconds: Option<f64>,
}

/// Where a peer has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// On the processor.
    Cpu,
    /// On a Vulkan adapter, with every layer.
    Vulkan,
    /// In WebAssembly.
    Wasm,
    /// On the browser's GPU, with every layer.
    WebGpu,
}

impl PeerReport {
    /// The report in what a script printed: its last line.
    pub(super) fn parse(output: &str) -> Result<Self> {
        let line = output.lines().rfind(|line| !line.trim().is_empty()).context("the peer printed nothing")?;
        serde_json::from_str(line).with_context(|| format!("the peer did not print its figures but: {line}"))
    }

    /// Fails where the peer ran elsewhere than it was told to, or with another number of threads or tokens. llama.cpp
    /// and wllama say nothing when they fall back to the CPU; figures of such a run would be under a wrong name.
    pub(super) fn check(&self, device: Device, threads: usize, prompt_tokens: Option<usize>) -> Result<()> {
        let peer = &self.peer;
        let said = &self.device;
        let buffers = self.buffers.join(", ");
        let everything = self.gpu_layers.is_some() && self.gpu_layers == self.layers;
        let weights_on = |name: &str| self.buffers.iter().any(|buffer| buffer.starts_with(name));
        match device {
            Device::Cpu if said != "CPU" || weights_on("Vulkan") => {
                bail!("{peer} was to run on the CPU but ran on {said} (weights: {buffers})")
            }
            Device::Vulkan if !said.starts_with("Vulkan: ") || !everything || !weights_on("Vulkan") => bail!(
                "{peer} was to run on a Vulkan adapter but fell back to the CPU: it reports {said}, {} of {} layers \
                 there, weights: {buffers}; see which adapters there are with `vulkaninfo --summary`, and let \
                 GGML_VK_VISIBLE_DEVICES name one",
                self.gpu_layers.unwrap_or(0),
                self.layers.unwrap_or(0)
            ),
            Device::Wasm if said != "WASM" => {
                bail!("{peer} was to run in WebAssembly but ran on {said} (weights: {buffers})")
            }
            Device::WebGpu if said != "WebGPU" || !everything => bail!(
                "{peer} was to run on WebGPU but fell back: it reports {said}, {} of {} layers on the GPU, weights: \
                 {buffers}",
                self.gpu_layers.unwrap_or(0),
                self.layers.unwrap_or(0)
            ),
            _ => {}
        }
        if self.threads != threads {
            let hint = match device {
                Device::Wasm | Device::WebGpu => "; its page needs cross-origin isolation for threads",
                Device::Cpu | Device::Vulkan => "",
            };
            bail!("{peer} was to use {threads} threads but used {}{hint}", self.threads);
        }
        if self.prompt_tokens != prompt_tokens {
            let measured = self.prompt_tokens.unwrap_or(0);
            bail!("{peer} was to read {} tokens but read {measured}", prompt_tokens.unwrap_or(0));
        }
        Ok(())
    }

    /// Fails where it ran on a Vulkan adapter other than ours.
    pub(super) fn check_adapter(&self, ours: &str) -> Result<()> {
        match self.device.strip_prefix("Vulkan: ") {
            Some(adapter) if adapter != ours => bail!(
                "ours ran on {ours} and {} on {adapter}, which is no pair; let GGML_VK_VISIBLE_DEVICES or \
                 VK_ICD_FILENAMES choose the adapter",
                self.peer
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VULKAN: &str = r#"{"peer":"llama.cpp","version":"v0.5.0 (node-llama-cpp 3.22.1)",
        "device":"Vulkan: llvmpipe (LLVM 15.0.6, 256 bits)","threads":2,"gpu_layers":31,"layers":31,
        "buffers":["CPU_Mapped 28.69 MiB","Vulkan0 92.10 MiB"],"prompt_tokens":512,
        "prompt_tokens_per_s":13.4,"decode_tokens_per_s":2.6}"#;

    fn report(text: &str) -> PeerReport {
        PeerReport::parse(&text.replace('\n', " ")).unwrap()
    }

    #[track_caller]
    fn assert_refused(report: &PeerReport, device: Device, words: &str) {
        let error = report.check(device, 2, Some(512)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn a_peer_that_ran_where_it_should_is_accepted() {
        report(VULKAN).check(Device::Vulkan, 2, Some(512)).unwrap();
        let cpu = report(
            r#"{"peer":"llama.cpp","device":"CPU","threads":2,"gpu_layers":0,"layers":31,
                "buffers":["AMX 95.34 MiB","CPU_Mapped 92.10 MiB"],"prompt_tokens":512}"#,
        );
        cpu.check(Device::Cpu, 2, Some(512)).unwrap();
        let wasm = report(r#"{"peer":"wllama","device":"WASM","threads":2,"prompt_tokens":512}"#);
        wasm.check(Device::Wasm, 2, Some(512)).unwrap();
        let step = report(r#"{"peer":"PyTorch + peft","device":"CPU","threads":2,"step_seconds":2.0}"#);
        step.check(Device::Cpu, 2, None).unwrap();
    }

    #[test]
    fn llama_cpp_without_a_vulkan_adapter_is_refused() {
        // What it really reports where GGML_VK_VISIBLE_DEVICES is not set and the only adapter is a software one.
        let fallen_back = PeerReport {
            device: "Vulkan: no device".to_owned(),
            gpu_layers: Some(0),
            buffers: vec!["AMX 95.34 MiB".to_owned(), "CPU_Mapped 92.10 MiB".to_owned()],
            ..report(VULKAN)
        };
        assert_refused(&fallen_back, Device::Vulkan, "fell back to the CPU");
        let partly = PeerReport { gpu_layers: Some(12), ..report(VULKAN) };
        assert_refused(&partly, Device::Vulkan, "12 of 31 layers");
        let cpu = PeerReport { device: "CPU".to_owned(), ..report(VULKAN) };
        assert_refused(&cpu, Device::Vulkan, "it reports CPU");
        let unknown = PeerReport { gpu_layers: None, layers: None, ..report(VULKAN) };
        assert_refused(&unknown, Device::Vulkan, "fell back");
    }

    #[test]
    fn an_adapter_where_the_cpu_was_asked_for_is_refused() {
        assert_refused(&report(VULKAN), Device::Cpu, "was to run on the CPU");
        let pretends = PeerReport { device: "CPU".to_owned(), ..report(VULKAN) };
        assert_refused(&pretends, Device::Cpu, "Vulkan0 92.10 MiB");
    }

    #[test]
    fn wasm_in_place_of_webgpu_is_refused_and_the_other_way_round() {
        let wasm = report(
            r#"{"peer":"wllama","device":"WASM","threads":2,"gpu_layers":0,"layers":31,"prompt_tokens":512,
                "buffers":["CPU 92.10 MiB"]}"#,
        );
        assert_refused(&wasm, Device::WebGpu, "WebGPU but fell back: it reports WASM");
        let webgpu = PeerReport { device: "WebGPU".to_owned(), gpu_layers: Some(31), ..wasm };
        webgpu.check(Device::WebGpu, 2, Some(512)).unwrap();
        assert_refused(&webgpu, Device::Wasm, "WebAssembly but ran on WebGPU");
    }

    #[test]
    fn two_adapters_are_no_pair() {
        report(VULKAN).check_adapter("llvmpipe (LLVM 15.0.6, 256 bits)").unwrap();
        let error = report(VULKAN).check_adapter("NVIDIA H200").unwrap_err().to_string();
        assert!(error.contains("ours ran on NVIDIA H200 and llama.cpp on llvmpipe"), "{error}");
        // The CPU beside our adapter is a comparison that is meant.
        PeerReport { device: "CPU".to_owned(), ..report(VULKAN) }.check_adapter("NVIDIA H200").unwrap();
    }

    #[test]
    fn other_threads_and_other_sizes_are_refused() {
        let single = PeerReport { threads: 1, ..report(VULKAN) };
        assert_refused(&single, Device::Vulkan, "2 threads but used 1");
        let single = PeerReport { device: "WASM".to_owned(), ..single };
        assert_refused(&single, Device::Wasm, "cross-origin isolation");
        let short = PeerReport { prompt_tokens: Some(500), ..report(VULKAN) };
        assert_refused(&short, Device::Vulkan, "512 tokens but read 500");
    }

    #[test]
    fn only_the_last_line_counts_and_nonsense_is_shown() {
        let noise = format!("loading\n\n{}\n\n", VULKAN.replace('\n', " "));
        assert_eq!(PeerReport::parse(&noise).unwrap(), report(VULKAN));
        assert!(PeerReport::parse("").unwrap_err().to_string().contains("printed nothing"));
        assert!(PeerReport::parse("boom").unwrap_err().to_string().contains("but: boom"));
    }
}
