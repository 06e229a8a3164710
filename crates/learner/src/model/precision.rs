//! Mixed precision: what is frozen may be held and multiplied in half precision.

use burn::tensor::{DType, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// In what the layers' frozen matrices are held, and multiplied with. What is trained, the fast weights, normalisation,
/// attention, head, losses and the optimizer are in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// No mixture.
    #[default]
    F32,
    /// 10 bits of fraction, a small range: gradients are scaled on their way through the layers.
    F16,
    /// 7 bits of fraction, the range of f32. Not every backend has it.
    Bf16,
}

impl Precision {
    pub(super) fn cast(self, weight: Tensor<2>) -> Tensor<2> {
        match self {
            Self::F32 => weight,
            Self::F16 => weight.cast(FloatDType::F16),
            Self::Bf16 => weight.cast(FloatDType::BF16),
        }
    }

    /// By what a loss is multiplied so that its gradients keep their bits below the head. A power of two: dividing by it
    /// again is exact.
    pub(super) fn loss_scale(self) -> f64 {
        match self {
            Self::F32 | Self::Bf16 => 1.0,
            Self::F16 => 4096.0,
        }
    }
}

/// x Wᵀ in f32, for x \[rows, inputs\] in f32 and W \[outputs, inputs\] as it is held.
pub(super) fn product(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let held = match weight.dtype() {
        DType::F16 => FloatDType::F16,
        DType::BF16 => FloatDType::BF16,
        _ => return x.matmul(weight.transpose()),
    };
    x.cast(held).matmul(weight.transpose()).cast(FloatDType::F32)
}
