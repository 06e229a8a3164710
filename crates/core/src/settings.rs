//! Every setting of a run, its presets, and setting one by name.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rollout::policy::Sampling;

/// Everything a run depends on besides the model and what is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The agent's loop.
    pub rollout: RolloutSettings,
    /// The fast weights.
    pub fast: FastSettings,
    /// How answers are sampled.
    pub sampling: Sampling,
    /// Seeds everything that is random (initialisation, batch order); `sampling.seed` seeds the tokens.
    pub seed: u64,
}

/// Which memory the agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// Everything stays in the context.
    None,
    /// Fast weights.
    Tmem,
}

/// How cards are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriterKind {
    /// The paper's JSON array of {"instruction", "output"}.
    Json,
    /// Answer span first, copied from the context, then its question: for small models.
    AnswerFirst,
}

/// Settings of the agent's loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutSettings {
    /// Which memory.
    pub memory: MemoryKind,
    /// L_max: the context may have this many tokens before memory is written (METHOD §2).
    pub budget: usize,
    /// How cards are written.
    pub writer: WriterKind,
    /// Most tokens of one answer.
    pub answer_tokens: usize,
    /// Most tokens of one memory-writing action.
    pub writer_tokens: usize,
    /// Most cards of one write.
    pub max_cards: usize,
    /// Further wordings the writer makes of each card's question.
    pub wordings: usize,
    /// System prompt; the template's own default where empty.
    pub system_prompt: String,
}

/// Where A comes from (METHOD §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// A = Σ_r V_rᵀ.
    Svd,
    /// A = V_rᵀ.
    PlainV,
    /// Seeded normal entries, scaled to the Frobenius norm of Σ_r V_rᵀ.
    Random,
}

/// What turns gradients into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Plain stochastic gradient descent.
    Sgd,
    /// AdamW with PyTorch's formula.
    Adamw,
}

/// Settings of the fast weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FastSettings {
    /// Adapted projections of each adapted layer (`q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`,
    /// `down_proj`).
    pub sites: Vec<String>,
    /// The last this many layers are adapted.
    pub layers: usize,
    /// Rank r.
    pub rank: usize,
    /// Where A comes from.
    pub init: Init,
    /// What turns gradients into steps.
    pub optimizer: OptimizerKind,
    /// Learning rate.
    pub learning_rate: f32,
    /// Decoupled weight decay (AdamW).
    pub weight_decay: f32,
    /// Most steps of one write; 0 = `epochs` decide.
    pub steps: usize,
    /// Passes over the pairs where `steps` is 0.
    pub epochs: usize,
    /// (wording, answer) pairs of one mini-batch.
    pub batch: usize,
    /// Weight of KL(base ‖ current) on neutral prompts; 0 = no anchor.
    pub kl_weight: f32,
    /// Neutral prompts in each mini-batch.
    pub kl_prompts: usize,
    /// Questions in each mini-batch about things never told, answered "not known to me": against leaking.
    pub unknown_cards: usize,
    /// Earlier cards mixed into a write, as a share of the new ones (1 = as many again, chosen in turn); 0 = off.
    pub replay: f32,
    /// MemFT (arXiv 2605.30260): answer tokens above this probability leave the loss; 1 = off.
    pub loss_threshold: f32,
    /// A write stops early when the mean loss of a whole pass is below this; 0 = never.
    pub early_stop_loss: f32,
    /// Most ‖ΔW‖_F / ‖W‖_F at any site; Δ is scaled back to it. 0 = off.
    pub trust_region: f32,
    /// Gradients are scaled to at most this norm; 0 = off.
    pub gradient_clip: f32,
    /// Whether Δ is scaled per prompt by its nearness to a learned question (METHOD §7).
    pub gate: bool,
    /// Share of the neutral prompts that the gate may let through: its threshold is that quantile of their own
    /// nearness to the learned questions.
    pub gate_pass: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self::small()
    }
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Settings::small().rollout
    }
}

impl Default for FastSettings {
    fn default() -> Self {
        Settings::small().fast
    }
}

/// A preset or setting that does not exist, or a value that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No such preset.
    #[error("there is no preset `{0}`: use `small` or `paper`")]
    Preset(String),
    /// Not of the form name=value.
    #[error("`{0}` is not of the form name=value")]
    Form(String),
    /// No such setting.
    #[error("there is no setting `{name}`. There are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A value of the wrong type or out of range.
    #[error("`{value}` does not fit the setting `{name}`: {reason}")]
    Value {
        /// The setting.
        name: String,
        /// The value.
        value: String,
        /// Why not.
        reason: String,
    },
}

impl Settings {
    /// The paper's own settings (METHOD §3): no gate, no anchor, SGD.
    pub fn paper() -> Self {
        let mut settings = Self::small();
        settings.rollout.budget = 4096;
        settings.rollout.writer = WriterKind::Json;
        settings.rollout.wordings = 0;
        settings.fast = FastSettings {
            layers: 4,
            optimizer: OptimizerKind::Sgd,
            learning_rate: 5e-4,
            steps: 0,
            epochs: 5,
            batch: 16,
            kl_weight: 0.0,
            kl_prompts: 0,
            unknown_cards: 0,
            replay: 0.0,
            early_stop_loss: 0.0,
            trust_region: 0.0,
            gate: false,
            ..settings.fast
        };
        settings
    }

    /// What works on a model of 135 million weights (measured; docs/architecture.md).
    pub fn small() -> Self {
        let sites = ["gate_proj", "up_proj", "down_proj"].map(str::to_owned).to_vec();
        Self {
            rollout: RolloutSettings {
                memory: MemoryKind::Tmem,
                budget: 512,
                writer: WriterKind::AnswerFirst,
                answer_tokens: 64,
                writer_tokens: 512,
                max_cards: 32,
                wordings: 4,
                system_prompt: String::new(),
            },
            fast: FastSettings {
                sites,
                layers: 8,
                rank: 6,
                init: Init::Svd,
                optimizer: OptimizerKind::Adamw,
                learning_rate: 1e-3,
                weight_decay: 0.0,
                steps: 40,
                epochs: 5,
                batch: 16,
                kl_weight: 1.0,
                kl_prompts: 4,
                unknown_cards: 0,
                replay: 1.0,
                loss_threshold: 1.0,
                early_stop_loss: 0.0,
                trust_region: 0.5,
                gradient_clip: 0.0,
                gate: true,
                gate_pass: 0.2,
            },
            sampling: Sampling::default(),
            seed: 0,
        }
    }

    /// A preset by name.
    ///
    /// # Errors
    /// [`SettingsError::Preset`].
    pub fn preset(name: &str) -> Result<Self, SettingsError> {
        match name {
            "paper" => Ok(Self::paper()),
            "small" => Ok(Self::small()),
            other => Err(SettingsError::Preset(other.to_owned())),
        }
    }
}

impl Settings {
    /// Sets one value from `name=value`, e.g. `fast.steps=30`. The name is the path in the settings, or its last part
    /// where that is unique. Lists are separated by commas; `off` is 0 or false, `on` is true.
    ///
    /// # Errors
    /// [`SettingsError`]; the settings are then unchanged.
    pub fn set(&mut self, assignment: &str) -> Result<(), SettingsError> {
        let (name, value) = assignment.split_once('=').ok_or_else(|| SettingsError::Form(assignment.to_owned()))?;
        let (name, value) = (name.trim(), value.trim());
        let misfit = |reason: String| SettingsError::Value { name: name.to_owned(), value: value.to_owned(), reason };
        let mut tree = serde_json::to_value(&*self).map_err(|error| misfit(error.to_string()))?;
        let path = resolve(&tree, name)?;
        let place = tree.pointer_mut(&format!("/{}", path.replace('.', "/"))).ok_or_else(|| unknown(&path, &[]))?;
        *place = parse(place, value).map_err(misfit)?;
        let changed: Self = serde_json::from_value(tree).map_err(|error| misfit(error.to_string()))?;
        changed.validate()?;
        *self = changed;
        Ok(())
    }

    /// The names of all settings, as [`set`](Self::set) takes them.
    pub fn names() -> Vec<String> {
        serde_json::to_value(Self::small()).map(|tree| leaves(&tree)).unwrap_or_default()
    }

    /// Checks that every value is in its range. What depends on the model (layers, sites, rank against its sizes) is
    /// checked where the fast weights are made.
    ///
    /// # Errors
    /// [`SettingsError::Value`] with the first value out of range.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let (r, f, s) = (&self.rollout, &self.fast, &self.sampling);
        whole("rollout.budget", r.budget, 1, 1 << 24)?;
        whole("rollout.answer_tokens", r.answer_tokens, 1, 1 << 20)?;
        whole("rollout.writer_tokens", r.writer_tokens, 1, 1 << 20)?;
        whole("rollout.max_cards", r.max_cards, 1, 1024)?;
        whole("rollout.wordings", r.wordings, 0, 32)?;
        whole("rollout.system_prompt", r.system_prompt.len(), 0, 1 << 16)?;
        for site in &f.sites {
            if !PROJECTIONS.contains(&site.as_str()) {
                return Err(out_of_range("fast.sites", site, format!("one of {}", PROJECTIONS.join(", "))));
            }
        }
        if f.sites.iter().enumerate().any(|(at, site)| f.sites[..at].contains(site)) {
            return Err(out_of_range("fast.sites", f.sites.join(","), "each projection once".to_owned()));
        }
        whole("fast.sites", f.sites.len(), 1, PROJECTIONS.len())?;
        whole("fast.layers", f.layers, 1, 1024)?;
        whole("fast.rank", f.rank, 1, 64)?;
        whole("fast.steps", f.steps, 0, 100_000)?;
        whole("fast.epochs", f.epochs, usize::from(f.steps == 0), 10_000)?;
        whole("fast.batch", f.batch, 1, 64)?;
        whole("fast.kl_prompts", f.kl_prompts, 0, 64)?;
        whole("fast.unknown_cards", f.unknown_cards, 0, 64)?;
        real("fast.learning_rate", f.learning_rate, 0.0, 100.0)?;
        real("fast.weight_decay", f.weight_decay, 0.0, 100.0)?;
        real("fast.kl_weight", f.kl_weight, 0.0, 1e4)?;
        real("fast.replay", f.replay, 0.0, 100.0)?;
        real("fast.loss_threshold", f.loss_threshold, 0.0, 1.0)?;
        real("fast.early_stop_loss", f.early_stop_loss, 0.0, 100.0)?;
        real("fast.trust_region", f.trust_region, 0.0, 1e4)?;
        real("fast.gradient_clip", f.gradient_clip, 0.0, 1e6)?;
        real("fast.gate_pass", f.gate_pass, 0.0, 1.0)?;
        real("sampling.temperature", s.temperature, 0.0, 100.0)?;
        real("sampling.top_p", s.top_p, 0.0, 1.0)?;
        real("sampling.min_p", s.min_p, 0.0, 1.0)?;
        real("sampling.repetition_penalty", s.repetition_penalty, 0.01, 100.0)
    }
}

/// The projections of a Llama layer that can be adapted.
const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

fn out_of_range(name: &str, value: impl ToString, range: String) -> SettingsError {
    SettingsError::Value { name: name.to_owned(), value: value.to_string(), reason: format!("it must be {range}") }
}

fn whole(name: &str, value: usize, low: usize, high: usize) -> Result<(), SettingsError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(out_of_range(name, value, format!("between {low} and {high}")))
}

fn real(name: &str, value: f32, low: f32, high: f32) -> Result<(), SettingsError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(out_of_range(name, value, format!("between {low} and {high}")))
}

/// Dotted paths of everything that can be set.
fn leaves(tree: &Value) -> Vec<String> {
    let Value::Object(fields) = tree else { return Vec::new() };
    let below = |(name, value): (&String, &Value)| match value {
        Value::Object(_) => leaves(value).into_iter().map(|rest| format!("{name}.{rest}")).collect(),
        _ => vec![name.clone()],
    };
    fields.iter().flat_map(below).collect()
}

/// The full path of a name given in full or by its last part.
fn resolve(tree: &Value, name: &str) -> Result<String, SettingsError> {
    let names = leaves(tree);
    if names.iter().any(|n| n == name) {
        return Ok(name.to_owned());
    }
    let mut short = names.iter().filter(|n| n.rsplit('.').next() == Some(name));
    match (short.next(), short.next()) {
        (Some(path), None) => Ok(path.clone()),
        _ => Err(unknown(name, &names)),
    }
}

/// All names, the most similar ones first.
fn unknown(name: &str, names: &[String]) -> SettingsError {
    let likeness = |known: &str| {
        let last = known.rsplit('.').next().unwrap_or(known);
        strsim::jaro_winkler(known, name).max(strsim::jaro_winkler(last, name))
    };
    let mut known: Vec<&str> = names.iter().map(String::as_str).collect();
    known.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    SettingsError::Unknown { name: name.to_owned(), known: known.join(", ") }
}

/// Reads a value of the same type as the one in place.
fn parse(current: &Value, text: &str) -> Result<Value, String> {
    match current {
        Value::Bool(_) => match text {
            "true" | "on" => Ok(Value::Bool(true)),
            "false" | "off" => Ok(Value::Bool(false)),
            _ => Err("it must be on or off".to_owned()),
        },
        Value::Number(_) if text == "off" => Ok(Value::from(0)),
        Value::Number(_) => match serde_json::from_str(text) {
            Ok(number @ Value::Number(_)) => Ok(number),
            _ => Err("it must be a number".to_owned()),
        },
        Value::Array(_) => Ok(text.split(',').map(|item| Value::from(item.trim())).collect()),
        _ => Ok(Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(assignment: &str) -> String {
        Settings::small().set(assignment).unwrap_err().to_string()
    }

    #[test]
    fn values_of_every_type_are_set_by_full_and_short_name() {
        let mut settings = Settings::small();
        for assignment in [
            "fast.steps=30",
            "replay = off",
            "gate=off",
            "learning_rate=5e-4",
            "fast.sites=up_proj, down_proj",
            "optimizer=sgd",
            "rollout.memory=none",
            "system_prompt=Be brief = be kind.",
            "sampling.temperature=1",
        ] {
            settings.set(assignment).unwrap();
        }
        assert_eq!(settings.fast.steps, 30);
        assert_eq!(settings.fast.replay, 0.0);
        assert!(!settings.fast.gate);
        assert_eq!(settings.fast.learning_rate, 5e-4);
        assert_eq!(settings.fast.sites, ["up_proj", "down_proj"]);
        assert_eq!(settings.fast.optimizer, OptimizerKind::Sgd);
        assert_eq!(settings.rollout.memory, MemoryKind::None);
        assert_eq!(settings.rollout.system_prompt, "Be brief = be kind.");
        assert_eq!(settings.sampling.temperature, 1.0);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones_nearest_first() {
        assert!(message("fast.step=3").contains("There are: fast.steps, "), "{}", message("fast.step=3"));
        assert!(message("lerning_rate=3").contains("There are: fast.learning_rate, "));
        // There are two seeds: the short name is not unique, so the full names are told. `seed` itself is one of them.
        assert!(Settings::names().contains(&"sampling.seed".to_owned()));
        assert_eq!(message("steps"), "`steps` is not of the form name=value");
        assert!(message("=3").contains("no setting ``"));
    }

    #[test]
    fn values_of_the_wrong_type_or_out_of_range_are_refused_and_change_nothing() {
        for assignment in [
            "fast.steps=-1",
            "fast.steps=2.5",
            "fast.steps=many",
            "rank=0",
            "gate=maybe",
            "optimizer=adagrad",
            "sites=nose_proj",
            "sites=up_proj,up_proj",
            "learning_rate=NaN",
            "learning_rate=1e30",
            "budget=99999999999999999999999",
        ] {
            let mut settings = Settings::small();
            let error = settings.set(assignment).unwrap_err();
            assert!(matches!(error, SettingsError::Value { .. }), "{assignment}: {error}");
            assert_eq!(settings, Settings::small());
        }
    }

    #[test]
    fn presets_are_valid_and_survive_json() {
        for name in ["small", "paper"] {
            let preset = Settings::preset(name).unwrap();
            preset.validate().unwrap();
            let json = serde_json::to_string(&preset).unwrap();
            assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), preset);
        }
        assert!(Settings::preset("large").unwrap_err().to_string().contains("use `small` or `paper`"));
        assert!(serde_json::from_str::<Settings>(r#"{"fast": {"stepz": 3}}"#).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_assignment_is_survived(assignment in ".{0,40}", name in "[a-z_.]{0,12}", value in ".{0,12}") {
            let mut settings = Settings::small();
            let _ = settings.set(&assignment);
            let _ = settings.set(&format!("{name}={value}"));
            settings.validate().unwrap();
        }
    }
}
