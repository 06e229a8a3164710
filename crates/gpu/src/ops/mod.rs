//! One launcher per shader. Each module holds the shader's [`Shader`], an argument struct with the shapes in its
//! documentation, a function that builds the [`Dispatch`], and tests against an f64 twin.
//!
//! [`Dispatch`]: crate::Dispatch

use crate::{GpuError, Result, Shader};

mod rms_norm;

pub use rms_norm::{RmsNorm, rms_norm};

/// Every shader of the crate, for the checks that go over all of them.
pub const SHADERS: &[Shader] = &[rms_norm::SHADER];

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
