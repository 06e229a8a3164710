//! θ0 as tensors.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use tmem_core::fast::Projection;
use tmem_core::model::{HostWeights, ModelConfig};

use super::{Precision, SlowAdapter};

/// The weights of one layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerWeights {
    /// \[1, hidden\]
    pub(crate) attention_norm: Tensor<2>,
    /// \[1, hidden\]
    pub(crate) ffn_norm: Tensor<2>,
    /// \[outputs, inputs\] each, in the order of [`Projection::ALL`].
    pub(crate) projections: Vec<Tensor<2>>,
}

/// All weights of a model as tensors of rank 2, matrices as \[outputs, inputs\].
#[derive(Debug, Clone)]
pub struct Weights {
    /// \[vocab, hidden\]
    pub(crate) embedding: Tensor<2>,
    pub(crate) layers: Vec<LayerWeights>,
    /// \[1, hidden\]
    pub(crate) final_norm: Tensor<2>,
    /// \[vocab, hidden\]; `None` where the embedding serves.
    head: Option<Tensor<2>>,
}

/// A matrix on a device.
pub(crate) fn matrix(values: &[f32], [rows, columns]: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [rows, columns]), device)
}

impl Weights {
    /// Uploads the weights of a model file.
    pub(crate) fn new(config: &ModelConfig, host: &HostWeights, device: &Device) -> Self {
        let hidden = config.hidden;
        let norm = |values: &[f32]| matrix(values, [1, hidden], device);
        let vocabulary = |values: &[f32]| matrix(values, [config.vocab, hidden], device);
        let layers = host.layers.iter().map(|layer| LayerWeights {
            attention_norm: norm(&layer.attention_norm),
            ffn_norm: norm(&layer.ffn_norm),
            projections: Projection::ALL
                .into_iter()
                .zip(&layer.projections)
                .map(|(projection, values)| {
                    let (inputs, outputs) = projection.shape(config);
                    matrix(values, [outputs, inputs], device)
                })
                .collect(),
        });
        Self {
            embedding: vocabulary(&host.embedding),
            layers: layers.collect(),
            final_norm: norm(&host.final_norm),
            head: host.head.as_deref().map(vocabulary),
        }
    }

    /// The output head; the embedding where the two are tied.
    pub(crate) fn head(&self) -> &Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Every tensor with its name in Hugging Face's layout, in a fixed order.
    pub(crate) fn named(&self) -> Vec<(String, &Tensor<2>)> {
        let mut all = vec![("model.embed_tokens.weight".to_owned(), &self.embedding)];
        for (number, layer) in self.layers.iter().enumerate() {
            let name = |part: &str| format!("model.layers.{number}.{part}.weight");
            all.push((name("input_layernorm"), &layer.attention_norm));
            all.push((name("post_attention_layernorm"), &layer.ffn_norm));
            for (projection, tensor) in Projection::ALL.into_iter().zip(&layer.projections) {
                all.push((name(projection.name()), tensor));
            }
        }
        all.push(("model.norm.weight".to_owned(), &self.final_norm));
        all.extend(self.head.as_ref().map(|head| ("lm_head.weight".to_owned(), head)));
        all
    }

    /// The tensors in the order of [`Self::named`], to be replaced.
    pub(crate) fn tensors_mut(&mut self) -> Vec<&mut Tensor<2>> {
        let mut all = vec![&mut self.embedding];
        for layer in &mut self.layers {
            all.extend([&mut layer.attention_norm, &mut layer.ffn_norm]);
            all.extend(&mut layer.projections);
        }
        all.push(&mut self.final_norm);
        all.extend(&mut self.head);
        all
    }

    /// The same weights, each passed through `change`.
    pub(crate) fn map(&self, change: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        let mut mapped = self.clone();
        for tensor in mapped.tensors_mut() {
            *tensor = change(tensor.clone());
        }
        mapped
    }

    /// The same weights, the layers' matrices in another precision.
    pub(crate) fn in_precision(mut self, precision: Precision) -> Self {
        for weight in self.layers.iter_mut().flat_map(|layer| &mut layer.projections) {
            *weight = precision.cast(weight.clone());
        }
        self
    }

    /// W + (α/r)·B A at every site of the adapter.
    #[must_use]
    pub fn merged(&self, adapter: &SlowAdapter) -> Self {
        let mut merged = self.map(Tensor::inner);
        for (number, layer) in merged.layers.iter_mut().enumerate() {
            for (projection, weight) in Projection::ALL.into_iter().zip(&mut layer.projections) {
                if let Some(delta) = adapter.delta(number, projection) {
                    let held = weight.dtype();
                    *weight = (weight.clone().cast(FloatDType::F32) + delta.inner()).cast(held);
                }
            }
        }
        merged
    }
}
