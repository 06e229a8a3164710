//! Where the learner computes: chosen at run time among the backends that were built in.

use std::str::FromStr;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// A backend of burn. Each needs the cargo feature of its name ([`Backend::WgpuCpu`] that of `wgpu`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The processor, several threads, f32.
    Flex,
    /// The best GPU that Vulkan, Metal or DirectX 12 offers.
    Wgpu,
    /// A GPU emulated on the processor, for tests. Slow.
    WgpuCpu,
    /// The first CUDA device.
    Cuda,
}

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// A name that is none.
    #[error("there is no backend `{name}`: use one of {}", list(&Backend::ALL))]
    Unknown {
        /// The name.
        name: String,
    },
    /// A backend that this program was built without.
    #[error(
        "the backend `{}` is not built in: build with `--features {}`, or use {}",
        .backend.name(), .backend.feature(), list(&Backend::built())
    )]
    NotBuilt {
        /// The backend.
        backend: Backend,
    },
}

impl Backend {
    /// All there are, built in or not.
    pub const ALL: [Self; 4] = [Self::Flex, Self::Wgpu, Self::WgpuCpu, Self::Cuda];

    /// Its name, as it is given on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Wgpu => "wgpu",
            Self::WgpuCpu => "wgpu-cpu",
            Self::Cuda => "cuda",
        }
    }

    /// The cargo feature that builds it in.
    fn feature(self) -> &'static str {
        match self {
            Self::WgpuCpu => Self::Wgpu.name(),
            other => other.name(),
        }
    }

    /// Those that are built in.
    pub fn built() -> Vec<Self> {
        let built = |backend: &Self| match backend {
            Self::Flex => cfg!(feature = "flex"),
            Self::Wgpu | Self::WgpuCpu => cfg!(feature = "wgpu"),
            Self::Cuda => cfg!(feature = "cuda"),
        };
        Self::ALL.into_iter().filter(built).collect()
    }

    /// The device, with gradients. With `checkpointing`, results that are cheap to compute are computed again on the
    /// way back instead of being kept.
    ///
    /// # Errors
    /// [`BackendError::NotBuilt`].
    pub fn device(self, checkpointing: bool) -> Result<Device, BackendError> {
        let device = self.plain_device()?.autodiff();
        Ok(if checkpointing { device.gradient_checkpointing() } else { device })
    }

    fn plain_device(self) -> Result<Device, BackendError> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(feature = "wgpu")]
            Self::WgpuCpu => Ok(Device::wgpu(burn::tensor::DeviceKind::Cpu)),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(burn::tensor::DeviceIndex::Default)),
            #[allow(unreachable_patterns)]
            backend => Err(BackendError::NotBuilt { backend }),
        }
    }
}

impl FromStr for Backend {
    type Err = BackendError;

    fn from_str(name: &str) -> Result<Self, BackendError> {
        let found = Self::ALL.into_iter().find(|backend| backend.name() == name);
        found.ok_or_else(|| BackendError::Unknown { name: name.to_owned() })
    }
}

fn list(backends: &[Backend]) -> String {
    backends.iter().map(|backend| format!("`{}`", backend.name())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_an_unknown_one_lists_them() {
        for backend in Backend::ALL {
            assert_eq!(backend.name().parse(), Ok(backend));
        }
        let message = "tpu".parse::<Backend>().unwrap_err().to_string();
        assert_eq!(message, "there is no backend `tpu`: use one of `flex`, `wgpu`, `wgpu-cpu`, `cuda`");
    }

    #[test]
    fn what_is_not_built_in_says_which_feature_it_needs() {
        for backend in Backend::ALL.into_iter().filter(|backend| !Backend::built().contains(backend)) {
            let message = backend.device(false).unwrap_err().to_string();
            assert!(message.contains(&format!("--features {}", backend.feature())), "{message}");
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_processor_is_a_device_with_gradients() {
        assert!(Backend::Flex.device(true).unwrap().is_autodiff());
    }
}
