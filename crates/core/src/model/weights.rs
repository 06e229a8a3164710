//! The model's weights on the GPU, filled tensor piece by tensor piece.

use tmem_gpu::{Buffer, Gpu, GpuError, SourceType, Weight, WeightFormat};

use super::ModelConfig;
use super::slow_adapter::{SlowAdapter, encode};
use crate::fast::Projection;

/// A tensor of a model file, as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorDescription {
    /// Name in the file, GGUF (`blk.0.attn_q.weight`) or Hugging Face (`model.layers.0.self_attn.q_proj.weight`).
    pub name: String,
    /// Rows (outputs).
    pub rows: usize,
    /// Length of a row (inputs).
    pub row_len: usize,
    /// How the numbers are stored.
    pub source: SourceType,
}

/// A file whose tensors do not make up the model it claims to be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WeightsError {
    /// A tensor is missing.
    #[error("the file has no tensor for {0}: it is not a complete Llama model")]
    Missing(String),
    /// A tensor stands twice.
    #[error("the file has two tensors for {0}")]
    Twice(String),
    /// A tensor has another shape than the model's configuration says.
    #[error("tensor `{name}` is {rows} × {row_len}, the model's configuration asks for {want_rows} × {want_len}")]
    Shape {
        /// Name in the file.
        name: String,
        /// Rows in the file.
        rows: usize,
        /// Row length in the file.
        row_len: usize,
        /// Rows wanted.
        want_rows: usize,
        /// Row length wanted.
        want_len: usize,
    },
    /// A tensor's data did not come whole.
    #[error("the file ended before tensor `{0}` was complete: download it again")]
    Incomplete(String),
    /// The GPU refused.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Embedding,
    Head,
    FinalNorm,
    RopeFactors,
    AttentionNorm(usize),
    FfnNorm(usize),
    Projection(usize, Projection),
}

impl Role {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "token_embd.weight" | "model.embed_tokens.weight" => Self::Embedding,
            "output.weight" | "lm_head.weight" => Self::Head,
            "output_norm.weight" | "model.norm.weight" => Self::FinalNorm,
            "rope_freqs.weight" => Self::RopeFactors,
            other => {
                let rest = other.strip_prefix("blk.").or_else(|| other.strip_prefix("model.layers."))?;
                let (layer, part) = rest.split_once('.')?;
                let layer = layer.parse().ok()?;
                match part.strip_suffix(".weight")? {
                    "attn_norm" | "input_layernorm" => Self::AttentionNorm(layer),
                    "ffn_norm" | "post_attention_layernorm" => Self::FfnNorm(layer),
                    "attn_q" | "self_attn.q_proj" => Self::Projection(layer, Projection::QProj),
                    "attn_k" | "self_attn.k_proj" => Self::Projection(layer, Projection::KProj),
                    "attn_v" | "self_attn.v_proj" => Self::Projection(layer, Projection::VProj),
                    "attn_output" | "self_attn.o_proj" => Self::Projection(layer, Projection::OProj),
                    "ffn_gate" | "mlp.gate_proj" => Self::Projection(layer, Projection::GateProj),
                    "ffn_up" | "mlp.up_proj" => Self::Projection(layer, Projection::UpProj),
                    "ffn_down" | "mlp.down_proj" => Self::Projection(layer, Projection::DownProj),
                    _ => return None,
                }
            }
        })
    }

    pub(super) fn describe(self) -> String {
        match self {
            Self::Embedding => "the token embedding".into(),
            Self::Head => "the output head".into(),
            Self::FinalNorm => "the final norm".into(),
            Self::RopeFactors => "the rope factors".into(),
            Self::AttentionNorm(layer) => format!("the attention norm of layer {layer}"),
            Self::FfnNorm(layer) => format!("the feed-forward norm of layer {layer}"),
            Self::Projection(layer, projection) => format!("{} of layer {layer}", projection.name()),
        }
    }

    /// (rows, row length) that the configuration asks for; `None` where any will do.
    fn shape(self, config: &ModelConfig) -> Option<(usize, usize)> {
        match self {
            Self::Embedding | Self::Head => Some((config.vocab, config.hidden)),
            Self::FinalNorm | Self::AttentionNorm(_) | Self::FfnNorm(_) => Some((1, config.hidden)),
            Self::RopeFactors => Some((1, config.head_dim / 2)),
            Self::Projection(_, projection) => {
                let (inputs, outputs) = projection.shape(config);
                Some((outputs, inputs))
            }
        }
    }
}

/// One weight of a group of projections that share their input; `offset` is where its outputs begin in the group's row.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) weight: Weight,
    pub(crate) offset: usize,
}

/// The weights of one layer. q, k and v (and gate and up) are stacked into one weight where their formats agree.
#[derive(Debug)]
pub(crate) struct LayerWeights {
    pub(crate) attention_norm: Buffer,
    pub(crate) qkv: Vec<Part>,
    pub(crate) output: Vec<Part>,
    pub(crate) ffn_norm: Buffer,
    pub(crate) gate_up: Vec<Part>,
    pub(crate) down: Vec<Part>,
    /// Squared Frobenius norm of each projection, in the order of [`Projection::ALL`].
    squared_norms: [f64; 7],
}

/// All weights of a model on the GPU.
#[derive(Debug)]
pub struct ModelWeights {
    /// The tokens' embeddings, in as many parts as the device needs.
    pub(crate) embedding: Vec<Part>,
    pub(crate) layers: Vec<LayerWeights>,
    pub(crate) final_norm: Buffer,
    head: Option<Vec<Part>>,
    pub(crate) rope_factors: Option<Vec<f32>>,
}

impl ModelWeights {
    /// The output head; the embedding itself where the two are tied.
    pub(crate) fn head(&self) -> &[Part] {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// The output head's part with the first tokens: all of it where one buffer can hold that.
    pub fn head_part(&self) -> &Weight {
        &self.head()[0].weight
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        let matrices = self.layers.iter().flat_map(|l| [&l.qkv, &l.output, &l.gate_up, &l.down]);
        let matrices = matrices.chain([&self.embedding]).chain(&self.head).flatten().map(|part| &part.weight.buffer);
        let norms = self.layers.iter().flat_map(|l| [&l.attention_norm, &l.ffn_norm]).chain([&self.final_norm]);
        matrices.chain(norms).map(Buffer::size).sum()
    }

    /// ‖W‖_F of one projection.
    pub(crate) fn norm(&self, layer: usize, projection: Projection) -> f64 {
        self.layers[layer].squared_norms[projection as usize].sqrt()
    }

    /// The weight that holds a projection, and the first of its rows that belongs to it.
    pub fn projection(&self, layer: usize, projection: Projection, config: &ModelConfig) -> (&Weight, usize) {
        let weights = &self.layers[layer];
        let parts = match projection.group() {
            crate::fast::Group::Qkv => &weights.qkv,
            crate::fast::Group::Output => &weights.output,
            crate::fast::Group::GateUp => &weights.gate_up,
            crate::fast::Group::Down => &weights.down,
        };
        let offset = projection.offset_in_group(config);
        let part = parts.iter().rev().find(|p| p.offset <= offset).unwrap_or(&parts[0]);
        (&part.weight, offset - part.offset)
    }
}

/// Where a tensor's rows go.
#[derive(Debug)]
enum Target {
    /// Rows of a weight from `first_row` on.
    Rows { weight: Weight, first_row: usize },
    /// Rows of several weights, one after the other.
    Shards(Vec<Part>),
    /// A vector of f32.
    Vector(Buffer),
    /// Rope factors stay on the processor.
    Factors,
    /// Not used by this model.
    Ignored,
}

/// Collects the tensors of a file into [`ModelWeights`]. Buffers are made from the header alone; the data then flows
/// through in pieces, so that no second copy of the model ever exists.
#[derive(Debug)]
pub struct WeightsBuilder {
    gpu: Gpu,
    slow: Option<SlowAdapter>,
    tensors: Vec<TensorDescription>,
    /// How each projection is held that is encoded anew: one that the slow adapter changes, or that the device rounds.
    encoded: Vec<Option<SourceType>>,
    roles: Vec<Option<Role>>,
    targets: Vec<Target>,
    rows_seen: Vec<usize>,
    weights: ModelWeights,
}

impl WeightsBuilder {
    /// Makes the buffers for the tensors that a file's header lists, none of them of more than `largest` bytes where it can
    /// be helped: embedding and head are cut into as many as it takes. `slow` is merged into them as they come.
    ///
    /// # Errors
    /// Missing, doubled or misshapen tensors; a GPU that cannot hold them.
    pub fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        tensors: Vec<TensorDescription>,
        slow: Option<SlowAdapter>,
        largest: u64,
    ) -> Result<Self, WeightsError> {
        let roles: Vec<_> = tensors.iter().map(|t| Role::of(&t.name)).collect();
        check(config, &tensors, &roles)?;
        let encoded = |role: Option<Role>, source: SourceType| {
            let Some(Role::Projection(layer, projection)) = role else { return None };
            let merged = slow.as_ref().and_then(|slow| slow.merged(layer, projection, source));
            merged.or((source.format() == WeightFormat::Q16).then_some(SourceType::Q16))
        };
        let encoded: Vec<_> = tensors.iter().zip(&roles).map(|(t, &role)| encoded(role, t.source)).collect();
        let mut targets: Vec<Target> = tensors.iter().map(|_| Target::Ignored).collect();
        let find = |role| {
            roles.iter().position(|&r| r == Some(role)).ok_or_else(|| WeightsError::Missing(Role::describe(role)))
        };
        let mut vector = |role: Role| -> Result<Buffer, WeightsError> {
            let index = find(role)?;
            let buffer = gpu.storage(&tensors[index].name, tensors[index].row_len)?;
            targets[index] = Target::Vector(buffer.clone());
            Ok(buffer)
        };
        let final_norm = vector(Role::FinalNorm)?;
        let mut norms = Vec::new();
        for layer in 0..config.layers {
            norms.push((vector(Role::AttentionNorm(layer))?, vector(Role::FfnNorm(layer))?));
        }
        let mut whole = |role: Role| -> Result<Vec<Part>, WeightsError> {
            let index = find(role)?;
            let parts = shards(gpu, &tensors[index], largest)?;
            targets[index] = Target::Shards(parts.clone());
            Ok(parts)
        };
        let embedding = whole(Role::Embedding)?;
        let head = if config.tied_embeddings { None } else { Some(whole(Role::Head)?) };
        let mut stack = |roles: &[Role]| stack(gpu, &tensors, &encoded, &find, &mut targets, (roles, largest));
        let mut layers = Vec::new();
        for (layer, (attention_norm, ffn_norm)) in norms.into_iter().enumerate() {
            let role = |projection| Role::Projection(layer, projection);
            layers.push(LayerWeights {
                attention_norm,
                qkv: stack(&[role(Projection::QProj), role(Projection::KProj), role(Projection::VProj)])?,
                output: stack(&[role(Projection::OProj)])?,
                ffn_norm,
                gate_up: stack(&[role(Projection::GateProj), role(Projection::UpProj)])?,
                down: stack(&[role(Projection::DownProj)])?,
                squared_norms: [0.0; 7],
            });
        }
        if let Ok(index) = find(Role::RopeFactors) {
            targets[index] = Target::Factors;
        }
        let rows_seen = vec![0; tensors.len()];
        let weights = ModelWeights { embedding, layers, final_norm, head, rope_factors: None };
        Ok(Self { gpu: gpu.clone(), slow, tensors, encoded, roles, targets, rows_seen, weights })
    }

    /// Takes rows of tensor number `index`, in the file's own encoding, from `first_row` on.
    ///
    /// # Errors
    /// Rows beyond the tensor's end, or a failure of the GPU.
    pub fn push(&mut self, index: usize, first_row: usize, bytes: &[u8]) -> Result<(), WeightsError> {
        let tensor = &self.tensors[index];
        let source = tensor.source;
        match (&self.targets[index], self.roles[index]) {
            (Target::Ignored, _) => {}
            (Target::Rows { weight, first_row: base }, Some(Role::Projection(layer, projection))) => {
                let mut values = tmem_gpu::dequantise(source, bytes);
                if let Some(slow) = &self.slow {
                    slow.add(layer, projection, first_row, &mut values);
                }
                match self.encoded[index] {
                    Some(held) => weight.upload_rows(&self.gpu, base + first_row, held, &encode(held, &values))?,
                    None => weight.upload_rows(&self.gpu, base + first_row, source, bytes)?,
                }
                let squared: f64 = values.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
                self.weights.layers[layer].squared_norms[projection as usize] += squared;
            }
            (Target::Rows { weight, first_row: base }, _) => {
                weight.upload_rows(&self.gpu, base + first_row, source, bytes)?;
            }
            (Target::Shards(parts), _) => upload(&self.gpu, parts, tensor, first_row, bytes)?,
            (Target::Vector(buffer), _) => self.gpu.write(buffer, 0, &tmem_gpu::dequantise(source, bytes)),
            (Target::Factors, _) => self.weights.rope_factors = Some(tmem_gpu::dequantise(source, bytes)),
        }
        let row_bytes = source.row_bytes(tensor.row_len).unwrap_or(usize::MAX);
        self.rows_seen[index] += bytes.len() / row_bytes;
        Ok(())
    }

    /// The finished weights.
    ///
    /// # Errors
    /// [`WeightsError::Incomplete`] where a tensor's data did not come whole.
    pub fn finish(self) -> Result<ModelWeights, WeightsError> {
        for (tensor, &seen) in self.tensors.iter().zip(&self.rows_seen) {
            if seen != tensor.rows {
                return Err(WeightsError::Incomplete(tensor.name.clone()));
            }
        }
        Ok(self.weights)
    }
}

/// Whether every tensor stands once and has the shape that the configuration asks for.
pub(super) fn check(
    config: &ModelConfig,
    tensors: &[TensorDescription],
    roles: &[Option<Role>],
) -> Result<(), WeightsError> {
    for (i, (tensor, role)) in tensors.iter().zip(roles).enumerate() {
        let Some(role) = *role else { continue };
        if roles[..i].contains(&Some(role)) {
            return Err(WeightsError::Twice(role.describe()));
        }
        let unused = matches!(role, Role::AttentionNorm(l) | Role::FfnNorm(l) | Role::Projection(l, _) if l >= config.layers)
            || (role == Role::Head && config.tied_embeddings);
        if let Some((want_rows, want_len)) = role.shape(config)
            && !unused
            && (tensor.rows, tensor.row_len) != (want_rows, want_len)
        {
            let TensorDescription { name, rows, row_len, .. } = tensor.clone();
            return Err(WeightsError::Shape { name, rows, row_len, want_rows, want_len });
        }
    }
    Ok(())
}

/// A tensor in as many weights as none is of more than `largest` bytes.
fn shards(gpu: &Gpu, tensor: &TensorDescription, largest: u64) -> Result<Vec<Part>, WeightsError> {
    // Kernels read outputs by fours.
    const MULTIPLE: usize = 4;
    let TensorDescription { name, rows, row_len, source } = tensor;
    let row = source.format().bytes(1, *row_len).max(1);
    let most = (largest / row).min(*rows as u64) as usize;
    let most = if most >= *rows { *rows } else { (most / MULTIPLE * MULTIPLE).max(MULTIPLE) };
    let part = |offset: usize| {
        let weight = Weight::new(gpu, name, source.format(), most.min(rows - offset), *row_len)?;
        Ok(Part { weight, offset })
    };
    (0..*rows).step_by(most.max(1)).map(part).collect()
}

/// Uploads rows of a tensor that lies in several weights.
fn upload(
    gpu: &Gpu,
    parts: &[Part],
    tensor: &TensorDescription,
    first_row: usize,
    mut bytes: &[u8],
) -> Result<(), WeightsError> {
    let row_bytes = tensor.source.row_bytes(tensor.row_len).unwrap_or(usize::MAX);
    let mut row = first_row;
    for part in parts {
        let end = part.offset + part.weight.outputs;
        if row < part.offset || row >= end || bytes.is_empty() {
            continue;
        }
        let (now, rest) = bytes.split_at(bytes.len().min((end - row).saturating_mul(row_bytes)));
        part.weight.upload_rows(gpu, row - part.offset, tensor.source, now)?;
        (row, bytes) = (end, rest);
    }
    if bytes.is_empty() {
        return Ok(());
    }
    // What lies beyond the last row is refused by the last part, in its words.
    let last = &parts[parts.len() - 1];
    Ok(last.weight.upload_rows(gpu, row - last.offset, tensor.source, bytes)?)
}

/// One weight for all `roles` where their formats agree and it has no more than `largest` bytes, else one each.
fn stack(
    gpu: &Gpu,
    tensors: &[TensorDescription],
    encoded: &[Option<SourceType>],
    find: &impl Fn(Role) -> Result<usize, WeightsError>,
    targets: &mut [Target],
    (roles, largest): (&[Role], u64),
) -> Result<Vec<Part>, WeightsError> {
    let indices = roles.iter().map(|&role| find(role)).collect::<Result<Vec<_>, _>>()?;
    let format = |index: usize| encoded[index].unwrap_or(tensors[index].source).format();
    let bytes = indices.iter().map(|&i| format(i).bytes(tensors[i].rows, tensors[i].row_len)).sum::<u64>();
    let together = bytes <= largest && indices.iter().all(|&i| format(i) == format(indices[0]));
    let mut parts = Vec::new();
    let mut offset = 0;
    for run in indices.chunks(if together { indices.len() } else { 1 }) {
        let first = &tensors[run[0]];
        let rows = run.iter().map(|&i| tensors[i].rows).sum();
        let weight = Weight::new(gpu, &first.name, format(run[0]), rows, first.row_len)?;
        let mut first_row = 0;
        for &index in run {
            targets[index] = Target::Rows { weight: weight.clone(), first_row };
            first_row += tensors[index].rows;
        }
        parts.push(Part { weight, offset });
        offset += rows;
    }
    Ok(parts)
}
