//! Questions that show what a write damaged.

use serde::{Deserialize, Serialize};

use super::{DataFile, check_keys, not_blank};

/// A file such as `controls.json`. Further fields are allowed and ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Controls {
    /// What the base model may know: kept, it is answered as before.
    #[serde(default)]
    pub general_knowledge: Vec<KeyedQuestion>,
    /// Prompts that have nothing to do with any card: the distance to the frozen twin is measured on them.
    #[serde(default)]
    pub neutral_prompts: Vec<String>,
    /// Questions nobody ever answered: a learned fact in the answer is a leak.
    #[serde(default)]
    pub unknown_questions: Vec<String>,
}

/// A question with the keys of its right answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyedQuestion {
    /// The question.
    pub question: String,
    /// An answer that contains one of these is right.
    pub keys: Vec<String>,
}

impl DataFile for Controls {
    fn check(&self) -> Result<(), (String, String)> {
        for (i, item) in self.general_knowledge.iter().enumerate() {
            not_blank(format!("general_knowledge[{i}].question"), &item.question)?;
            check_keys(&format!("general_knowledge[{i}].keys"), &item.keys)?;
        }
        for (list, texts) in
            [("neutral_prompts", &self.neutral_prompts), ("unknown_questions", &self.unknown_questions)]
        {
            for (i, text) in texts.iter().enumerate() {
                not_blank(format!("{list}[{i}]"), text)?;
            }
        }
        Ok(())
    }
}
