//! What the tests need beside Rust: a Vulkan driver and Chromium.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{browser, shell};

/// Makes sure that a Vulkan driver and, where `with_browser`, Chromium are there: installs them on Debian-like machines
/// where it may, and otherwise says how.
pub(super) fn ensure(with_browser: bool) -> Result<()> {
    let missing = missing(with_browser);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.iter().map(|(_, package)| *package).collect::<Vec<_>>();
    let what = missing.iter().map(|(what, _)| *what).collect::<Vec<_>>().join(" and ");
    if shell::find_program("apt-get").is_none() {
        bail!("the tests need {what}, which is missing here; install it with this system's package manager");
    }
    if !is_root() {
        let packages = packages.join(" ");
        bail!("the tests need {what}; run: sudo apt-get update && sudo apt-get install -y {packages}");
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    shell::run(apt().arg("update"))?;
    shell::run(apt().args(["install", "-y", "--no-install-recommends"]).args(&packages))?;
    if let Some((what, _)) = self::missing(with_browser).first() {
        bail!("{} was installed, but there is still no {what}", packages.join(" "));
    }
    Ok(())
}

/// What processes that use a Vulkan adapter need in their environment: the software driver where there is no GPU (a loader that tries
/// the drivers of absent GPUs first is slow and noisy), and a runtime folder.
pub(crate) fn environment() -> Result<Vec<(&'static str, OsString)>> {
    let mut variables = Vec::new();
    if env::var_os("XDG_RUNTIME_DIR").is_none() {
        let folder = env::temp_dir().join("tmem-runtime");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        variables.push(("XDG_RUNTIME_DIR", folder.into_os_string()));
    }
    if !driver_is_chosen()
        && !has_gpu()
        && let Some(driver) = software_driver()
    {
        variables.push(("VK_ICD_FILENAMES", driver.into_os_string()));
    }
    Ok(variables)
}

/// What is missing, with the Debian package that has it.
fn missing(with_browser: bool) -> Vec<(&'static str, &'static str)> {
    let mut missing = Vec::new();
    if cfg!(target_os = "linux") && !driver_is_chosen() && !has_gpu() && software_driver().is_none() {
        missing.push(("a Vulkan driver", "mesa-vulkan-drivers"));
    }
    if cfg!(target_os = "linux") && !has_vulkan_loader() {
        missing.push(("the Vulkan loader", "libvulkan1"));
    }
    if with_browser && browser::find().is_none() {
        missing.push(("Chromium", "chromium"));
    }
    missing
}

fn driver_is_chosen() -> bool {
    ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"].iter().any(|name| env::var_os(name).is_some())
}

/// A GPU with a driver in the kernel; its Vulkan driver is the user's business.
fn has_gpu() -> bool {
    let nodes = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    let render_node = nodes.map(|node| node.file_name()).any(|name| name.to_string_lossy().starts_with("renderD"));
    render_node || Path::new("/dev/nvidia0").exists()
}

/// The manifest of lavapipe, Mesa's software Vulkan driver.
fn software_driver() -> Option<PathBuf> {
    let folders = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    files.map(|file| file.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("lvp_icd") && name.ends_with(".json") && is_for_this_machine(&name)
    })
}

/// A manifest may name its architecture: `lvp_icd.json`, `lvp_icd.x86_64.json`, `lvp_icd.i686.json`.
fn is_for_this_machine(name: &str) -> bool {
    name == "lvp_icd.json" || name.contains(env::consts::ARCH)
}

fn has_vulkan_loader() -> bool {
    let architecture = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    let folders = [architecture.as_str(), "/usr/lib64", "/usr/lib", "/lib64", "/usr/local/lib"];
    folders.iter().any(|folder| Path::new(folder).join("libvulkan.so.1").exists())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::is_for_this_machine;

    #[test]
    fn manifests_of_other_architectures_are_passed_over() {
        assert!(is_for_this_machine("lvp_icd.json"));
        assert!(is_for_this_machine(&format!("lvp_icd.{}.json", std::env::consts::ARCH)));
        assert!(!is_for_this_machine("lvp_icd.mips.json"));
    }
}
