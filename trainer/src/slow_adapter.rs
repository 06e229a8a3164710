//! Which slow adapter goes into the model.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Result;
use tmem_core::fast::peft::PeftFiles;
use tmem_core::model::identity;
use tmem_fetch::{DEFAULT_MODEL, adapter_for};

use crate::commands::peft;

/// What `--slow-adapter` can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SlowChoice {
    /// The model as its file has it.
    None,
    /// The folder of a PEFT adapter.
    Folder(PathBuf),
}

impl FromStr for SlowChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "none" { Self::None } else { Self::Folder(text.into()) })
    }
}

impl SlowChoice {
    /// The files of the adapter; `None` for the model as its file has it.
    pub(crate) fn files(&self) -> Result<Option<PeftFiles>> {
        match self {
            Self::None => Ok(None),
            Self::Folder(folder) => peft::files(folder).map(Some),
        }
    }
}

/// What is taken where the command line says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unless<'a> {
    /// No adapter: what is measured and trained is what was named.
    None,
    /// The one that ships for the model, where one does.
    Shipped,
    /// The same, where that makes the model of this [identity](tmem_core::model::Model::identity).
    Identity(&'a str),
}

/// The files of the adapter that goes into the model at `model_file`.
pub(crate) fn files(choice: Option<&SlowChoice>, unless: Unless<'_>, model_file: &Path) -> Result<Option<PeftFiles>> {
    if let Some(choice) = choice {
        return choice.files();
    }
    if unless == Unless::None {
        return Ok(None);
    }
    let shipped = adapter_for(model_file)?.map(|folder| peft::files(&folder)).transpose()?;
    Ok(shipped.filter(|shipped| unless.takes(shipped)))
}

impl Unless<'_> {
    /// Whether an adapter that ships for the default model is taken.
    fn takes(self, shipped: &PeftFiles) -> bool {
        match self {
            Self::None => false,
            Self::Shipped => true,
            Self::Identity(wanted) => {
                identity(&DEFAULT_MODEL.fingerprint.sha256_hex(), Some(&shipped.sha256())) == wanted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_means_none_and_everything_else_is_a_folder() {
        let choice = |text: &str| text.parse::<SlowChoice>();
        assert_eq!(choice("none"), Ok(SlowChoice::None));
        assert_eq!(choice("runs/sft/adapter"), Ok(SlowChoice::Folder("runs/sft/adapter".into())));
        assert_eq!(SlowChoice::None.files().unwrap(), None);
        let missing = SlowChoice::Folder("no/such/folder".into()).files().unwrap_err();
        assert!(format!("{missing:#}").contains("no/such/folder"), "{missing:#}");
    }

    #[test]
    fn a_link_or_a_saved_chat_brings_its_own_base() {
        let shipped = PeftFiles { config: "{}".into(), weights: vec![1, 2, 3] };
        let plain = DEFAULT_MODEL.fingerprint.sha256_hex();
        let trained = identity(&plain, Some(&shipped.sha256()));
        assert!(Unless::Shipped.takes(&shipped) && !Unless::None.takes(&shipped));
        assert!(Unless::Identity(&trained).takes(&shipped));
        assert!(!Unless::Identity(&plain).takes(&shipped), "made with the model as published");
        assert!(!Unless::Identity("of another model").takes(&shipped), "refused later, by its name");
    }

    #[test]
    fn other_models_have_no_adapter() {
        let other = tempfile::NamedTempFile::new().unwrap();
        for unless in [Unless::None, Unless::Shipped, Unless::Identity("any")] {
            assert_eq!(files(None, unless, other.path()).unwrap(), None);
        }
    }
}
