//! One launcher per shader. Each module holds the shader's [`Shader`], an argument struct with the shapes in its
//! documentation, a function that builds the [`Dispatch`], and tests against an f64 twin.
//!
//! [`Dispatch`]: crate::Dispatch

use crate::{GpuError, Result, Shader};

mod cross_entropy;
mod kl_divergence;
mod log_softmax;
mod matmul;
mod rms_norm;
mod rms_norm_backward;
mod rope_backward;
mod scatter_rows;
mod swiglu_backward;

pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use kl_divergence::{KlDivergence, kl_divergence};
pub use log_softmax::log_softmax;
pub use matmul::{Matmul, MatmulVariant, matmul, matmul_as};
pub use rms_norm::{RmsNorm, rms_norm};
pub use rms_norm_backward::{RmsNormBackward, rms_norm_backward};
pub use rope_backward::{RopeBackward, rope_backward};
pub use scatter_rows::{ScatterRows, scatter_rows};
pub use swiglu_backward::{SwigluBackward, swiglu_backward};

/// Every shader of the crate, for the checks that go over all of them.
pub const SHADERS: &[Shader] = &[
    cross_entropy::SHADER,
    kl_divergence::SHADER,
    log_softmax::SHADER,
    matmul::SHADERS[0],
    matmul::SHADERS[1],
    matmul::SHADERS[2],
    matmul::SHADERS[3],
    rms_norm::SHADER,
    rms_norm_backward::SHADER,
    rope_backward::SHADER,
    scatter_rows::SHADER,
    swiglu_backward::SHADER,
];

/// Demands that a buffer holds at least `words` 4-byte elements.
pub(crate) fn require(op: &'static str, buffer: &crate::Buffer, words: usize) -> Result<()> {
    if buffer.words() < words {
        return Err(GpuError::Shape {
            op,
            reason: format!("`{}` holds {} elements, {words} are needed", buffer.label(), buffer.words()),
        });
    }
    Ok(())
}
