//! A of every site, from the singular vectors of its weight (arXiv 2606.04536), found on the GPU.

use tmem_gpu::ops;
use tmem_gpu::{Buffer, Dispatch, Gpu, GpuError};

use super::remembered;
use super::state::SiteInfo;
use super::{Engine, EngineError};
use crate::fast::svd::truncated_svd;
use crate::fast::{Adapter, Site};
use crate::model::Model;

/// Most rows of a block of vectors: a rank and what the search adds to it.
const MAX_ROWS: usize = 96;

/// Multiplies blocks of row vectors by WᵀW.
struct GramProducts<'a> {
    gpu: &'a Gpu,
    sites: Vec<SiteProduct<'a>>,
    x: Buffer,
    product: Buffer,
    count: Buffer,
    results: Buffer,
}

/// The product of one site: y = X Wᵀ, all but the site's own outputs zeroed (its weight may be part of a stack), X' = y W.
struct SiteProduct<'a> {
    site: &'a Site,
    dispatches: [Dispatch; 3],
}

impl<'a> GramProducts<'a> {
    fn new(gpu: &'a Gpu, model: &Model, adapter: &'a Adapter) -> Result<Self, GpuError> {
        let sites = &adapter.sites.sites;
        let inputs = sites.iter().map(|s| s.inputs).max().unwrap_or(1);
        let total: usize = sites.iter().map(|s| s.inputs).sum();
        let weights: Vec<_> =
            sites.iter().map(|s| model.weights.projection(s.layer, s.projection, &model.config)).collect();
        let outputs = weights.iter().map(|(weight, _)| weight.outputs).max().unwrap_or(1);
        let x = gpu.storage("vectors", MAX_ROWS * inputs)?;
        let y = gpu.storage("vectors times a weight", MAX_ROWS * outputs)?;
        let product = gpu.storage("vectors times a Gram matrix", MAX_ROWS * inputs)?;
        let count = gpu.uniform("vector count", &[0u32; 4])?;
        let mut products = Vec::new();
        for (site, (weight, first_row)) in sites.iter().zip(weights) {
            let n = weight.outputs;
            let forward = ops::Matmul::new(&x, weight, &y, (&count, MAX_ROWS));
            let back = ops::MatmulTransposed {
                dy: &y,
                weight,
                dx: &product,
                count: &count,
                dy_stride: n,
                dy_offset: 0,
                accumulate: false,
            };
            let own = first_row..first_row + site.outputs;
            let dispatches =
                [ops::matmul(gpu, forward)?, ops::keep_columns(gpu, &y, n, own)?, ops::matmul_transposed(gpu, back)?];
            products.push(SiteProduct { site, dispatches });
        }
        let results = gpu.storage("Gram products", MAX_ROWS * total)?;
        Ok(Self { gpu, sites: products, x, product, count, results })
    }

    /// X WᵀW for one block per site (an empty block gives an empty product), with one read-back for all.
    async fn multiply(&self, blocks: &[&[f32]]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut at = 0;
        for (product, block) in self.sites.iter().zip(blocks).filter(|(_, block)| !block.is_empty()) {
            let rows = block.len() / product.site.inputs;
            if rows > MAX_ROWS {
                let reason = format!("a block of {rows} vectors, {MAX_ROWS} are the most");
                return Err(GpuError::Shape { op: "singular vectors", reason }.into());
            }
            self.gpu.write(&self.x, 0, block);
            self.gpu.write(&self.count, 0, &[rows as u32]);
            let mut commands = self.gpu.commands("Gram product");
            for dispatch in &product.dispatches {
                commands.dispatch(dispatch, rows as u32);
            }
            commands.copy(&self.product, 0, &self.results, at as u64 * 4, block.len() as u64 * 4);
            commands.submit();
            at += block.len();
        }
        let all: Vec<f32> = self.gpu.read(&self.results, 0, at).await?;
        let mut rest = all.as_slice();
        let mut products = Vec::with_capacity(blocks.len());
        for block in blocks {
            let (own, others) = rest.split_at(block.len());
            products.push(own.to_vec());
            rest = others;
        }
        Ok(products)
    }
}

impl Engine {
    /// Computes the spectra of all sites, unless [`spectra`](Self::spectra) of an earlier engine are `remembered` that
    /// still hold, and uploads A.
    pub(super) async fn initialise_a(&mut self, remembered: Option<&[u8]>) -> Result<(), EngineError> {
        let Some(adapter) = &self.adapter else {
            self.sites.clear();
            return Ok(());
        };
        let (rank, seed, init) = (adapter.sites.rank, self.settings.seed, self.settings.fast.init);
        let inputs: Vec<usize> = adapter.sites.sites.iter().map(|s| s.inputs).collect();
        let key = self.spectra_key(adapter);
        let spectra = match remembered.and_then(|bytes| remembered::read(bytes, &key, rank, &inputs)) {
            Some(spectra) => spectra,
            None => {
                let products = GramProducts::new(&self.gpu, &self.model, adapter)?;
                truncated_svd(&inputs, rank, seed, async |blocks: &[&[f32]]| products.multiply(blocks).await).await?
            }
        };
        let (mut all, mut infos) = (Vec::with_capacity(adapter.sites.a_len), Vec::new());
        for ((site, spectrum), stream) in adapter.sites.sites.iter().zip(&spectra).zip(0u64..) {
            let a = spectrum.initial_a(init, seed.wrapping_add(stream));
            infos.push(SiteInfo {
                layer: site.layer,
                projection: site.projection,
                singular_values: spectrum.singular_values.clone(),
                orthonormality_error: spectrum.orthonormality_error,
                residual: spectrum.residual,
                weight_norm: self.model.weights.norm(site.layer, site.projection) as f32,
                gram_a: gram(&a, site.inputs),
            });
            all.extend(a);
        }
        adapter.set_a(&self.gpu, &all);
        self.sites = infos;
        self.imported_a = false;
        self.spectra = remembered::write(&key, &spectra);
        Ok(())
    }

    /// The decompositions of the adapted weights, for [`Engine::with_spectra`] of a later run.
    pub fn spectra(&self) -> &[u8] {
        &self.spectra
    }

    /// What the spectra depend on.
    fn spectra_key(&self, adapter: &Adapter) -> String {
        let sites: Vec<_> =
            adapter.sites.sites.iter().map(|s| format!("{} {}", s.layer, s.projection.name())).collect();
        let (model, device) = (self.model.identity(), self.gpu.identity());
        format!("{model} | {device} | {} | {} | {}", sites.join(", "), adapter.sites.rank, self.settings.seed)
    }
}

/// A Aᵀ of A [rank, inputs].
pub(super) fn gram(a: &[f32], inputs: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = a.chunks_exact(inputs).collect();
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32;
    rows.iter().flat_map(|x| rows.iter().map(move |y| dot(x, y))).collect()
}
