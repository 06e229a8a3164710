//! Which of the variants of a product a device runs fastest, found out by a short measurement.
//!
//! Only variants that give the same bits stand for choice, so that what is measured, on however busy a machine, decides
//! nothing but speed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::PoisonError;
use std::time::Duration;

use crate::ops::{self, Matmul, MatmulVariant};
use crate::{AdapterKind, Gpu, Result, Weight, WeightFormat};

/// A product as plans make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// The fastest variant of each of some products.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning(Vec<(Product, MatmulVariant)>);

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
        self.0.iter().find(|(measured, _)| *measured == product).map(|&(_, variant)| variant)
    }

    /// To be remembered: what it is good for, then a byte for each product.
    pub fn to_bytes(&self, gpu: &Gpu) -> Vec<u8> {
        let products: Vec<_> = self.0.iter().map(|&(product, _)| product).collect();
        let places = self.0.iter().map(|&(_, variant)| variant as u8);
        fingerprint(gpu, &products).to_le_bytes().into_iter().chain(places).collect()
    }

    /// What was remembered of these products on this device; `None` where it was something else, or is damaged.
    pub fn from_bytes(gpu: &Gpu, products: &[Product], bytes: &[u8]) -> Option<Self> {
        let places = bytes.strip_prefix(&fingerprint(gpu, products).to_le_bytes())?;
        let variant = |&place: &u8| MatmulVariant::ALL.into_iter().find(|&variant| variant as u8 == place);
        let variants: Vec<_> = places.iter().map(variant).collect::<Option<_>>()?;
        (variants.len() == products.len()).then(|| Self(products.iter().copied().zip(variants).collect()))
    }
}

/// Device, version and products: what a measurement is good for.
fn fingerprint(gpu: &Gpu, products: &[Product]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (gpu.identity(), products).hash(&mut hasher);
    hasher.finish()
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

    /// Measures the variants of `products` that give the same bits as the one chosen by rule. An emulated adapter has one
    /// variant each and measures nothing. A GPU compiles every variant and runs it for some ten milliseconds.
    ///
    /// # Errors
    /// A lost device, or no room for a weight of such a shape.
    pub async fn tune(&self, products: &[Product]) -> Result<Tuning> {
        let mut found = Vec::with_capacity(products.len());
        for &product in products {
            found.push((product, self.fastest(product).await?));
        }
        Ok(Tuning(found))
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
        if best.1.is_infinite() {
            // The others would be compiled for nothing.
            return Ok(rule);
        }
        for variant in others {
            let seconds = self.seconds(product, variant, [&x, &y, &count], &weight).await?;
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
        let args = Matmul::new(x, weight, y, (count, product.rows));
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
    fn a_measurement_is_remembered_for_its_products_on_its_device() {
        let gpu = as_a_gpu();
        let tuning = pollster::block_on(gpu.tune(&PRODUCTS)).unwrap();
        let bytes = tuning.to_bytes(&gpu);
        assert_eq!(Tuning::from_bytes(&gpu, &PRODUCTS, &bytes), Some(tuning));
        assert_eq!(Tuning::from_bytes(&gpu, &PRODUCTS[..1], &bytes), None);
        assert_eq!(Tuning::from_bytes(&any_gpu(), &PRODUCTS, &bytes), None, "of other kernels");
        assert_eq!(Tuning::from_bytes(&gpu, &PRODUCTS, &bytes[..bytes.len() - 1]), None);
        let unknown = [&bytes[..bytes.len() - 1], &[200]].concat();
        assert_eq!(Tuning::from_bytes(&gpu, &PRODUCTS, &unknown), None);
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
            let args = Matmul::new(&x, &weight, &y, (&count, rows));
            let mut commands = gpu.commands("product");
            commands.dispatch(&ops::matmul(&gpu, args).unwrap(), rows as u32);
            commands.submit();
            pollster::block_on(gpu.read::<f32>(&y, 0, rows * outputs)).unwrap()
        };
        let by_rule = result();
        for variant in MatmulVariant::ALL {
            gpu.set_tuning(Tuning(vec![(product, variant)]));
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
            let tuning = pollster::block_on(gpu.tune(&PRODUCTS)).unwrap();
            for product in PRODUCTS {
                let Product { format, outputs, inputs, rows } = product;
                let weight = Weight::new(&gpu, "w", format, outputs, inputs).unwrap();
                assert_eq!(tuning.variant(product), Some(MatmulVariant::by_rule(&gpu, &weight, 0, rows)));
            }
        }
    }
}
