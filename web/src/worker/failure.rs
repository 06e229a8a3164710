//! Errors of the engine and the browser in the page's terms.

use tmem_core::engine::EngineError;
use tmem_core::model::{LoadError, WeightsError};
use tmem_core::recipe::{RecipeError, ReplayError};
use tmem_core::rollout::AgentError;
use tmem_core::rollout::policy::PolicyError;
use tmem_gpu::GpuError;

use crate::archive::ArchiveError;
use crate::fit::GaugeError;
use crate::protocol::{Cause, Failure};

impl Failure {
    /// A failure with its cause and words.
    pub(crate) fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
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
        Self::new(cause_of(&error), error.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Gpu(gpu) => gpu.into(),
            other => Self::new(Cause::Other, other.to_string()),
        }
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        let gpu = match &error {
            PolicyError::Model(inner) => match inner.downcast_ref::<EngineError>() {
                Some(EngineError::Gpu(gpu)) => Some(gpu),
                _ => inner.downcast_ref::<GpuError>(),
            },
            PolicyError::PromptTooLong { .. } => None,
        };
        Self::new(gpu.map_or(Cause::Other, cause_of), error.to_string())
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Policy(policy) => policy.into(),
            other => Self::new(Cause::Other, other.to_string()),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Weights(WeightsError::Gpu(gpu)) => gpu.into(),
            other => Self::new(Cause::Model, other.to_string()),
        }
    }
}

impl From<GaugeError> for Failure {
    fn from(error: GaugeError) -> Self {
        match error {
            GaugeError::Load(error) => error.into(),
            GaugeError::TooLarge(words) => Self::new(Cause::Memory, words),
        }
    }
}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        Self::new(Cause::Link, error.to_string())
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        Self::new(Cause::Link, error.to_string())
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::new(Cause::Archive, error.to_string())
    }
}
