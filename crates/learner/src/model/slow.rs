//! The slow adapter: a LoRA over the linear layers of θ0, y = W x + (α/r)·B (A x), trained over many episodes and then
//! frozen. PEFT's layout on disk.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tmem_core::fast::Projection;
use tmem_core::fast::peft::{PeftAdapter, PeftFiles, PeftSite};
use tmem_core::model::ModelConfig;

use super::weights::matrix;
use super::{read, track};
use crate::LearnError;

/// Which LoRA is trained. Names as in PEFT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlowSettings {
    /// Rank.
    pub r: usize,
    /// The adapter's output is scaled by lora_alpha / r.
    pub lora_alpha: f64,
    /// Projections with an adapter, in every layer.
    pub target_modules: Vec<Projection>,
    /// Seed of A.
    pub seed: u64,
}

impl Default for SlowSettings {
    fn default() -> Self {
        Self { r: 8, lora_alpha: 16.0, target_modules: Projection::ALL.to_vec(), seed: 0 }
    }
}

/// A and B of one projection.
#[derive(Debug, Clone)]
struct Pair {
    /// \[rank, inputs\]
    a: Tensor<2>,
    /// \[outputs, rank\]
    b: Tensor<2>,
}

/// A LoRA over linear layers.
#[derive(Debug, Clone)]
pub struct SlowAdapter {
    rank: usize,
    scale: f64,
    pairs: BTreeMap<(usize, Projection), Pair>,
}

impl SlowAdapter {
    /// A new adapter: B zero, A uniform in ±1/√inputs (Kaiming-uniform with a = √5, as PEFT draws it).
    ///
    /// # Errors
    /// A rank of 0 or larger than a projection, a scale that is not a number, or no projection at all.
    pub fn new(config: &ModelConfig, settings: &SlowSettings, device: &Device) -> Result<Self, LearnError> {
        let SlowSettings { r: rank, lora_alpha, ref target_modules, seed } = *settings;
        let wrong =
            |name, value: String, expected: &str| LearnError::Setting { name, value, expected: expected.into() };
        let shapes = target_modules.iter().map(|projection| projection.shape(config));
        let Some(largest) = shapes.map(|(inputs, outputs)| inputs.min(outputs)).min() else {
            return Err(wrong("target_modules", "[]".into(), "name at least one projection"));
        };
        if rank == 0 || rank > largest {
            return Err(wrong(
                "r",
                rank.to_string(),
                &format!("from 1 to {largest}, the model's narrowest projection"),
            ));
        }
        if !(lora_alpha.is_finite() && lora_alpha > 0.0) {
            return Err(wrong("lora_alpha", lora_alpha.to_string(), "a positive number"));
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut pairs = BTreeMap::new();
        for layer in 0..config.layers {
            for projection in Projection::ALL.into_iter().filter(|p| target_modules.contains(p)) {
                let (inputs, outputs) = projection.shape(config);
                let bound = 1.0 / (inputs as f32).sqrt();
                let a: Vec<f32> = (0..rank * inputs).map(|_| random.random_range(-bound..bound)).collect();
                let a = matrix(&a, [rank, inputs], device);
                let b = matrix(&vec![0.0; outputs * rank], [outputs, rank], device);
                pairs.insert((layer, projection), Pair { a, b });
            }
        }
        Ok(Self { rank, scale: lora_alpha / rank as f64, pairs }.tracked(device))
    }

    /// What a run begins with: the adapter of `files`, or a new one.
    ///
    /// # Errors
    /// Files of another model, or as [`Self::new`].
    pub fn begin(
        files: Option<&PeftFiles>,
        config: &ModelConfig,
        settings: &SlowSettings,
        device: &Device,
    ) -> Result<Self, LearnError> {
        match files {
            Some(files) => Ok(Self::from_peft(&PeftAdapter::import(config, files)?, device)),
            None => Self::new(config, settings, device),
        }
    }

    /// An adapter from its values; α/r is in B already.
    pub fn from_peft(adapter: &PeftAdapter, device: &Device) -> Self {
        let pair = |site: &PeftSite| Pair {
            a: matrix(&site.a, [adapter.rank, site.inputs], device),
            b: matrix(&site.b, [site.outputs, adapter.rank], device),
        };
        let pairs = adapter.sites.iter().map(|site| ((site.layer, site.projection), pair(site))).collect();
        Self { rank: adapter.rank, scale: 1.0, pairs }.tracked(device)
    }

    /// Its values, α/r folded into B: what the engine takes, and what is written to disk.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn to_peft(&self) -> Result<PeftAdapter, LearnError> {
        let mut sites = Vec::with_capacity(self.pairs.len());
        for (&(layer, projection), pair) in &self.pairs {
            let ([_, inputs], [outputs, _]) = (pair.a.dims(), pair.b.dims());
            let (a, mut b) = (read(&pair.a)?, read(&pair.b)?);
            b.iter_mut().for_each(|value| *value = (f64::from(*value) * self.scale) as f32);
            sites.push(PeftSite { layer, projection, a, b, inputs, outputs });
        }
        Ok(PeftAdapter { rank: self.rank, sites })
    }

    /// PEFT's two files, and what the adapter is known by: the sha-256 of `adapter_model.safetensors`.
    ///
    /// # Errors
    /// Values that are not finite, or a failure of the device.
    pub fn export(&self, config: &ModelConfig, base_model: &str) -> Result<(PeftFiles, String), LearnError> {
        let files = self.to_peft()?.export(config, base_model)?;
        let hash = files.sha256();
        Ok((files, hash))
    }

    /// Number of values that are trained.
    pub fn parameters(&self) -> usize {
        self.pairs.values().map(|pair| pair.a.shape().num_elements() + pair.b.shape().num_elements()).sum()
    }

    /// (α/r)·B (A x) for x \[rows, inputs\]; `None` where the projection has no adapter.
    pub(crate) fn apply(&self, layer: usize, projection: Projection, x: &Tensor<2>) -> Option<Tensor<2>> {
        let Pair { a, b } = self.pairs.get(&(layer, projection))?;
        let low = x.clone().matmul(a.clone().transpose());
        Some(low.matmul(b.clone().transpose()).mul_scalar(self.scale))
    }

    /// (α/r)·B A, \[outputs, inputs\]; `None` where the projection has no adapter.
    pub(crate) fn delta(&self, layer: usize, projection: Projection) -> Option<Tensor<2>> {
        let Pair { a, b } = self.pairs.get(&(layer, projection))?;
        Some(b.clone().matmul(a.clone()).mul_scalar(self.scale))
    }

    /// The same adapter without gradients.
    pub(crate) fn detached(&self) -> Self {
        let pairs = self.pairs.iter().map(|(&site, Pair { a, b })| {
            let pair = Pair { a: a.clone().inner(), b: b.clone().inner() };
            (site, pair)
        });
        Self { pairs: pairs.collect(), ..*self }
    }

    fn tracked(mut self, device: &Device) -> Self {
        for tensor in self.tensors_mut() {
            *tensor = track(tensor.clone(), device);
        }
        self
    }

    /// Every A and B with its name, in a fixed order.
    pub(crate) fn named(&self) -> Vec<(String, &Tensor<2>)> {
        let mut all = Vec::with_capacity(2 * self.pairs.len());
        for ((layer, projection), Pair { a, b }) in &self.pairs {
            let name = |which| format!("layers.{layer}.{}.{which}.weight", projection.name());
            all.extend([(name("lora_A"), a), (name("lora_B"), b)]);
        }
        all
    }

    /// The tensors in the order of [`Self::named`], to be replaced.
    pub(crate) fn tensors_mut(&mut self) -> Vec<&mut Tensor<2>> {
        self.pairs.values_mut().flat_map(|Pair { a, b }| [a, b]).collect()
    }
}
