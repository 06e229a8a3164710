//! Adapters as Hugging Face's PEFT reads and writes them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! PEFT computes W x + (α/r)·B (A x); here Δ = B A has no further scale, so α = r on export, and on import α/r is folded
//! into B. GGUF files of the `llama` architecture hold the rows of the query and key projections in another order than
//! Hugging Face (RoPE pairs neighbours instead of halves), so the rows of their B are reordered both ways.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Projection;
use crate::hash::hexadecimal;
use crate::model::config::{ModelConfig, RopeStyle};

/// Longest `adapter_config.json` that is read, in bytes.
const MAX_CONFIG_BYTES: usize = 1 << 20;
/// In front of every layer's number in the names of the tensors.
const PREFIX: &str = "base_model.model.model.layers.";

/// A and B of one projection.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftSite {
    /// Layer, counted from 0 at the input.
    pub layer: usize,
    /// Which projection.
    pub projection: Projection,
    /// A, [rank, inputs].
    pub a: Vec<f32>,
    /// B, [outputs, rank], rows in the order of this model's weights.
    pub b: Vec<f32>,
    /// Inputs of the projection.
    pub inputs: usize,
    /// Outputs of the projection.
    pub outputs: usize,
}

/// A low-rank adapter on the CPU: ΔW = B A at every site.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftAdapter {
    /// Rank r.
    pub rank: usize,
    /// The sites, by layer and projection.
    pub sites: Vec<PeftSite>,
}

/// The two files of an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeftFiles {
    /// `adapter_config.json`.
    pub config: String,
    /// `adapter_model.safetensors`.
    pub weights: Vec<u8>,
}

impl PeftFiles {
    /// What the adapter is known by: sha-256 of `adapter_model.safetensors`, in hexadecimal.
    pub fn sha256(&self) -> String {
        hexadecimal(&Sha256::digest(&self.weights))
    }
}

/// Why an adapter cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeftError {
    /// The configuration is not JSON, too long, or lacks an entry.
    #[error("adapter_config.json cannot be read: {0}")]
    Config(String),
    /// The adapter is of a kind that is not B A.
    #[error("the adapter uses {0}, which is not supported: only plain LoRA on linear layers is")]
    Unsupported(String),
    /// The weights are not a safetensors file.
    #[error("adapter_model.safetensors cannot be read: {0}")]
    Weights(String),
    /// A tensor that does not belong to this model or does not fit it.
    #[error("the adapter does not fit this model: `{name}` {reason}")]
    Tensor {
        /// Name of the tensor or module.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// Sites that PEFT's configuration cannot describe.
    #[error("the adapter cannot be exported: {0}")]
    Sites(String),
}

impl PeftError {
    fn tensor(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), reason: reason.into() }
    }
}

/// What a configuration must say to be understood here; everything else in it does not change the weights' meaning.
#[derive(Deserialize)]
struct ConfigIn {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    bias: Option<String>,
    modules_to_save: Option<Vec<String>>,
    rank_pattern: Option<BTreeMap<String, serde_json::Value>>,
    alpha_pattern: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Serialize)]
struct ConfigOut<'a> {
    peft_type: &'a str,
    task_type: &'a str,
    base_model_name_or_path: &'a str,
    r: usize,
    lora_alpha: usize,
    lora_dropout: f32,
    bias: &'a str,
    fan_in_fan_out: bool,
    inference_mode: bool,
    init_lora_weights: bool,
    layers_pattern: &'a str,
    layers_to_transform: Vec<usize>,
    target_modules: Vec<&'a str>,
    use_dora: bool,
    use_rslora: bool,
}

impl PeftAdapter {
    /// Writes the adapter; `base_model` is the name or path PEFT finds the base model by.
    ///
    /// # Errors
    /// Layers with different projections (PEFT's configuration names layers and projections apart), no site at all, or
    /// sizes that do not fit `config`.
    pub fn export(&self, config: &ModelConfig, base_model: &str) -> Result<PeftFiles, PeftError> {
        let layers: BTreeSet<usize> = self.sites.iter().map(|site| site.layer).collect();
        let projections: BTreeSet<Projection> = self.sites.iter().map(|site| site.projection).collect();
        let pairs: BTreeSet<_> = self.sites.iter().map(|site| (site.layer, site.projection)).collect();
        if pairs.is_empty() {
            return Err(PeftError::Sites("it has no site".into()));
        }
        if pairs.len() != self.sites.len() || pairs.len() != layers.len() * projections.len() {
            return Err(PeftError::Sites("every adapted layer must have the same projections, each once".into()));
        }
        let description = ConfigOut {
            peft_type: "LORA",
            task_type: "CAUSAL_LM",
            base_model_name_or_path: base_model,
            r: self.rank,
            lora_alpha: self.rank,
            lora_dropout: 0.0,
            bias: "none",
            fan_in_fan_out: false,
            inference_mode: true,
            init_lora_weights: true,
            layers_pattern: "layers",
            layers_to_transform: layers.into_iter().collect(),
            target_modules: projections.into_iter().map(Projection::name).collect(),
            use_dora: false,
            use_rslora: false,
        };
        let mut tensors = Vec::new();
        for site in &self.sites {
            let module = module_name(site.layer, site.projection);
            site.check(self.rank, config).map_err(|reason| PeftError::tensor(&module, reason))?;
            let b = reorder(&site.b, self.rank, site.projection, config, Direction::Export);
            tensors.push((format!("{module}.lora_A.weight"), vec![self.rank, site.inputs], bytes(&site.a)));
            tensors.push((format!("{module}.lora_B.weight"), vec![site.outputs, self.rank], bytes(&b)));
        }
        let failed = |error: safetensors::SafeTensorError| PeftError::Weights(error.to_string());
        let mut views = Vec::new();
        for (name, shape, data) in &tensors {
            views.push((name, TensorView::new(Dtype::F32, shape.clone(), data).map_err(failed)?));
        }
        let mut config = serde_json::to_string_pretty(&description).map_err(|e| PeftError::Config(e.to_string()))?;
        config.push('\n');
        // transformers refuses files that do not name the framework they are for.
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let weights = safetensors::serialize(views, Some(metadata)).map_err(failed)?;
        Ok(PeftFiles { config, weights })
    }

    /// Reads an adapter for the model that `config` describes. Tensors may be F32, F16 or BF16.
    ///
    /// # Errors
    /// Files that cannot be read, another kind of adapter, or tensors that do not fit the model. Nothing is guessed or
    /// left out: a tensor that is not understood is an error.
    pub fn import(config: &ModelConfig, files: &PeftFiles) -> Result<Self, PeftError> {
        let (rank, scale) = read_config(&files.config)?;
        let tensors = SafeTensors::deserialize(&files.weights).map_err(|e| PeftError::Weights(e.to_string()))?;
        let mut parts: BTreeMap<(usize, Projection), [Option<Vec<f32>>; 2]> = BTreeMap::new();
        // In the order of their names, so that of several faults the same one is always told.
        let tensors: BTreeMap<&str, TensorView<'_>> = tensors.iter().collect();
        for (name, tensor) in tensors {
            let wrong = |reason: String| PeftError::tensor(name, reason);
            let Some((layer, projection, which)) = parse_name(name) else {
                return Err(wrong("is not the A or B of a projection known here".into()));
            };
            if layer >= config.layers {
                return Err(wrong(format!("is beyond the model's {} layers", config.layers)));
            }
            let (inputs, outputs) = projection.shape(config);
            let expected = if which == 0 { [rank, inputs] } else { [outputs, rank] };
            if tensor.shape() != expected {
                return Err(wrong(format!("has the shape {:?}, expected {expected:?}", tensor.shape())));
            }
            let values = floats(&tensor).map_err(wrong)?;
            let slot = parts.entry((layer, projection)).or_default().get_mut(which);
            if slot.and_then(|slot| slot.replace(values)).is_some() {
                return Err(wrong("is in the file twice".into()));
            }
        }
        if parts.is_empty() {
            return Err(PeftError::Weights("it holds no tensor".into()));
        }
        let mut sites = Vec::new();
        for ((layer, projection), part) in parts {
            let [Some(a), Some(b)] = part else {
                return Err(PeftError::tensor(module_name(layer, projection), "has only one of A and B"));
            };
            let mut b = reorder(&b, rank, projection, config, Direction::Import);
            b.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
            let (inputs, outputs) = projection.shape(config);
            let site = PeftSite { layer, projection, a, b, inputs, outputs };
            site.check(rank, config).map_err(|reason| PeftError::tensor(module_name(layer, projection), reason))?;
            sites.push(site);
        }
        Ok(Self { rank, sites })
    }
}

impl PeftSite {
    fn check(&self, rank: usize, config: &ModelConfig) -> Result<(), String> {
        if self.layer >= config.layers || (self.inputs, self.outputs) != self.projection.shape(config) {
            return Err("is not a projection of this model".into());
        }
        if self.a.len() != rank * self.inputs || self.b.len() != rank * self.outputs {
            return Err(format!("has {} and {} numbers for rank {rank}", self.a.len(), self.b.len()));
        }
        if self.a.iter().chain(&self.b).any(|x| !x.is_finite()) {
            return Err("holds numbers that are not finite".into());
        }
        Ok(())
    }
}

/// The rank, and the factor that goes into B.
fn read_config(json: &str) -> Result<(usize, f64), PeftError> {
    if json.len() > MAX_CONFIG_BYTES {
        return Err(PeftError::Config(format!("{} bytes are more than {MAX_CONFIG_BYTES}", json.len())));
    }
    let config: ConfigIn = serde_json::from_str(json).map_err(|error| PeftError::Config(error.to_string()))?;
    let patterns = [&config.rank_pattern, &config.alpha_pattern];
    let unsupported = [
        (config.peft_type != "LORA", format!("the method `{}`", config.peft_type)),
        (config.use_dora, "DoRA".to_owned()),
        (config.fan_in_fan_out, "transposed weights (`fan_in_fan_out`)".to_owned()),
        (config.bias.as_deref().is_some_and(|bias| bias != "none"), "trained biases".to_owned()),
        (config.modules_to_save.is_some_and(|modules| !modules.is_empty()), "whole modules".to_owned()),
        (patterns.into_iter().flatten().any(|pattern| !pattern.is_empty()), "different ranks".to_owned()),
    ];
    if let Some((_, what)) = unsupported.into_iter().find(|(found, _)| *found) {
        return Err(PeftError::Unsupported(what));
    }
    let divisor = if config.use_rslora { (config.r as f64).sqrt() } else { config.r as f64 };
    let scale = config.lora_alpha / divisor;
    if config.r == 0 || !scale.is_finite() {
        return Err(PeftError::Config(format!("r = {} and lora_alpha = {}", config.r, config.lora_alpha)));
    }
    Ok((config.r, scale))
}

fn block_name(projection: Projection) -> &'static str {
    match projection {
        Projection::QProj | Projection::KProj | Projection::VProj | Projection::OProj => "self_attn",
        Projection::GateProj | Projection::UpProj | Projection::DownProj => "mlp",
    }
}

fn module_name(layer: usize, projection: Projection) -> String {
    format!("{PREFIX}{layer}.{}.{}", block_name(projection), projection.name())
}

/// Layer, projection, and 0 for A or 1 for B.
fn parse_name(name: &str) -> Option<(usize, Projection, usize)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('.');
    let layer = parts.next()?.parse().ok()?;
    let block = parts.next()?;
    let projection = Projection::from_name(parts.next()?).filter(|&p| block_name(p) == block)?;
    let which = match parts.next()? {
        "lora_A" => 0,
        "lora_B" => 1,
        _ => return None,
    };
    (parts.next() == Some("weight") && parts.next().is_none()).then_some((layer, projection, which))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Export,
    Import,
}

/// The rows of B [outputs, rank] in the other order where the projection feeds RoPE and the model interleaves.
fn reorder(b: &[f32], rank: usize, projection: Projection, config: &ModelConfig, direction: Direction) -> Vec<f32> {
    let rotated = matches!(projection, Projection::QProj | Projection::KProj);
    if !rotated || config.rope_style == RopeStyle::Half {
        return b.to_vec();
    }
    let half = config.head_dim / 2;
    // Component i of the first (s = 0) or second (s = 1) half lies at 2i + s when interleaved.
    let source = |row: usize| {
        let (head, component) = (row / config.head_dim, row % config.head_dim);
        let within = match direction {
            Direction::Export => 2 * (component % half) + component / half,
            Direction::Import => component / 2 + component % 2 * half,
        };
        head * config.head_dim + within
    };
    (0..b.len() / rank).flat_map(|row| b.iter().skip(source(row) * rank).take(rank)).copied().collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn floats(tensor: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => Ok(data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
        Dtype::F16 => Ok(data.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).into()).collect()),
        Dtype::BF16 => Ok(data.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).into()).collect()),
        other => Err(format!("is stored as {other:?}, expected F32, F16 or BF16")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ModelConfig {
        ModelConfig::for_tests()
    }

    /// Two layers with every projection, entries that tell where they were.
    fn adapter() -> PeftAdapter {
        let site = |(layer, projection): (usize, Projection)| {
            let (inputs, outputs) = projection.shape(&config());
            let numbers = |n: usize, sign: f32| (0..n).map(|i| sign * (i as f32 + 1.0)).collect::<Vec<_>>();
            PeftSite { layer, projection, a: numbers(3 * inputs, 1.0), b: numbers(3 * outputs, -0.5), inputs, outputs }
        };
        let pairs = [1, 3].into_iter().flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)));
        PeftAdapter { rank: 3, sites: pairs.map(site).collect() }
    }

    #[test]
    fn export_and_import_give_the_same_adapter() {
        let files = adapter().export(&config(), "some/model").unwrap();
        assert_eq!(PeftAdapter::import(&config(), &files).unwrap(), adapter());
        assert_eq!(adapter().export(&config(), "some/model").unwrap(), files, "the same bytes each time");
    }

    #[test]
    fn the_files_are_what_peft_expects() {
        let files = adapter().export(&config(), "some/model").unwrap();
        let json: serde_json::Value = serde_json::from_str(&files.config).unwrap();
        assert_eq!((&json["peft_type"], &json["r"], &json["lora_alpha"]), (&"LORA".into(), &3.into(), &3.into()));
        assert_eq!(json["layers_to_transform"], serde_json::json!([1, 3]));
        assert_eq!(json["base_model_name_or_path"], "some/model");
        let tensors = SafeTensors::deserialize(&files.weights).unwrap();
        assert_eq!(tensors.names().len(), 28);
        let a = tensors.tensor("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight").unwrap();
        assert_eq!(a.shape(), [3, 20]);
        let b = tensors.tensor("base_model.model.model.layers.3.self_attn.k_proj.lora_B.weight").unwrap();
        assert_eq!(b.shape(), [8, 3]);
        // Interleaved rows 0, 2, 4, 6 are the first half of Hugging Face's head, rows 1, 3, 5, 7 the second.
        let first: Vec<f32> = floats(&b).unwrap().into_iter().step_by(3).collect();
        assert_eq!(first, [0, 2, 4, 6, 1, 3, 5, 7].map(|row| -0.5 * (row as f32 * 3.0 + 1.0)));
    }

    #[test]
    fn a_model_in_hugging_face_order_keeps_its_rows() {
        let half = ModelConfig { rope_style: RopeStyle::Half, ..config() };
        let files = adapter().export(&half, "m").unwrap();
        let tensors = SafeTensors::deserialize(&files.weights).unwrap();
        let b = tensors.tensor("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight").unwrap();
        assert_eq!(floats(&b).unwrap(), adapter().sites[0].b);
    }

    #[test]
    fn alpha_over_r_goes_into_b() {
        let mut files = adapter().export(&config(), "m").unwrap();
        files.config = files.config.replace(r#""lora_alpha": 3"#, r#""lora_alpha": 6"#);
        let doubled = PeftAdapter::import(&config(), &files).unwrap();
        for (twice, once) in doubled.sites.iter().zip(&adapter().sites) {
            assert_eq!(twice.a, once.a);
            assert!(twice.b.iter().zip(&once.b).all(|(x, y)| *x == 2.0 * y));
        }
    }

    #[test]
    fn files_that_do_not_fit_are_refused_by_name() {
        let good = adapter().export(&config(), "m").unwrap();
        let with = |from: &str, to: &str| {
            assert!(good.config.contains(from));
            PeftFiles { config: good.config.replace(from, to), weights: good.weights.clone() }
        };
        let weights = |weights: Vec<u8>| PeftFiles { config: good.config.clone(), weights };
        let one = |name: &str, dtype, shape: [usize; 2], data: &[u8]| {
            let view = TensorView::new(dtype, shape.to_vec(), data).unwrap();
            weights(safetensors::serialize([(name, view)], None).unwrap())
        };
        let gate_a = "base_model.model.model.layers.1.mlp.gate_proj.lora_A.weight";
        let nan = f32::NAN.to_le_bytes().repeat(36);
        let cases = [
            (with("{", "["), "adapter_config.json cannot be read"),
            (PeftFiles { config: " ".repeat(MAX_CONFIG_BYTES + 1), weights: vec![] }, "more than"),
            (with(r#""r": 3"#, r#""r": 0"#), "r = 0"),
            (with(r#""r": 3"#, r#""r": 5"#), "expected [5, "),
            (with("LORA", "IA3"), "`IA3`"),
            (with(r#""use_dora": false"#, r#""use_dora": true"#), "DoRA"),
            (with(r#""bias": "none""#, r#""bias": "all""#), "biases"),
            (weights(vec![]), "adapter_model.safetensors cannot be read"),
            (weights(vec![0xff; 64]), "adapter_model.safetensors cannot be read"),
            (weights(good.weights[..good.weights.len() - 1].to_vec()), "cannot be read"),
            (one("lm_head.lora_A.weight", Dtype::F32, [3, 12], &[0; 144]), "`lm_head.lora_A.weight` is not"),
            (one(&gate_a.replace(".1.", ".4."), Dtype::F32, [3, 12], &[0; 144]), "beyond the model's 4 layers"),
            (one(gate_a, Dtype::F32, [3, 11], &[0; 132]), "expected [3, 12]"),
            (one(gate_a, Dtype::I32, [3, 12], &[0; 144]), "stored as I32"),
            (one(gate_a, Dtype::F32, [3, 12], &[0; 144]), "gate_proj` has only one of A and B"),
            (one(&gate_a.replace("mlp", "self_attn"), Dtype::F32, [3, 12], &nan), "is not the A or B"),
        ];
        for (files, part) in cases {
            let message = PeftAdapter::import(&config(), &files).unwrap_err().to_string();
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }

    #[test]
    fn adapters_that_peft_cannot_describe_are_not_exported() {
        let mut uneven = adapter();
        uneven.sites.pop();
        assert!(matches!(uneven.export(&config(), "m"), Err(PeftError::Sites(_))));
        assert!(matches!(PeftAdapter { rank: 3, sites: vec![] }.export(&config(), "m"), Err(PeftError::Sites(_))));
        let mut not_finite = adapter();
        not_finite.sites[0].b[0] = f32::INFINITY;
        assert!(matches!(not_finite.export(&config(), "m"), Err(PeftError::Tensor { .. })));
    }
}
