//! The forward pass: embedding, layers, head.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use tmem_core::fast::Projection;
use tmem_core::model::ModelConfig;

use super::attention::Positions;
use super::fast::FastBatch;
use super::precision::product;
use super::{Batch, SlowAdapter, Weights};

/// A model as it is for one batch.
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) weights: &'a Weights,
    pub(crate) slow: Option<&'a SlowAdapter>,
    pub(crate) fast: Option<&'a FastBatch>,
    /// What lower layers have left, where they need not be run again.
    pub(crate) begun: Option<&'a Begun>,
}

/// The residual stream of a batch as it enters a layer.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    layer: usize,
    /// \[rows · time, hidden\]
    stream: Tensor<2>,
}

impl Pass<'_> {
    /// The residual stream after the last layer, at `places` of the batch's tokens, normalised for the head:
    /// \[places, hidden\].
    pub(crate) fn head_input(&self, batch: &Batch, places: &[usize], device: &Device) -> Tensor<2> {
        let Begun { stream, .. } = self.up_to(self.config.layers, batch, device);
        let picked = stream.select(0, indices(places.iter().copied(), device));
        rms_norm(picked, &self.weights.final_norm, self.config.norm_epsilon)
    }

    /// The residual stream as it enters layer `end`.
    pub(crate) fn up_to(&self, end: usize, batch: &Batch, device: &Device) -> Begun {
        let positions = Positions::new(self.config, batch, device);
        let (first, mut stream) = match self.begun {
            Some(Begun { layer, stream }) => (*layer, stream.clone()),
            None => {
                let tokens = indices(batch.tokens.iter().map(|&token| token as usize), device);
                (0, self.weights.embedding.clone().select(0, tokens))
            }
        };
        for layer in first..end {
            stream = self.layer(layer, stream, &positions);
        }
        Begun { layer: end, stream }
    }

    fn layer(&self, layer: usize, stream: Tensor<2>, positions: &Positions) -> Tensor<2> {
        let (weights, epsilon) = (&self.weights.layers[layer], self.config.norm_epsilon);
        let project = |projection, x: &Tensor<2>| self.project(layer, projection, x);
        let x = rms_norm(stream.clone(), &weights.attention_norm, epsilon);
        let [q, k, v] = [Projection::QProj, Projection::KProj, Projection::VProj].map(|p| project(p, &x));
        let stream = stream + project(Projection::OProj, &positions.attend(self.config, q, k, v));
        let x = rms_norm(stream.clone(), &weights.ffn_norm, epsilon);
        let gated = activation::silu(project(Projection::GateProj, &x)) * project(Projection::UpProj, &x);
        stream + project(Projection::DownProj, &gated)
    }

    /// W x + slow adapter + gate · fast weights, for x \[rows · time, inputs\].
    fn project(&self, layer: usize, projection: Projection, x: &Tensor<2>) -> Tensor<2> {
        let weight = &self.weights.layers[layer].projections[projection as usize];
        let mut y = product(x.clone(), weight.clone());
        if let Some(slow) = self.slow.and_then(|slow| slow.apply(layer, projection, x)) {
            y = y + slow;
        }
        if let Some(fast) = self.fast.and_then(|fast| fast.apply(layer, projection, x)) {
            y = y + fast;
        }
        y
    }
}

/// x / √(mean x² + ε) · w, row by row.
fn rms_norm(x: Tensor<2>, weight: &Tensor<2>, epsilon: f32) -> Tensor<2> {
    let mean = x.clone().square().mean_dim(1);
    x / mean.add_scalar(epsilon).sqrt() * weight.clone()
}

/// Indices on a device.
pub(crate) fn indices(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|value| value as i32).collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}
