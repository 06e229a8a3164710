//! The self-test: every kernel that this device will run, once on a small case against its f64 twin.
//!
//! Drivers and browsers compile the same WGSL in different ways, some of them wrongly. A wrong kernel is told by name
//! before anything is computed with it.

mod attention;
mod case;
mod forward;
mod projection;
mod training;

use crate::{AdapterKind, Gpu, GpuError, Result};
use case::{Build, Finding};

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelCheck {
    /// The kernel; with its weight format and row count where it has several forms.
    pub name: &'static str,
    /// Whether the kernel gave what its twin gives, and the same bits a second time.
    pub passed: bool,
    /// Root mean square error relative to the root mean square of the twin's values: the worst of the outputs.
    /// Infinite where values are missing or not numbers.
    pub error: f64,
    /// What is allowed of [`error`](Self::error), for that output.
    pub tolerance: f64,
    /// Empty where passed; else what differs and what was expected.
    pub message: String,
}

/// Its kernel and what differs.
impl std::fmt::Display for KernelCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.name, self.message)
    }
}

/// Runs every operation of [`ops`](crate::ops), in the variants that this device uses and in each weight format, on
/// seeded data, twice, against its twin. Each finished check is handed to `observe` (for a progress display). A kernel
/// that the device refuses is a failed check.
///
/// # Errors
/// A lost device ends the test; every other failure is reported as a [`KernelCheck`].
pub async fn self_test(gpu: &Gpu, observe: &mut dyn FnMut(&KernelCheck)) -> Result<Vec<KernelCheck>> {
    let tiled: &[&[_]] = if gpu.kind() == AdapterKind::Gpu {
        &[forward::TILED, attention::SPLIT, projection::TILED, training::TILED]
    } else {
        &[]
    };
    let mut checks = vec![];
    for &(name, build) in [forward::CHECKS, attention::CHECKS, projection::CHECKS, training::CHECKS]
        .iter()
        .chain(tiled)
        .copied()
        .flatten()
    {
        let check = match run(gpu, build).await {
            Ok(Finding { error, tolerance, message }) => {
                KernelCheck { name, passed: message.is_empty(), error, tolerance, message }
            }
            Err(lost @ GpuError::DeviceLost(_)) => return Err(lost),
            Err(other) => {
                let message = format!("could not be run: {other}");
                KernelCheck { name, passed: false, error: f64::INFINITY, tolerance: 0.0, message }
            }
        };
        observe(&check);
        checks.push(check);
    }
    Ok(checks)
}

/// A number for the texts of all shaders: a self-test that was passed holds for these alone.
pub const SHADERS_FINGERPRINT: &str = env!("SHADERS_FINGERPRINT");

async fn run(gpu: &Gpu, build: Build) -> Result<Finding> {
    build(gpu)?.run(gpu).await
}

#[cfg(test)]
mod tests;
