//! Errors of the engine and the browser in the page's terms.

use tmem_core::rollout::policy::PolicyError;
use tmem_gpu::GpuError;

use crate::protocol::{Cause, Failure};
use crate::store::StoreError;

impl Failure {
    /// A failure with its cause and words.
    pub(crate) fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }

    /// A failure from an error: the cause is that of the GPU where one is behind it, else `otherwise`.
    pub(crate) fn from_error(error: &(dyn std::error::Error + 'static), otherwise: Cause) -> Self {
        let mut link = Some(error);
        while let Some(this) = link {
            if let Some(gpu) = this.downcast_ref::<GpuError>() {
                return Self::new(cause_of(gpu), error.to_string());
            }
            link = this.source();
        }
        Self::new(otherwise, error.to_string())
    }
}

fn cause_of(error: &GpuError) -> Cause {
    match error {
        GpuError::NoAdapter { .. } | GpuError::NoDevice { .. } => Cause::NoWebGpu,
        GpuError::DeviceLost(_) => Cause::DeviceLost,
        GpuError::TooLarge { .. } | GpuError::OutOfMemory(_) => Cause::Memory,
        GpuError::Validation(_) | GpuError::Shape { .. } => Cause::Other,
    }
}

impl From<GpuError> for Failure {
    fn from(error: GpuError) -> Self {
        Self::from_error(&error, Cause::Other)
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        Self::from_error(&error, Cause::Other)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::from_error(&error, Cause::Other)
    }
}
