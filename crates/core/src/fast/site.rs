//! Which projections are adapted, and where their A and B lie in the flat buffers.

use serde::{Deserialize, Serialize};

use crate::model::ModelConfig;
use crate::settings::FastSettings;

/// A linear projection of a transformer layer, by its usual name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// Queries.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// Attention output.
    OProj,
    /// Feed-forward gate.
    GateProj,
    /// Feed-forward up.
    UpProj,
    /// Feed-forward down.
    DownProj,
}

impl Projection {
    /// All of them, in the order in which a layer computes them.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// `q_proj`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }

    /// The projection of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Projections that read the same input and write into one output row.
    pub fn group(self) -> Group {
        match self {
            Self::QProj | Self::KProj | Self::VProj => Group::Qkv,
            Self::OProj => Group::Output,
            Self::GateProj | Self::UpProj => Group::GateUp,
            Self::DownProj => Group::Down,
        }
    }

    /// (inputs, outputs) of the weight.
    pub fn shape(self, config: &ModelConfig) -> (usize, usize) {
        let (query, key) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Self::QProj => (config.hidden, query),
            Self::KProj | Self::VProj => (config.hidden, key),
            Self::OProj => (query, config.hidden),
            Self::GateProj | Self::UpProj => (config.hidden, config.ffn),
            Self::DownProj => (config.ffn, config.hidden),
        }
    }

    /// Where the projection's outputs begin in its group's output row.
    pub fn offset_in_group(self, config: &ModelConfig) -> usize {
        let (query, key) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Self::QProj | Self::OProj | Self::GateProj | Self::DownProj => 0,
            Self::KProj => query,
            Self::VProj => query + key,
            Self::UpProj => config.ffn,
        }
    }
}

/// Projections that share their input row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// q, k, v.
    Qkv,
    /// o.
    Output,
    /// gate, up.
    GateUp,
    /// down.
    Down,
}

impl Group {
    /// Length of the group's output row.
    pub fn outputs(self, config: &ModelConfig) -> usize {
        match self {
            Self::Qkv => (config.heads + 2 * config.kv_heads) * config.head_dim,
            Self::Output | Self::Down => config.hidden,
            Self::GateUp => 2 * config.ffn,
        }
    }
}

/// One adapted projection of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Layer, counted from 0 at the input.
    pub layer: usize,
    /// Which projection.
    pub projection: Projection,
    /// d_in.
    pub inputs: usize,
    /// d_out.
    pub outputs: usize,
    /// Element at which A [rank, inputs] begins in the flat A buffer.
    pub a_offset: usize,
    /// Element at which B [outputs, rank] begins in each slot of the flat B buffer.
    pub b_offset: usize,
}

/// All adapted sites of a model. Sites of a group lie next to each other, so that their A is one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sites {
    /// Rank r.
    pub rank: usize,
    /// The lowest adapted layer; the number of layers where there is no site.
    pub first_layer: usize,
    /// The sites, by layer and in the order of [`Projection::ALL`].
    pub sites: Vec<Site>,
    /// Elements of the flat A buffer.
    pub a_len: usize,
    /// Elements of one slot of the flat B buffer.
    pub b_len: usize,
}

/// Settings that name sites which the model does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// No such projection.
    #[error("there is no projection `{0}`: use q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj or down_proj")]
    Projection(String),
    /// A rank that is no rank.
    #[error("rank {rank} is not between 1 and {largest}")]
    Rank {
        /// Rank asked for.
        rank: usize,
        /// Largest that fits every site and the kernels.
        largest: usize,
    },
}

/// Largest rank that the kernels take.
const MAX_RANK: usize = 64;

impl Sites {
    /// The sites that `settings` ask for. A model with fewer layers than that has all but its lowest adapted, so that
    /// the defaults fit it too and the gate still has a hidden state to decide by.
    ///
    /// # Errors
    /// A projection or rank that the model does not have.
    pub fn new(config: &ModelConfig, settings: &FastSettings) -> Result<Self, SiteError> {
        let mut projections = Vec::new();
        for name in &settings.sites {
            projections.push(Projection::from_name(name).ok_or_else(|| SiteError::Projection(name.clone()))?);
        }
        projections.sort_unstable();
        projections.dedup();
        let layers =
            if settings.layers > config.layers { config.layers.saturating_sub(1).max(1) } else { settings.layers };
        let largest = projections
            .iter()
            .map(|p| p.shape(config))
            .map(|(inputs, outputs)| inputs.min(outputs))
            .min()
            .unwrap_or(MAX_RANK)
            .min(MAX_RANK);
        if settings.rank == 0 || settings.rank > largest {
            return Err(SiteError::Rank { rank: settings.rank, largest });
        }
        let first_layer = if projections.is_empty() { config.layers } else { config.layers - layers };
        let (mut a_len, mut b_len) = (0, 0);
        let mut sites = Vec::new();
        for layer in first_layer..config.layers {
            for &projection in &projections {
                let (inputs, outputs) = projection.shape(config);
                sites.push(Site { layer, projection, inputs, outputs, a_offset: a_len, b_offset: b_len });
                a_len += settings.rank * inputs;
                b_len += settings.rank * outputs;
            }
        }
        Ok(Self { rank: settings.rank, first_layer, sites, a_len, b_len })
    }

    /// The sites of one layer and group, adjacent in A.
    pub fn group(&self, layer: usize, group: Group) -> Vec<&Site> {
        self.sites.iter().filter(|s| s.layer == layer && s.projection.group() == group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn first_adapted(layers: usize, asked: usize) -> usize {
        let config = ModelConfig { layers, ..ModelConfig::for_tests() };
        let settings = FastSettings { layers: asked, rank: 2, ..Settings::small().fast };
        Sites::new(&config, &settings).unwrap().first_layer
    }

    #[test]
    fn the_last_layers_are_adapted_and_all_but_the_lowest_of_a_small_model() {
        assert_eq!(first_adapted(30, 8), 22);
        assert_eq!(first_adapted(3, 3), 0);
        assert_eq!(first_adapted(3, 8), 1);
        assert_eq!(first_adapted(1, 8), 0);
    }
}
