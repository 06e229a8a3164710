//! Setting one thing by its name, and what values make sense.

use serde_json::{Number, Value};

use super::{Settings, SettingsError};

/// (name, smallest, largest): the range of each number that is not free.
const RANGES: [(&str, f64, f64); 25] = [
    ("rollout.budget", 1.0, 1e6),
    ("rollout.answer_tokens", 1.0, 1e6),
    ("rollout.writer_tokens", 1.0, 1e6),
    ("rollout.max_cards", 1.0, 1e4),
    ("rollout.wordings", 0.0, 100.0),
    ("fast.layers", 0.0, 1e3),
    ("fast.rank", 1.0, 64.0),
    ("fast.learning_rate", 0.0, 10.0),
    ("fast.weight_decay", 0.0, 10.0),
    ("fast.steps", 0.0, 1e5),
    ("fast.epochs", 1.0, 1e4),
    ("fast.batch", 1.0, 1e3),
    ("fast.kl_weight", 0.0, 1e3),
    ("fast.kl_prompts", 0.0, 1e3),
    ("fast.replay", 0.0, 100.0),
    ("fast.loss_threshold", 0.0, 1.0),
    ("fast.early_stop_loss", 0.0, 100.0),
    ("fast.trust_region", 0.0, 1e3),
    ("fast.gradient_clip", 0.0, 1e6),
    ("fast.gate_recall", 0.0, 1.0),
    ("sampling.temperature", 0.0, 100.0),
    ("sampling.top_k", 0.0, 1e6),
    ("sampling.top_p", 0.0, 1.0),
    ("sampling.min_p", 0.0, 1.0),
    ("sampling.repetition_penalty", 0.01, 100.0),
];

/// Settings that are switched off by 1, not by 0.
const OFF_AT_ONE: [&str; 3] = ["fast.loss_threshold", "sampling.top_p", "sampling.repetition_penalty"];

impl Settings {
    /// Takes `name=value`. The name is a path such as `fast.rank`, or its last part where only one setting has it
    /// (`rank`). Switches take `on` and `off`, numbers `off` too, lists are separated by commas.
    ///
    /// # Errors
    /// [`SettingsError`]; the settings are then unchanged.
    pub fn assign(&mut self, assignment: &str) -> Result<(), SettingsError> {
        let (name, text) = assignment.split_once('=').ok_or_else(|| SettingsError::Form(assignment.to_owned()))?;
        let (name, text) = (name.trim(), text.trim());
        let mut tree = self.tree();
        let path = find(&tree, name)
            .ok_or_else(|| SettingsError::Unknown { name: name.to_owned(), known: leaves(&tree).join(", ") })?;
        let wrong = |reason: String| SettingsError::Value { name: path.clone(), value: text.to_owned(), reason };
        let leaf = tree.pointer_mut(&pointer(&path)).ok_or_else(|| wrong("it cannot be set".to_owned()))?;
        *leaf = parse(leaf, &path, text).map_err(wrong)?;
        let settings: Self = serde_json::from_value(tree).map_err(|e| wrong(e.to_string()))?;
        settings.check()?;
        *self = settings;
        Ok(())
    }

    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// [`SettingsError::Value`] naming the first that is not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let tree = self.tree();
        for (name, least, most) in RANGES {
            let value = tree.pointer(&pointer(name)).and_then(Value::as_f64);
            // A number that is not finite has no form in JSON and shows as null.
            if !value.is_some_and(|value| (least..=most).contains(&value)) {
                return Err(SettingsError::Value {
                    name: name.to_owned(),
                    value: value.map_or_else(|| "not a number".to_owned(), |value| value.to_string()),
                    reason: format!("it goes from {least} to {most}"),
                });
            }
        }
        Ok(())
    }

    /// The names of all settings, as paths.
    pub fn names() -> Vec<String> {
        leaves(&Self::default().tree())
    }

    fn tree(&self) -> Value {
        // Settings are plain numbers, words and lists: this cannot fail, and an empty tree has no setting to set.
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

/// Paths of all leaves; a list is one leaf.
fn leaves(tree: &Value) -> Vec<String> {
    let Value::Object(fields) = tree else { return Vec::new() };
    let of_field = |(name, value): (&String, &Value)| match value {
        Value::Object(_) => leaves(value).into_iter().map(|path| format!("{name}.{path}")).collect(),
        _ => vec![name.clone()],
    };
    fields.iter().flat_map(of_field).collect()
}

/// The path meant by a name: itself, or the only one that ends in it.
fn find(tree: &Value, name: &str) -> Option<String> {
    let paths = leaves(tree);
    if let Some(path) = paths.iter().find(|path| *path == name) {
        return Some(path.clone());
    }
    let mut ending = paths.into_iter().filter(|path| path.rsplit('.').next() == Some(name));
    let only = ending.next()?;
    ending.next().is_none().then_some(only)
}

/// The text as a value of the same kind as `old`.
fn parse(old: &Value, path: &str, text: &str) -> Result<Value, String> {
    match old {
        Value::Bool(_) => match text {
            "on" | "true" | "yes" | "1" => Ok(Value::Bool(true)),
            "off" | "false" | "no" | "0" => Ok(Value::Bool(false)),
            _ => Err("it is `on` or `off`".to_owned()),
        },
        Value::Number(_) if text == "off" => Ok(Value::from(u8::from(OFF_AT_ONE.contains(&path)))),
        Value::Number(_) => {
            let whole = text.parse::<u64>().ok().map(Number::from);
            let number = whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
            number.map(Value::Number).ok_or_else(|| "it is a number".to_owned())
        }
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Init, OptimizerKind};

    #[test]
    fn settings_are_named_by_path_or_by_their_last_part() {
        let mut settings = Settings::small();
        for assignment in
            ["fast.rank=4", "replay=off", "loss_threshold=off", "optimizer=sgd", "init = plain_v", "seed=7", "gate=off"]
        {
            settings.assign(assignment).unwrap();
        }
        settings.assign("sites=up_proj, down_proj").unwrap();
        settings.assign("system_prompt=Answer in one = word.").unwrap();
        assert_eq!((settings.fast.rank, settings.fast.replay, settings.fast.loss_threshold), (4, 0.0, 1.0));
        assert_eq!((settings.fast.optimizer, settings.fast.init), (OptimizerKind::Sgd, Init::PlainV));
        assert_eq!((settings.seed, settings.sampling.seed, settings.fast.gate), (7, 0, false));
        assert_eq!(settings.fast.sites, ["up_proj", "down_proj"]);
        assert_eq!(settings.rollout.system_prompt, "Answer in one = word.");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let refused = |assignment: &str| {
            let mut settings = Settings::small();
            let error = settings.assign(assignment).unwrap_err();
            assert_eq!(settings, Settings::small());
            error
        };
        assert!(matches!(refused("rank"), SettingsError::Form(_)));
        let unknown = refused("rnak=3").to_string();
        assert!(unknown.contains("`rnak`") && unknown.contains("fast.rank"), "{unknown}");
        let bad = ["rank=0", "rank=2.5", "rank=-1", "rank=x", "learning_rate=nan", "learning_rate=-1", "gate=maybe"];
        for assignment in bad.into_iter().chain(["optimizer=adam", "rank=99999999999999999999", "budget=0", "top_p=2"])
        {
            assert!(matches!(refused(assignment), SettingsError::Value { .. }), "{assignment}");
        }
        // Half a section is not a setting.
        assert!(matches!(refused("fast=1"), SettingsError::Unknown { .. }));
    }

    #[test]
    fn presets_are_in_range_and_every_range_names_a_setting() {
        Settings::small().check().unwrap();
        Settings::paper().check().unwrap();
        let names = Settings::names();
        for (name, ..) in RANGES {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        let mut settings = Settings::small();
        settings.fast.learning_rate = f32::NAN;
        assert!(settings.check().is_err());
    }
}
