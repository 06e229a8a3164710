//! Setting one value by its name, and the range of every value.

use serde_json::Value;

use super::{Settings, SettingsError};

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
        whole("rollout.context_tokens", r.context_tokens, 64, 1 << 24)?;
        whole("rollout.answer_tokens", r.answer_tokens, 1, 1 << 20)?;
        whole("rollout.writer_tokens", r.writer_tokens, 1, 1 << 20)?;
        whole("rollout.max_cards", r.max_cards, 1, 1024)?;
        whole("rollout.wordings", r.wordings, 0, 32)?;
        whole("rollout.system_prompt", r.system_prompt.len(), 0, 1 << 16)?;
        whole("rollout.summary_tokens", r.summary_tokens, 1, 1 << 20)?;
        whole("rollout.retrieval_turns", r.retrieval_turns, 1, 1024)?;
        whole("rollout.retrieval_tokens", r.retrieval_tokens, 1, 1 << 20)?;
        real("rollout.retrieval_dense", r.retrieval_dense, 0.0, 1.0)?;
        real("rollout.card_threshold", r.card_threshold, 0.0, 1.0)?;
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
        real("fast.gate_margin", f.gate_margin, -2.0, 2.0)?;
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
    use super::super::{MemoryKind, OptimizerKind};
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
    fn every_memory_strategy_is_set_by_its_name() {
        let kinds = [
            ("none", MemoryKind::None),
            ("summary", MemoryKind::Summary),
            ("retrieval", MemoryKind::Retrieval),
            ("tmem", MemoryKind::Tmem),
            ("tmem_text", MemoryKind::TmemText),
            ("cards", MemoryKind::Cards),
        ];
        for (name, kind) in kinds {
            let mut settings = Settings::small();
            settings.set(&format!("memory={name}")).unwrap();
            assert_eq!(settings.rollout.memory, kind);
        }
        let error = message("memory=notes");
        assert!(kinds.iter().all(|(name, _)| error.contains(&format!("`{name}`"))), "{error}");
        assert!(message("text_channel=both").contains("`summary`"));
    }

    #[test]
    fn settings_saved_before_a_setting_existed_take_its_default() {
        let old = r#"{"rollout": {"memory": "tmem", "budget": 300}, "seed": 3}"#;
        let read: Settings = serde_json::from_str(old).unwrap();
        let mut expected = Settings::small();
        (expected.rollout.budget, expected.seed) = (300, 3);
        assert_eq!(read, expected);
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
            "retrieval_dense=1.5",
            "card_threshold=-1",
            "summary_tokens=0",
            "memory=tmem+text",
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
        for name in Settings::PRESETS {
            let preset = Settings::preset(name).unwrap();
            preset.validate().unwrap();
            let json = serde_json::to_string(&preset).unwrap();
            assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), preset);
        }
        assert!(Settings::preset("large").unwrap_err().to_string().contains("use `small`, `quick` or `paper`"));
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
