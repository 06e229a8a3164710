//! One launcher per shader. Each module holds the shader's [`Shader`], an argument struct with the shapes in its
//! documentation, a function that builds the [`Dispatch`], and tests against an f64 twin.
//!
//! [`Dispatch`]: crate::Dispatch

use crate::{AdapterKind, Gpu, GpuError, Result, Shader};

mod attention;
mod attention_backward;
mod cross_entropy;
mod embed;
mod gather_rows;
#[cfg(test)]
mod gradient_check;
mod gradient_norm;
mod gram;
mod keep_columns;
mod kl_divergence;
mod log_softmax;
mod lora;
mod lora_backward;
mod matmul;
mod matmul_transposed;
mod matmul_workgroup;
mod optimizer;
mod projection;
mod rms_norm;
mod rms_norm_backward;
mod rope_backward;
mod rope_cache;
mod sample;
mod scatter_rows;
mod swiglu;
mod swiglu_backward;

pub use attention::{Attention, attention};
pub use attention_backward::{AttentionBackward, attention_backward};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use embed::{Embed, embed};
pub use gather_rows::gather_rows;
pub use gradient_norm::gradient_norm;
pub use gram::{Gram, gram};
pub use keep_columns::keep_columns;
pub use kl_divergence::{KlDivergence, kl_divergence};
pub use log_softmax::log_softmax;
pub use lora::{LoraDown, LoraUp, lora_down, lora_up};
pub use lora_backward::{LoraBackwardX, LoraSite, lora_backward_b, lora_backward_u, lora_backward_x};
pub use matmul::{Matmul, MatmulVariant, matmul, matmul_as};
pub use matmul_transposed::{MatmulTransposed, matmul_transposed};
pub(crate) use matmul_transposed::{TransposedVariant, matmul_transposed_as};
pub use optimizer::{AdamWSettings, OptimizerBuffers, OptimizerStep, adamw, sgd};
pub use projection::{
    AdaptedOutputs, AdapterTerm, Finish, InputNorm, PROJECTION_ROWS, PROJECTION_SITES, Projection, projection,
    projection_norms, projection_runs_on,
};
pub use rms_norm::{RmsNorm, rms_norm};
pub use rms_norm_backward::{RmsNormBackward, rms_norm_backward};
pub use rope_backward::{RopeBackward, rope_backward};
pub use rope_cache::{RopeCache, rope_cache};
pub use sample::{Drawn, Progress, Sample, Sampling, sample};
pub use scatter_rows::{ScatterRows, scatter_rows};
pub use swiglu::swiglu;
pub use swiglu_backward::{SwigluBackward, swiglu_backward};

/// Every shader of the crate, for the checks that go over all of them.
pub const SHADERS: &[Shader] = &[
    attention::SHADERS[0],
    attention::SHADERS[1],
    attention::SHADERS[2],
    attention::SHADERS[3],
    attention::SHADERS[4],
    attention_backward::SHADERS[0],
    attention_backward::SHADERS[1],
    attention_backward::SHADERS[2],
    cross_entropy::SHADERS[0],
    cross_entropy::SHADERS[1],
    embed::SHADERS[0],
    embed::SHADERS[1],
    embed::SHADERS[2],
    embed::SHADERS[3],
    gather_rows::SHADER,
    lora::SHADERS[0],
    lora::SHADERS[1],
    gradient_norm::SHADER,
    gram::SHADER,
    keep_columns::SHADER,
    kl_divergence::SHADERS[0],
    kl_divergence::SHADERS[1],
    log_softmax::SHADERS[0],
    log_softmax::SHADERS[1],
    lora_backward::SHADERS[0],
    lora_backward::SHADERS[1],
    lora_backward::SHADERS[2],
    lora_backward::SHADERS[3],
    lora_backward::SHADERS[4],
    lora_backward::SHADERS[5],
    matmul::SHADERS[0],
    matmul::SHADERS[1],
    matmul::SHADERS[2],
    matmul::SHADERS[3],
    matmul::SUBGROUP_SHADERS[0],
    matmul::SUBGROUP_SHADERS[1],
    matmul::SUBGROUP_SHADERS[2],
    matmul::SUBGROUP_SHADERS[3],
    matmul_transposed::SHADERS[0],
    matmul_transposed::SHADERS[1],
    matmul_transposed::SHADERS[2],
    matmul_transposed::SHADERS[3],
    matmul_transposed::SUBGROUP_SHADERS[0],
    matmul_transposed::SUBGROUP_SHADERS[1],
    matmul_transposed::SUBGROUP_SHADERS[2],
    matmul_transposed::SUBGROUP_SHADERS[3],
    matmul_transposed::WORKGROUP_SHADERS[0],
    matmul_transposed::WORKGROUP_SHADERS[1],
    matmul_transposed::WORKGROUP_SHADERS[2],
    matmul_transposed::WORKGROUP_SHADERS[3],
    matmul_workgroup::SHADERS[0],
    matmul_workgroup::SHADERS[1],
    matmul_workgroup::SHADERS[2],
    matmul_workgroup::SHADERS[3],
    optimizer::SHADERS[0],
    optimizer::SHADERS[1],
    projection::SHADERS[0],
    projection::SHADERS[1],
    projection::SHADERS[2],
    projection::SHADERS[3],
    projection::SUBGROUP_SHADERS[0],
    projection::SUBGROUP_SHADERS[1],
    projection::SUBGROUP_SHADERS[2],
    projection::SUBGROUP_SHADERS[3],
    projection::WORKGROUP_SHADERS[0],
    projection::WORKGROUP_SHADERS[1],
    projection::WORKGROUP_SHADERS[2],
    projection::WORKGROUP_SHADERS[3],
    rms_norm::SHADERS[0],
    rms_norm::SHADERS[1],
    rms_norm_backward::SHADERS[0],
    rms_norm_backward::SHADERS[1],
    rope_backward::SHADER,
    rope_cache::SHADER,
    sample::SHADER,
    scatter_rows::SHADER,
    swiglu::SHADER,
    swiglu_backward::SHADER,
];

/// Invocations that share what they read: LANES of `shaders/include/subgroup.wgsl`.
const SUBGROUP: u32 = 8;

/// Lines of a block of scores, LINES of `shaders/include/score_block.wgsl`: pairs of a row and a head, or keys, that a
/// workgroup takes.
const BLOCK_LINES: u32 = 32;

/// Whether an operation takes its kernel for emulated adapters with subgroups, where that reads by fours what has `sizes`
/// (lengths, strides and offsets).
fn share_by_fours(gpu: &Gpu, sizes: &[usize]) -> bool {
    gpu.kind() == AdapterKind::Cpu && gpu.has_subgroups_of(SUBGROUP) && sizes.iter().all(|size| size.is_multiple_of(4))
}

/// The largest number up to `most` that divides `heads`: how many heads of a group a kernel takes together.
fn most_dividing(heads: usize, most: usize) -> usize {
    (1..=most).rev().find(|&n| heads.is_multiple_of(n)).unwrap_or(1)
}

/// How many of a group of `heads` a kernel takes together, at most `most`: in as few shares as possible, and these as equal
/// as possible.
fn evenly(heads: usize, most: usize) -> usize {
    heads.div_ceil(heads.div_ceil(most))
}

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

#[cfg(test)]
mod interface_tests;
