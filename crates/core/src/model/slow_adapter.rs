//! The slow adapter: a low-rank change of θ0 that was trained beforehand (METHOD §5), merged into the weights while the
//! model file streams by, so that every kernel, and the SVD that gives A, sees the sum W + B A.
//!
//! A merged matrix is held with 8 bits where the file has 4 or 8, else as the file has it. Rounding to 8 bits moves a
//! weight by at most 1/254 of the largest in its block of 32.

use std::collections::BTreeMap;

use half::f16;
use sha2::{Digest, Sha256};
use tmem_gpu::SourceType;

use super::ModelConfig;
use crate::fast::Projection;
use crate::fast::peft::{PeftAdapter, PeftError, PeftFiles, PeftSite};
use crate::hash::hexadecimal;

/// Weights of a quantised block.
const BLOCK: usize = 32;

/// A low-rank change of a model's projections.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowAdapter {
    rank: usize,
    sites: BTreeMap<(usize, Projection), PeftSite>,
    sha256: String,
}

impl SlowAdapter {
    /// Reads PEFT's files for the model that `config` describes.
    ///
    /// # Errors
    /// Files that cannot be read or belong to another model.
    pub fn from_peft(config: &ModelConfig, files: &PeftFiles) -> Result<Self, PeftError> {
        let PeftAdapter { rank, sites } = PeftAdapter::import(config, files)?;
        let sites = sites.into_iter().map(|site| ((site.layer, site.projection), site)).collect();
        Ok(Self { rank, sites, sha256: hexadecimal(&Sha256::digest(&files.weights)) })
    }

    /// Sha-256 of `adapter_model.safetensors`, in hexadecimal: what the adapter is known by.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How a merged matrix is held that the file has as `source`; `None` for a projection that is not changed.
    pub(super) fn merged(&self, layer: usize, projection: Projection, source: SourceType) -> Option<SourceType> {
        self.sites.contains_key(&(layer, projection)).then_some(match source {
            SourceType::Q4_0 | SourceType::Q4_1 | SourceType::Q8_0 => SourceType::Q8_0,
            SourceType::F16 | SourceType::F32 => source,
        })
    }

    /// Adds B A to whole rows of a projection, `values` [rows, inputs] from `first_row` on.
    pub(super) fn add(&self, layer: usize, projection: Projection, first_row: usize, values: &mut [f32]) {
        let Some(site) = self.sites.get(&(layer, projection)) else { return };
        let rows_of_b = site.b.chunks_exact(self.rank).skip(first_row);
        for (row, b) in values.chunks_exact_mut(site.inputs).zip(rows_of_b) {
            for (b, a) in b.iter().zip(site.a.chunks_exact(site.inputs)) {
                row.iter_mut().zip(a).for_each(|(w, a)| *w += b * a);
            }
        }
    }
}

/// `values`, whole rows, as a model file would hold them.
pub(super) fn encode(source: SourceType, values: &[f32]) -> Vec<u8> {
    match source {
        SourceType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        SourceType::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        SourceType::Q8_0 | SourceType::Q4_0 | SourceType::Q4_1 => values.chunks(BLOCK).flat_map(eight_bits).collect(),
    }
}

/// A block of Q8_0: f16 d and 32 signed bytes, w = d·q.
fn eight_bits(block: &[f32]) -> impl Iterator<Item = u8> {
    let largest = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = f16::from_f32(largest / 127.0);
    let inverse = if scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() };
    // The rounded scale may be a little too small for the largest value.
    let quants: Vec<u8> =
        block.iter().map(|value| ((value * inverse).round().clamp(-127.0, 127.0) as i8).cast_unsigned()).collect();
    scale.to_le_bytes().into_iter().chain(quants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tmem_gpu::dequantise;

    proptest! {
        #[test]
        fn eight_bits_are_off_by_at_most_their_step(values in prop::collection::vec(-3.0f32..3.0, 64), zero in any::<bool>()) {
            let values: Vec<f32> = if zero { vec![0.0; 64] } else { values };
            let back = dequantise(SourceType::Q8_0, &encode(SourceType::Q8_0, &values));
            for (block, back) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let step = block.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
                for (value, back) in block.iter().zip(back) {
                    // Half a step, and what the scale loses as f16.
                    prop_assert!((value - back).abs() <= step * (0.5 + 127.0 / 2048.0) + 1e-6, "{value} {back} {step}");
                }
            }
        }
    }

    /// Rank 2 at one projection of the second layer.
    fn adapter() -> (ModelConfig, PeftFiles, PeftAdapter) {
        let config = ModelConfig::for_tests();
        let projection = Projection::VProj;
        let (inputs, outputs) = projection.shape(&config);
        let numbers = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect();
        let (a, b) = (numbers(2 * inputs, 0.7), numbers(2 * outputs, 0.3));
        let adapter = PeftAdapter { rank: 2, sites: vec![PeftSite { layer: 1, projection, a, b, inputs, outputs }] };
        let files = adapter.export(&config, "tests").unwrap();
        (config, files, adapter)
    }

    #[test]
    fn rows_get_their_own_part_of_the_product() {
        let (config, files, adapter) = adapter();
        let slow = SlowAdapter::from_peft(&config, &files).unwrap();
        let PeftSite { a, b, inputs, outputs, .. } = &adapter.sites[0];
        // Rows may come in pieces.
        let mut values = vec![0.5f32; inputs * outputs];
        let (first, rest) = values.split_at_mut(3 * inputs);
        slow.add(1, Projection::VProj, 0, first);
        slow.add(1, Projection::VProj, 3, rest);
        for (row, values) in values.chunks(*inputs).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                let product: f64 = (0..2).map(|j| f64::from(b[row * 2 + j]) * f64::from(a[j * inputs + column])).sum();
                assert!((f64::from(value) - 0.5 - product).abs() < 1e-6);
            }
        }
        let mut untouched = vec![0.5f32; *inputs];
        slow.add(0, Projection::VProj, 0, &mut untouched);
        assert!(untouched.iter().all(|&value| value == 0.5));
    }

    #[test]
    fn only_changed_projections_are_held_with_more_bits() {
        let (config, files, _) = adapter();
        let slow = SlowAdapter::from_peft(&config, &files).unwrap();
        assert_eq!(slow.sha256(), hexadecimal(&Sha256::digest(&files.weights)));
        assert_eq!(slow.merged(1, Projection::VProj, SourceType::Q4_1), Some(SourceType::Q8_0));
        assert_eq!(slow.merged(1, Projection::VProj, SourceType::F16), Some(SourceType::F16));
        assert_eq!(slow.merged(1, Projection::KProj, SourceType::Q4_1), None);
        assert_eq!(slow.merged(0, Projection::VProj, SourceType::Q4_1), None);
    }
}
