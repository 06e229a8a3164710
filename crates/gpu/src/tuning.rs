//! Which of the variants of a product a device runs fastest, found out by a short measurement.
//!
//! Only variants that give the same bits stand for choice, so that what is measured, on however busy a machine, decides
//! nothing but speed.

use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ops::{self, Matmul, MatmulVariant};
use crate::{AdapterKind, Gpu, Result, Weight, WeightFormat};

/// A product as plans make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Format of the weight.
    pub format: WeightFormat,
    /// Rows of the weight.
    pub outputs: usize,
    /// Columns of the weight.
    pub inputs: usize,
    /// The most rows that the product is made for.
    pub rows: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Tuned {
    product: Product,
    variant: MatmulVariant,
}

/// The fastest variants that were measured on one adapter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuning {
    adapter: String,
    products: Vec<Tuned>,
}

/// How much faster a variant must be than the one chosen by rule: less is noise.
const GAIN: f64 = 1.05;
/// Rounds of each variant, of which the fastest counts; and what one round should take.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(2);
/// The most dispatches of a round.
const MOST: usize = 200;

impl Tuning {
    /// What was found for a product.
    pub fn variant(&self, product: Product) -> Option<MatmulVariant> {
        self.products.iter().find(|tuned| tuned.product == product).map(|tuned| tuned.variant)
    }

    /// Whether it was made for this device and all of `products`.
    pub fn covers(&self, gpu: &Gpu, products: &[Product]) -> bool {
        self.adapter == adapter_of(gpu) && products.iter().all(|&product| self.variant(product).is_some())
    }
}

/// Adapter, driver and our own version: what a measurement is good for.
fn adapter_of(gpu: &Gpu) -> String {
    let info = gpu.info();
    let version = env!("CARGO_PKG_VERSION");
    format!("{} | {} {} | {:?} | {version}", info.name, info.driver, info.driver_info, info.backend)
}

impl Gpu {
    /// The variants in force, besides those chosen by rule.
    pub fn tuning(&self) -> Tuning {
        self.tuning_cell().lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts variants in force, for dispatches built from now on. A variant that this device cannot run for its product,
    /// or that would give other bits, is passed over when its turn comes.
    pub fn set_tuning(&self, tuning: Tuning) {
        *self.tuning_cell().lock().unwrap_or_else(PoisonError::into_inner) = tuning;
    }

    /// Measures the variants of `products` that give the same bits as the one chosen by rule. An emulated adapter has
    /// one of them each; its measurement is empty. Takes some ten launches a variant.
    ///
    /// # Errors
    /// A lost device, or no room for a weight of such a shape.
    pub async fn tune(&self, products: &[Product]) -> Result<Tuning> {
        let mut found = Tuning { adapter: adapter_of(self), products: Vec::new() };
        for &product in products {
            if found.variant(product).is_none() {
                let variant = self.fastest(product).await?;
                found.products.push(Tuned { product, variant });
            }
        }
        Ok(found)
    }

    async fn fastest(&self, product: Product) -> Result<MatmulVariant> {
        let Product { format, outputs, inputs, rows } = product;
        let weight = Weight::new(self, "weight to measure with", format, outputs, inputs)?;
        let rule = MatmulVariant::by_rule(self, &weight, 0, rows);
        let others: Vec<_> =
            MatmulVariant::ALL.into_iter().filter(|v| *v != rule && v.stands_for(rule, self, &weight, 0)).collect();
        if self.kind() == AdapterKind::Cpu || others.is_empty() {
            return Ok(rule);
        }
        let x = self.storage("input to measure with", rows * inputs)?;
        let y = self.storage("output to measure with", rows * outputs)?;
        let count = self.uniform("row count", &[rows as u32, 0, 0, 0])?;
        let mut best = (rule, self.seconds(product, rule, [&x, &y, &count], &weight).await? / GAIN);
        for variant in others {
            let seconds = self.seconds(product, variant, [&x, &y, &count], &weight).await?;
            tracing::debug!(?product, ?variant, seconds, rule = best.1, "measured");
            if seconds < best.1 {
                best = (variant, seconds);
            }
        }
        Ok(best.0)
    }

    /// Seconds of one launch; infinite where the adapter has no stamps to tell.
    async fn seconds(
        &self,
        product: Product,
        variant: MatmulVariant,
        [x, y, count]: [&crate::Buffer; 3],
        weight: &Weight,
    ) -> Result<f64> {
        let args = Matmul {
            x,
            weight,
            y,
            count,
            y_stride: product.outputs,
            y_offset: 0,
            accumulate: false,
            max_rows: product.rows,
        };
        let work = [(ops::matmul_as(self, args, variant)?, product.rows as u32)];
        // The first one compiles, and tells how many make a round.
        self.stamped(&work, 1).await?;
        let Some(once) = self.stamped(&work, 1).await? else { return Ok(f64::INFINITY) };
        let times = (ROUND.as_secs_f64() / once.as_secs_f64().max(1e-9)).clamp(1.0, MOST as f64) as usize;
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            if let Some(took) = self.stamped(&work, times).await? {
                best = best.min(took.as_secs_f64() / times as f64);
            }
        }
        Ok(best)
    }
}
