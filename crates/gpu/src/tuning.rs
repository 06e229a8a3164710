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
    /// The variant in force for a product, where there was a measurement.
    pub(crate) fn measured(&self, product: Product) -> Option<MatmulVariant> {
        self.tuning_cell().lock().unwrap_or_else(PoisonError::into_inner).variant(product)
    }

    /// Puts variants in force, for dispatches built from now on. A variant that this device cannot run for its product,
    /// or that would give other bits, is passed over when its turn comes.
    pub fn set_tuning(&self, tuning: Tuning) {
        *self.tuning_cell().lock().unwrap_or_else(PoisonError::into_inner) = tuning;
    }

    /// Measures the variants of `products` that give the same bits as the one chosen by rule, and adds what is found to
    /// what is `known`, if that was measured here. An emulated adapter has one variant each and measures nothing. A GPU
    /// compiles every variant and runs it for some ten milliseconds.
    ///
    /// # Errors
    /// A lost device, or no room for a weight of such a shape.
    pub async fn tune(&self, products: &[Product], known: Tuning) -> Result<Tuning> {
        let adapter = adapter_of(self);
        let mut found = if known.adapter == adapter { known } else { Tuning { adapter, products: Vec::new() } };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GpuOptions;
    use crate::testing::{Rng, any_gpu};

    const PRODUCTS: [Product; 2] = [
        Product { format: WeightFormat::Q4, outputs: 130, inputs: 96, rows: 70 },
        Product { format: WeightFormat::F16, outputs: 40, inputs: 64, rows: 9 },
    ];

    /// The kernels of GPUs on whatever adapter there is.
    fn as_a_gpu() -> Gpu {
        let options = GpuOptions {
            adapter: std::env::var("TMEM_ADAPTER").ok(),
            kernels: Some(AdapterKind::Gpu),
            ..GpuOptions::default()
        };
        pollster::block_on(Gpu::request(&options)).unwrap()
    }

    #[test]
    fn a_measurement_covers_its_products_on_its_adapter_and_survives_being_written_down() {
        let gpu = as_a_gpu();
        let tuning = pollster::block_on(gpu.tune(&PRODUCTS, Tuning::default())).unwrap();
        assert!(tuning.covers(&gpu, &PRODUCTS));
        assert!(!tuning.covers(&gpu, &[Product { rows: 71, ..PRODUCTS[0] }]));
        let text = serde_json::to_string(&tuning).unwrap();
        assert_eq!(serde_json::from_str::<Tuning>(&text).unwrap(), tuning);
        let elsewhere = Tuning { adapter: "another".into(), ..tuning };
        assert!(!elsewhere.covers(&gpu, &PRODUCTS));
        let anew = pollster::block_on(gpu.tune(&PRODUCTS[..1], elsewhere)).unwrap();
        assert!(
            anew.covers(&gpu, &PRODUCTS[..1]) && !anew.covers(&gpu, &PRODUCTS),
            "of another adapter nothing is kept"
        );
    }

    /// Whatever was measured, or is claimed to have been, results stay the same to the bit.
    #[test]
    fn what_is_in_force_changes_no_bits() {
        let gpu = as_a_gpu();
        let product = PRODUCTS[0];
        let Product { format, outputs, inputs, rows } = product;
        let (weight, _) = crate::seeded::random_weight(&gpu, crate::SourceType::Q4_1, outputs, inputs, 3).unwrap();
        let x = gpu.storage_from("x", &Rng::new(4).normal(rows * inputs)).unwrap();
        let (y, count) =
            (gpu.storage("y", rows * outputs).unwrap(), gpu.uniform("count", &[rows as u32, 0, 0, 0]).unwrap());
        assert_eq!(format, weight.format);
        let result = || {
            let args = Matmul {
                x: &x,
                weight: &weight,
                y: &y,
                count: &count,
                y_stride: outputs,
                y_offset: 0,
                accumulate: false,
                max_rows: rows,
            };
            let mut commands = gpu.commands("product");
            commands.dispatch(&ops::matmul(&gpu, args).unwrap(), rows as u32);
            commands.submit();
            pollster::block_on(gpu.read::<f32>(&y, 0, rows * outputs)).unwrap()
        };
        let by_rule = result();
        for variant in MatmulVariant::ALL {
            gpu.set_tuning(Tuning { adapter: adapter_of(&gpu), products: vec![Tuned { product, variant }] });
            assert_eq!(result(), by_rule, "{variant:?}");
            let chosen = MatmulVariant::choose(&gpu, &weight, 0, rows);
            assert_eq!(
                chosen == variant,
                variant.is_for_gpus(),
                "{variant:?} is in force where it gives the same bits"
            );
        }
    }

    #[test]
    fn an_emulated_adapter_keeps_to_the_rule() {
        let gpu = any_gpu();
        if gpu.kind() == AdapterKind::Cpu {
            let tuning = pollster::block_on(gpu.tune(&PRODUCTS, Tuning::default())).unwrap();
            for product in PRODUCTS {
                let Product { format, outputs, inputs, rows } = product;
                let weight = Weight::new(&gpu, "w", format, outputs, inputs).unwrap();
                assert_eq!(tuning.variant(product), Some(MatmulVariant::by_rule(&gpu, &weight, 0, rows)));
            }
        }
    }
}
