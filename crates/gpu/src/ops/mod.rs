//! One launcher per shader. Each module holds the shader's [`Shader`], an argument struct with the shapes in its
//! documentation, a function that builds the [`Dispatch`], and tests against an f64 twin.
//!
//! [`Dispatch`]: crate::Dispatch

use crate::{AdapterKind, Gpu, GpuError, Result, Shader, WeightFormat};

mod attention;
mod attention_backward;
mod attention_combine;
mod attention_step;
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
mod trust_region;

pub use attention::{Attention, attention};
pub use attention_backward::{AttentionBackward, attention_backward};
pub use attention_combine::{attention_combine, attention_spans};
pub use attention_step::{AttentionStep, attention_step};
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
pub use trust_region::{TrustRegion, trust_region};

/// Every shader of the crate, for the checks that go over all of them.
pub const SHADERS: &[&[Shader]] = &[
    &attention::SHADERS,
    &attention_backward::SHADERS,
    &[attention_combine::SHADER],
    &[attention_step::SHADER],
    &cross_entropy::SHADERS,
    &embed::SHADERS,
    &[gather_rows::SHADER],
    &[gradient_norm::SHADER],
    &[gram::SHADER],
    &[keep_columns::SHADER],
    &kl_divergence::SHADERS,
    &log_softmax::SHADERS,
    &lora::SHADERS,
    &lora_backward::SHADERS,
    &matmul::SHADERS,
    &matmul::SUBGROUP_SHADERS,
    &matmul_transposed::SHADERS,
    &matmul_transposed::SUBGROUP_SHADERS,
    &matmul_transposed::WORKGROUP_SHADERS,
    &matmul_workgroup::SHADERS,
    &matmul_workgroup::HALF_SHADERS,
    &optimizer::SHADERS,
    &projection::SHADERS,
    &projection::SUBGROUP_SHADERS,
    &projection::WORKGROUP_SHADERS,
    &rms_norm::SHADERS,
    &rms_norm_backward::SHADERS,
    &[rope_backward::SHADER],
    &[rope_cache::SHADER],
    &[sample::SHADER],
    &[scatter_rows::SHADER],
    &[swiglu::SHADER],
    &[swiglu_backward::SHADER],
    &[trust_region::SHADER],
];

/// Weight formats: so many forms every shader has that reads weights.
const FORMATS: usize = WeightFormat::ALL.len();

/// A shader with each of `shaders/include/weights_*.wgsl` in front (and `packed_*`, where it is `packed`), in the order of
/// [`WeightFormat::ALL`].
macro_rules! shader_per_format {
    (packed $name:literal $(, include $include:literal)*) => {
        [
            shader!($name, include "weights_q4", include "packed_q4" $(, include $include)*),
            shader!($name, include "weights_q8", include "packed_q8" $(, include $include)*),
            shader!($name, include "weights_q16", include "packed_q16" $(, include $include)*),
            shader!($name, include "weights_f16", include "packed_f16" $(, include $include)*),
            shader!($name, include "weights_f32", include "packed_f32" $(, include $include)*),
        ]
    };
    ($name:literal $(, include $include:literal)*) => {
        [
            shader!($name, include "weights_q4" $(, include $include)*),
            shader!($name, include "weights_q8" $(, include $include)*),
            shader!($name, include "weights_q16" $(, include $include)*),
            shader!($name, include "weights_f16" $(, include $include)*),
            shader!($name, include "weights_f32" $(, include $include)*),
        ]
    };
}
use shader_per_format;

/// The shader among `shaders` that reads `format`.
fn shader_for(shaders: &[Shader; FORMATS], format: WeightFormat) -> &Shader {
    match format {
        WeightFormat::Q4 => &shaders[0],
        WeightFormat::Q8 => &shaders[1],
        WeightFormat::Q16 => &shaders[2],
        WeightFormat::F16 => &shaders[3],
        WeightFormat::F32 => &shaders[4],
    }
}

/// Invocations that share what they read: LANES of `shaders/include/subgroup.wgsl`.
const SUBGROUP: u32 = 8;

/// Lines of a block of scores, LINES of `shaders/include/score_block.wgsl`: pairs of a row and a head, or keys, that a
/// workgroup takes.
const BLOCK_LINES: u32 = 32;

/// Whether an operation takes its kernel for emulated adapters with subgroups, where that reads by fours what has `sizes`
/// (lengths, strides and offsets).
fn share_by_fours(gpu: &Gpu, sizes: &[usize]) -> bool {
    gpu.kind() == AdapterKind::Cpu && gpu.has_subgroups_of(SUBGROUP) && by_fours(sizes)
}

/// Whether what has these lengths, strides and offsets can be read by fours.
fn by_fours(sizes: &[usize]) -> bool {
    sizes.iter().all(|size| size.is_multiple_of(4))
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
