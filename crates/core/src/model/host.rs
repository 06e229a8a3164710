//! A model whose weights lie dequantised in the computer's memory: what a trainer starts from, and what tests compute
//! with. Four bytes a weight; the engine itself keeps weights as the file has them.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::chat_template::ChatTemplate;
use super::config::ModelConfig;
use super::gguf::GgufReader;
use super::loader::{LoadError, TextSide, describe};
use super::tokenizer::Tokenizer;
use super::weights::{Role, TensorDescription, WeightsError, check};
use crate::fast::Projection;
use crate::hash::hexadecimal;

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The weights of one layer. Matrices are \[outputs, inputs\], row by row, in the file's order of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct HostLayer {
    /// Scale of the RMSNorm before attention, \[hidden\].
    pub attention_norm: Vec<f32>,
    /// Scale of the RMSNorm before the feed-forward block, \[hidden\].
    pub ffn_norm: Vec<f32>,
    /// The linear projections, in the order of [`Projection::ALL`].
    pub projections: [Vec<f32>; 7],
}

/// All weights of a model as f32.
#[derive(Debug, Clone, PartialEq)]
pub struct HostWeights {
    /// Token embedding, \[vocab, hidden\].
    pub embedding: Vec<f32>,
    /// The layers, from the input on.
    pub layers: Vec<HostLayer>,
    /// Scale of the last RMSNorm, \[hidden\].
    pub final_norm: Vec<f32>,
    /// Output head, \[vocab, hidden\]; `None` where it is the embedding.
    pub head: Option<Vec<f32>>,
}

/// A model in the computer's memory, with its text side.
#[derive(Debug)]
pub struct HostModel {
    /// Sizes and constants.
    pub config: ModelConfig,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Messages to text.
    pub chat_template: ChatTemplate,
    /// The weights.
    pub weights: HostWeights,
    /// `general.name` of the file.
    pub name: String,
    /// Sha-256 of the whole file, in hexadecimal.
    pub sha256: String,
}

impl HostModel {
    /// Reads a GGUF file to its end.
    ///
    /// # Errors
    /// The first thing that is wrong with the file, or a failure to read it.
    pub fn read(mut file: impl Read) -> Result<Self, LoadError> {
        let (mut reader, mut hash, mut parts) = (GgufReader::new(), Sha256::new(), None::<Parts>);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let n = match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LoadError::Read(error.to_string())),
            };
            let bytes = chunk.get(..n).unwrap_or_default();
            hash.update(bytes);
            reader.push(bytes, |header, piece| {
                let parts = match &mut parts {
                    Some(parts) => parts,
                    none => none.insert(Parts::new(ModelConfig::from_gguf(header)?, describe(header))?),
                };
                parts.push(piece.index, piece.bytes);
                Ok::<(), LoadError>(())
            })?;
        }
        let header = reader.finish()?;
        let mut parts = parts.ok_or(LoadError::Failed)?;
        let (weights, config) = (parts.weights()?, parts.config);
        let TextSide { tokenizer, chat_template, name } = TextSide::from_gguf(&header.metadata, config.vocab)?;
        Ok(Self { config, tokenizer, chat_template, weights, name, sha256: hexadecimal(&hash.finalize()) })
    }
}

/// A file's tensors while they are read.
struct Parts {
    config: ModelConfig,
    tensors: Vec<TensorDescription>,
    roles: Vec<Option<Role>>,
    values: Vec<Vec<f32>>,
}

impl Parts {
    fn new(config: ModelConfig, tensors: Vec<TensorDescription>) -> Result<Self, WeightsError> {
        let roles: Vec<_> = tensors.iter().map(|t| Role::of(&t.name)).collect();
        check(&config, &tensors, &roles)?;
        let values = vec![Vec::new(); tensors.len()];
        Ok(Self { config, tensors, roles, values })
    }

    /// Takes the next rows of tensor `index`; a tensor's rows come in order.
    fn push(&mut self, index: usize, bytes: &[u8]) {
        if let (Some(Some(_)), Some(tensor), Some(values)) =
            (self.roles.get(index), self.tensors.get(index), self.values.get_mut(index))
        {
            values.extend(tmem_gpu::dequantise(tensor.source, bytes));
        }
    }

    /// All that makes up the model, by what it is for.
    fn weights(&mut self) -> Result<HostWeights, WeightsError> {
        let (layer_count, tied) = (self.config.layers, self.config.tied_embeddings);
        let embedding = self.take(Role::Embedding)?;
        let final_norm = self.take(Role::FinalNorm)?;
        let head = if tied { None } else { Some(self.take(Role::Head)?) };
        let mut layers = Vec::with_capacity(layer_count);
        for layer in 0..layer_count {
            let mut projections: [Vec<f32>; 7] = Default::default();
            for (values, projection) in projections.iter_mut().zip(Projection::ALL) {
                *values = self.take(Role::Projection(layer, projection))?;
            }
            let attention_norm = self.take(Role::AttentionNorm(layer))?;
            layers.push(HostLayer { attention_norm, ffn_norm: self.take(Role::FfnNorm(layer))?, projections });
        }
        Ok(HostWeights { embedding, layers, final_norm, head })
    }

    fn take(&mut self, role: Role) -> Result<Vec<f32>, WeightsError> {
        let index = self.roles.iter().position(|&r| r == Some(role));
        let found = index.and_then(|i| Some((self.tensors.get(i)?, self.values.get_mut(i)?)));
        let (tensor, values) = found.ok_or_else(|| WeightsError::Missing(role.describe()))?;
        if values.len() != tensor.rows * tensor.row_len {
            return Err(WeightsError::Incomplete(tensor.name.clone()));
        }
        Ok(std::mem::take(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
        std::fs::read(format!("{folder}/{name}")).unwrap()
    }

    #[test]
    fn every_weight_of_a_file_is_there_in_its_shape() {
        for (name, tied) in [("tiny_a.q4_1.gguf", true), ("tiny_b.f32.gguf", false)] {
            let file = fixture(name);
            let HostModel { config, weights, sha256, .. } = HostModel::read(file.as_slice()).unwrap();
            assert_eq!(sha256, hexadecimal(&Sha256::digest(&file)));
            assert_eq!((weights.head.is_none(), weights.layers.len()), (tied, config.layers));
            assert_eq!(weights.embedding.len(), config.vocab * config.hidden);
            for layer in &weights.layers {
                assert_eq!((layer.attention_norm.len(), layer.ffn_norm.len()), (config.hidden, config.hidden));
                for (values, projection) in layer.projections.iter().zip(Projection::ALL) {
                    let (inputs, outputs) = projection.shape(&config);
                    assert_eq!(values.len(), inputs * outputs, "{}", projection.name());
                }
            }
        }
    }

    #[test]
    fn a_file_that_ends_early_or_cannot_be_read_is_refused() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("the disk is gone"))
            }
        }
        let file = fixture("tiny_a.q4_1.gguf");
        for length in [0, 100, file.len() - 1] {
            assert!(matches!(HostModel::read(&file[..length]), Err(LoadError::Gguf(_))), "{length} bytes");
        }
        assert!(HostModel::read(Broken).unwrap_err().to_string().contains("the disk is gone"));
    }
}
