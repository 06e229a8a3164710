//! The slow adapter: a low-rank change of θ0 that was trained beforehand (arXiv 2606.04536), merged into the weights while the
//! model file streams by, so that every kernel, and the SVD that gives A, sees the sum W + B A.
//!
//! A merged matrix is held in 16 bits: where the file has blocks, as Q16, which emulated adapters read faster than half
//! precision and which is closer; else as the file has it, F16 or F32. With 8 bits the log-probabilities of SmolLM2 were off
//! by .06 on average, which is too much where a learner has to recompute what was sampled.

use std::collections::BTreeMap;

use half::f16;
use tmem_gpu::{SourceType, encode_q16};

use super::ModelConfig;
use super::gguf::TensorInfo;
use crate::fast::Projection;
use crate::fast::peft::{PeftAdapter, PeftError, PeftFiles, PeftSite};

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
        Ok(Self { rank, sites, sha256: files.sha256() })
    }

    /// Sha-256 of `adapter_model.safetensors`, in hexadecimal: what the adapter is known by.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How a merged matrix is held that the file has as `source` (rows of quantised ones are whole blocks); `None` for a
    /// projection that is not changed.
    pub(super) fn merged(&self, layer: usize, projection: Projection, source: SourceType) -> Option<SourceType> {
        self.sites.contains_key(&(layer, projection)).then_some(held(source))
    }

    /// Bytes on the GPU of a projection of a model file that one is merged into.
    pub fn merged_bytes(tensor: &TensorInfo) -> u64 {
        held(tensor.source).format().bytes(tensor.rows, tensor.row_len)
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

const fn held(source: SourceType) -> SourceType {
    if source.format().is_quantised() { SourceType::Q16 } else { source }
}

/// `values` in one of the encodings that [`SlowAdapter::merged`] names; of Q16, whole rows.
pub(super) fn encode(held: SourceType, values: &[f32]) -> Vec<u8> {
    match held {
        SourceType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        SourceType::Q16 => encode_q16(values),
        _ => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tmem_gpu::dequantise;

    #[test]
    fn values_are_held_to_half_precision() {
        let values = [0.0f32, 1.0 / 3.0, -2.5e-3, 1e-6];
        for (value, back) in values.iter().zip(dequantise(SourceType::F16, &encode(SourceType::F16, &values))) {
            assert!((value - back).abs() <= value.abs() / 2048.0 + 6e-8, "{value} {back}");
        }
        assert_eq!(dequantise(SourceType::F32, &encode(SourceType::F32, &values)), values);
    }

    #[test]
    fn values_of_blocks_are_held_to_a_step_of_their_largest() {
        let values: Vec<f32> = (0..96).map(|i| (i as f32 * 0.7).sin() * 0.04).collect();
        let held = dequantise(SourceType::Q16, &encode(SourceType::Q16, &values));
        assert_eq!(held.len(), values.len());
        for (value, back) in values.iter().zip(held) {
            assert!((value - back).abs() <= 0.51 * 0.04 / 32767.0, "{value} {back}");
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
    fn only_changed_projections_are_held_in_another_format() {
        let (config, files, _) = adapter();
        let slow = SlowAdapter::from_peft(&config, &files).unwrap();
        assert_eq!(slow.sha256(), files.sha256());
        for source in [SourceType::Q4_0, SourceType::Q4_1, SourceType::Q8_0] {
            assert_eq!(slow.merged(1, Projection::VProj, source), Some(SourceType::Q16));
        }
        for source in [SourceType::F16, SourceType::F32] {
            assert_eq!(slow.merged(1, Projection::VProj, source), Some(source));
        }
        assert_eq!(slow.merged(1, Projection::KProj, SourceType::Q4_1), None);
        let tensor = |source| TensorInfo { name: String::new(), source, row_len: 64, rows: 3, offset: 0 };
        assert_eq!(SlowAdapter::merged_bytes(&tensor(SourceType::Q4_1)), 3 * 2 * (64 + 4));
        assert_eq!(SlowAdapter::merged_bytes(&tensor(SourceType::F16)), 3 * 2 * 64);
        assert_eq!(slow.merged(0, Projection::VProj, SourceType::Q4_1), None);
    }
}
