//! The state of a training run as bytes: parameters, moments, number of steps. Safetensors, so that it can be looked
//! into; read back it gives the same bits.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::Tensor;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::TrainStep;
use super::optimizer::Moments;
use crate::LearnError;
use crate::model::{matrix, read, track};

/// The entry of the file's metadata that holds [`Counts`]. One entry: several would be written in any order.
const COUNTS: &str = "counts";
/// What stands before a parameter's name: its value, the moments of its gradient.
const PARTS: [&str; 3] = ["value", "first_moment", "second_moment"];

/// What the state counts.
#[derive(Default, Serialize, Deserialize)]
struct Counts {
    /// Steps taken.
    steps: usize,
    /// Steps in which a parameter had a gradient, by name.
    of: BTreeMap<String, usize>,
}

impl TrainStep {
    /// Everything that the next step depends on, besides model file and settings.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn save(&self) -> Result<Vec<u8>, LearnError> {
        let mut counts = Counts { steps: self.steps, of: BTreeMap::new() };
        let mut tensors: Vec<(String, [usize; 2], Vec<u8>)> = Vec::new();
        let mut put = |part: &str, name: &str, tensor: &Tensor<2>| {
            let bytes = read(tensor)?.iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors.push((format!("{part}.{name}"), tensor.dims(), bytes));
            Ok::<(), LearnError>(())
        };
        for ((name, value), moments) in self.model.parameters().iter().zip(&self.optimizer.moments) {
            put(PARTS[0], name, value)?;
            if let Some(Moments { steps, first, second }) = moments {
                put(PARTS[1], name, first)?;
                put(PARTS[2], name, second)?;
                counts.of.insert(name.clone(), *steps);
            }
        }
        let wrong = |error: safetensors::SafeTensorError| LearnError::State(error.to_string());
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, bytes) in &tensors {
            views.push((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(wrong)?));
        }
        let counts = serde_json::to_string(&counts).map_err(|error| LearnError::State(error.to_string()))?;
        safetensors::serialize(views, Some(HashMap::from([(COUNTS.to_owned(), counts)]))).map_err(wrong)
    }

    /// Goes on from a state saved by [`Self::save`] in a run with the same model and the same trained part.
    ///
    /// # Errors
    /// Bytes that are no such state, or that of something else; the state is then as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), LearnError> {
        let wrong = |error: safetensors::SafeTensorError| LearnError::State(error.to_string());
        let file = SafeTensors::deserialize(bytes).map_err(wrong)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(wrong)?;
        let counts = header.metadata().as_ref().and_then(|metadata| metadata.get(COUNTS));
        let counts = counts.ok_or_else(|| LearnError::State("it does not say how many steps it has".into()))?;
        let counts: Counts = serde_json::from_str(counts).map_err(|error| LearnError::State(error.to_string()))?;
        let device = self.model.device().clone();
        let get = |part: &str, name: &str, shape: [usize; 2]| {
            let key = format!("{part}.{name}");
            let tensor = file.tensor(&key).map_err(|_| LearnError::State(format!("it has no `{key}`")))?;
            if tensor.shape() != shape || tensor.dtype() != Dtype::F32 {
                let found = (tensor.shape(), tensor.dtype());
                return Err(LearnError::State(format!("`{key}` is {found:?}, expected {shape:?} of F32")));
            }
            let values: Vec<f32> = tensor.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            Ok(matrix(&values, shape, &device.clone().without_autodiff()))
        };
        let (mut values, mut all_moments) = (Vec::new(), Vec::new());
        for (name, tensor) in self.model.parameters() {
            let shape = tensor.dims();
            values.push(track(get(PARTS[0], &name, shape)?, &device));
            all_moments.push(match counts.of.get(&name) {
                None => None,
                Some(&steps) => {
                    let (first, second) = (get(PARTS[1], &name, shape)?, get(PARTS[2], &name, shape)?);
                    Some(Moments { steps, first, second })
                }
            });
        }
        let moments = all_moments.iter().filter(|moments| moments.is_some()).count();
        if file.len() != values.len() + 2 * moments {
            return Err(LearnError::State("it holds more than this model trains".into()));
        }
        for (tensor, value) in self.model.parameters_mut().into_iter().zip(values) {
            *tensor = value;
        }
        (self.optimizer.moments, self.steps) = (all_moments, counts.steps);
        Ok(())
    }
}
