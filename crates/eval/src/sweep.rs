//! Ablations by name: which settings a sweep varies. Each variant is a run of its own on the same samples and seeds;
//! [`report`](crate::report) then compares them.

use std::str::FromStr;

use tmem_core::settings::{Settings, SettingsError};

/// What can be varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ablation {
    /// The form of what is written: the turns themselves, a summary, or questions and answers (as the paper's JSON
    /// array, or answer spans first). Without the gate, which opens for questions near those of the cards: plain text
    /// has none.
    Format,
    /// Where A comes from (arXiv 2606.04536).
    Init,
    /// L_max.
    Budget,
    /// How many layers are adapted.
    Layers,
    /// The rank r.
    Rank,
    /// Cross entropy on every answer token, or on those that are not yet likely (MemFT).
    Loss,
    /// Weight of the anchor to the frozen model.
    Kl,
    /// Earlier cards mixed into a write.
    Replay,
    /// Wordings of each card's question.
    Wordings,
    /// Whether Δ is scaled by a prompt's nearness to a learned question.
    Gate,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Names it within the sweep; fit for a folder.
    pub label: String,
    /// Assignments for [`Settings::set`], in order.
    pub assignments: Vec<String>,
}

impl Variant {
    /// The settings with this variant's assignments.
    ///
    /// # Errors
    /// [`SettingsError`] where a value does not fit the others.
    pub fn apply(&self, base: &Settings) -> Result<Settings, SettingsError> {
        let mut settings = base.clone();
        self.assignments.iter().try_for_each(|assignment| settings.set(assignment))?;
        Ok(settings)
    }
}

/// There is no such ablation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no ablation `{name}`: choose one of {known}")]
pub struct UnknownAblation {
    /// What was asked for.
    pub name: String,
    /// The names there are.
    pub known: String,
}

impl Ablation {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Format,
        Self::Init,
        Self::Budget,
        Self::Layers,
        Self::Rank,
        Self::Loss,
        Self::Kl,
        Self::Replay,
        Self::Wordings,
        Self::Gate,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Init => "init",
            Self::Budget => "budget",
            Self::Layers => "layers",
            Self::Rank => "rank",
            Self::Loss => "loss",
            Self::Kl => "kl",
            Self::Replay => "replay",
            Self::Wordings => "wordings",
            Self::Gate => "gate",
        }
    }

    /// The variants, the paper's own form first where it has one. Values are fixed but for L_max, which is halved and
    /// doubled around the one in `base`, since what is much depends on the model.
    pub fn variants(self, base: &Settings) -> Vec<Variant> {
        match self {
            Self::Format => format(),
            Self::Init => one_setting("fast.init", &["svd", "plain_v", "random"]),
            Self::Budget => {
                let budget = base.rollout.budget;
                let around = [budget / 4, budget / 2, budget, budget.saturating_mul(2), budget.saturating_mul(4)];
                let names: Vec<String> = around.iter().filter(|tokens| **tokens > 0).map(usize::to_string).collect();
                one_setting("rollout.budget", &names)
            }
            Self::Layers => one_setting("fast.layers", &["1", "2", "4", "8", "16"]),
            Self::Rank => one_setting("fast.rank", &["1", "2", "4", "6", "12", "24"]),
            Self::Loss => named("fast.loss_threshold", &[("cross_entropy", "1"), ("threshold", "0.5")]),
            Self::Kl => kl(base),
            Self::Replay => one_setting("fast.replay", &["0", "0.5", "1", "2"]),
            Self::Wordings => one_setting("rollout.wordings", &["0", "1", "2", "3", "4"]),
            Self::Gate => one_setting("fast.gate", &["off", "on"]),
        }
    }
}

fn format() -> Vec<Variant> {
    let mut variants = one_setting("rollout.writer", &["json", "answer_first", "summary", "raw_text"]);
    variants.iter_mut().for_each(|variant| variant.assignments.push("fast.gate=off".to_owned()));
    variants
}

/// A weight needs prompts to be an anchor on; presets without an anchor have none.
fn kl(base: &Settings) -> Vec<Variant> {
    let prompts = match base.fast.kl_prompts {
        0 => Settings::small().fast.kl_prompts,
        prompts => prompts,
    };
    let variant = |weight: &&str| Variant {
        label: format!("kl_weight={weight}"),
        assignments: vec![format!("fast.kl_weight={weight}"), format!("fast.kl_prompts={prompts}")],
    };
    ["0", "0.3", "1", "3"].iter().map(variant).collect()
}

/// A variant for each value of a setting, labelled `last part of its name=value`.
fn one_setting<S: AsRef<str>>(name: &str, values: &[S]) -> Vec<Variant> {
    let short = name.rsplit('.').next().unwrap_or(name);
    let variant = |value: &S| Variant {
        label: format!("{short}={}", value.as_ref()),
        assignments: vec![format!("{name}={}", value.as_ref())],
    };
    values.iter().map(variant).collect()
}

/// A variant for each value of a setting, labelled in words.
fn named(name: &str, values: &[(&str, &str)]) -> Vec<Variant> {
    let variant = |(label, value): &(&str, &str)| Variant {
        label: (*label).to_owned(),
        assignments: vec![format!("{name}={value}")],
    };
    values.iter().map(variant).collect()
}

impl std::fmt::Display for Ablation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Ablation {
    type Err = UnknownAblation;

    fn from_str(name: &str) -> Result<Self, UnknownAblation> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let unknown = || UnknownAblation { name: name.to_owned(), known: known() };
        Self::ALL.into_iter().find(|ablation| ablation.name() == name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_fits_both_presets_and_is_another_run() {
        for base in [Settings::small(), Settings::paper()] {
            for ablation in Ablation::ALL {
                let variants = ablation.variants(&base);
                let settings: Vec<Settings> = variants.iter().map(|variant| variant.apply(&base).unwrap()).collect();
                assert!(variants.len() >= 2, "{ablation}");
                for (index, variant) in variants.iter().enumerate() {
                    assert!(!settings[..index].contains(&settings[index]), "{ablation}: {variant:?}");
                    assert!(variant.label.chars().all(|c| c.is_ascii_alphanumeric() || "_=.".contains(c)));
                }
            }
        }
    }

    #[test]
    fn ablations_have_names() {
        for ablation in Ablation::ALL {
            assert_eq!(ablation.name().parse(), Ok(ablation));
        }
        let error = "gates".parse::<Ablation>().unwrap_err().to_string();
        assert!(error.starts_with("there is no ablation `gates`: choose one of format, init, budget, "), "{error}");
    }

    #[test]
    fn budgets_lie_around_the_base() {
        let labels: Vec<String> = Ablation::Budget.variants(&Settings::small()).into_iter().map(|v| v.label).collect();
        assert_eq!(labels, ["budget=128", "budget=256", "budget=512", "budget=1024", "budget=2048"]);
    }

    #[test]
    fn the_anchor_has_prompts_under_the_paper_too() {
        let paper = Settings::paper();
        let anchored = Ablation::Kl.variants(&paper)[2].apply(&paper).unwrap();
        assert!(anchored.fast.kl_weight > 0.0 && anchored.fast.kl_prompts > 0);
    }
}
