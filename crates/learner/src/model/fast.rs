//! Fast weights Δ as data: y += gate · B (A x), without a gradient of their own (sg(Δ) of arXiv 2606.04536).

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use tmem_core::fast::Projection;
use tmem_core::fast::peft::{PeftAdapter, PeftSite};
use tmem_core::model::ModelConfig;

use super::{Batch, read, track};
use crate::LearnError;

/// A and B of one projection, for every Δ.
#[derive(Debug, Clone)]
struct FastSite {
    /// \[deltas, rank · inputs\]
    a: Tensor<2>,
    /// \[deltas, outputs · rank\]
    b: Tensor<2>,
    inputs: usize,
    outputs: usize,
}

/// Several Δ of the same sites and rank; sequences say which of them they are computed under.
#[derive(Debug, Clone)]
pub struct FastWeights {
    rank: usize,
    deltas: usize,
    sites: BTreeMap<(usize, Projection), FastSite>,
}

impl FastWeights {
    /// Takes them as the engine exports them
    /// ([`Engine::export_peft`](tmem_core::engine::Engine::export_peft)).
    ///
    /// # Errors
    /// None at all, other sites or ranks than the first has, or shapes that the model does not have.
    pub fn new(config: &ModelConfig, deltas: &[PeftAdapter], device: &Device) -> Result<Self, LearnError> {
        let Some(first) = deltas.first() else { return Err(LearnError::Fast("are an empty list".into())) };
        let rank = first.rank;
        let sites_of = |delta: &PeftAdapter| delta.sites.iter().map(|s| (s.layer, s.projection)).collect::<Vec<_>>();
        let mut sites = BTreeMap::new();
        for (i, (layer, projection)) in sites_of(first).into_iter().enumerate() {
            let (inputs, outputs) = projection.shape(config);
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for (number, delta) in deltas.iter().enumerate() {
                let site = delta.sites.get(i).filter(|s| (s.layer, s.projection) == (layer, projection));
                let fits = |s: &&_| fits(s, rank, (inputs, outputs)) && delta.rank == rank && layer < config.layers;
                let Some(site) = site.filter(fits) else {
                    let name = projection.name();
                    let reason =
                        format!("number {number} do not fit the model and the first at {name} of layer {layer}");
                    return Err(LearnError::Fast(reason));
                };
                a.extend(&site.a);
                b.extend(&site.b);
            }
            let tensor = |values: Vec<f32>| -> Tensor<2> {
                let width = values.len() / deltas.len();
                Tensor::from_data(TensorData::new(values, [deltas.len(), width]), &device.clone().without_autodiff())
            };
            sites.insert((layer, projection), FastSite { a: tensor(a), b: tensor(b), inputs, outputs });
        }
        if let Some(number) = deltas.iter().position(|delta| delta.sites.len() != sites.len()) {
            return Err(LearnError::Fast(format!("number {number} have sites twice or others than the first")));
        }
        Ok(Self { rank, deltas: deltas.len(), sites })
    }

    /// How many Δ there are.
    pub fn len(&self) -> usize {
        self.deltas
    }

    /// Never: an empty list is refused.
    pub fn is_empty(&self) -> bool {
        self.deltas == 0
    }

    /// Makes every B a parameter: [`Model::fast_gradients`](super::Model::fast_gradients) then has a gradient for it.
    #[must_use]
    pub fn with_gradients(mut self, device: &Device) -> Self {
        for site in self.sites.values_mut() {
            site.b = track(site.b.clone(), device);
        }
        self
    }

    /// Δ number `delta`, as the engine takes it; `None` where there is none.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn to_peft(&self, delta: usize) -> Result<Option<PeftAdapter>, LearnError> {
        if delta >= self.deltas {
            return Ok(None);
        }
        let mut sites = Vec::with_capacity(self.sites.len());
        for (&(layer, projection), site) in &self.sites {
            let values = |all: &Tensor<2>| read(&all.clone().narrow(0, delta, 1));
            let (a, b) = (values(&site.a)?, values(&site.b)?);
            sites.push(PeftSite { layer, projection, a, b, inputs: site.inputs, outputs: site.outputs });
        }
        Ok(Some(PeftAdapter { rank: self.rank, sites }))
    }

    /// The lowest layer that has a site; 0 without any.
    pub(crate) fn first_layer(&self) -> usize {
        self.sites.keys().next().map_or(0, |(layer, _)| *layer)
    }

    /// Every B in the order of [`Self::b`], to be replaced.
    pub(crate) fn b_mut(&mut self) -> Vec<&mut Tensor<2>> {
        self.sites.values_mut().map(|site| &mut site.b).collect()
    }

    /// Every B, \[deltas, outputs · rank\], by layer and projection.
    pub(crate) fn b(&self) -> impl Iterator<Item = (usize, Projection, &Tensor<2>)> {
        self.sites.iter().map(|(&(layer, projection), site)| (layer, projection, &site.b))
    }

    /// The weights of a batch's rows; `None` where no row is computed under any.
    pub(crate) fn of(&self, batch: &Batch, device: &Device) -> Result<Option<FastBatch>, LearnError> {
        if let Some(&wrong) = batch.deltas.iter().find(|&&delta| delta >= self.deltas) {
            return Err(LearnError::Fast(format!("are {}, a sequence asks for number {wrong}", self.deltas)));
        }
        if batch.gates.iter().all(|&gate| gate == 0.0) {
            return Ok(None);
        }
        let rows = batch.rows;
        let chosen: Vec<i32> = batch.deltas.iter().map(|&delta| delta as i32).collect();
        let chosen = Tensor::<1, Int>::from_data(TensorData::new(chosen, [rows]), device);
        let gates = Tensor::from_data(TensorData::new(batch.gates.clone(), [rows, batch.time, 1]), device);
        let sites = self.sites.iter().map(|(&key, site)| {
            let a = site.a.clone().select(0, chosen.clone()).reshape([rows, self.rank, site.inputs]);
            let b = site.b.clone().select(0, chosen.clone()).reshape([rows, site.outputs, self.rank]);
            (key, (a, b))
        });
        Ok(Some(FastBatch { gates, sites: sites.collect() }))
    }
}

fn fits(site: &PeftSite, rank: usize, (inputs, outputs): (usize, usize)) -> bool {
    (site.inputs, site.outputs) == (inputs, outputs)
        && site.a.len() == rank * inputs
        && site.b.len() == rank * outputs
        && site.a.iter().chain(&site.b).all(|value| value.is_finite())
}

/// The fast weights of one batch, one Δ a row.
pub(crate) struct FastBatch {
    /// \[rows, time, 1\]
    gates: Tensor<3>,
    /// A \[rows, rank, inputs\] and B \[rows, outputs, rank\].
    sites: BTreeMap<(usize, Projection), (Tensor<3>, Tensor<3>)>,
}

impl FastBatch {
    /// gate · B (A x) for x \[rows · time, inputs\]; `None` where the projection is not adapted.
    pub(crate) fn apply(&self, layer: usize, projection: Projection, x: &Tensor<2>) -> Option<Tensor<2>> {
        let (a, b) = self.sites.get(&(layer, projection))?;
        let [rows, time, _] = self.gates.dims();
        let ([_, _, inputs], [_, outputs, _]) = (a.dims(), b.dims());
        let low = x.clone().reshape([rows, time, inputs]).matmul(a.clone().swap_dims(1, 2)) * self.gates.clone();
        Some(low.matmul(b.clone().swap_dims(1, 2)).reshape([rows * time, outputs]))
    }
}
