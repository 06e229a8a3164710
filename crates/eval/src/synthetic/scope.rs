//! What fills the slots of sentences: given values, then grammar, then word lists.

use super::dice::Dice;
use super::error::SyntheticError;
use super::grammar::{self, Subject, Voice};
use super::lexicon::Lexicon;
use super::template::{Fill, Template};
use super::text::finish;

/// The slots of one sentence.
#[derive(Debug, Clone)]
pub(super) struct Scope<'a> {
    lexicon: &'a Lexicon,
    subject: &'a Subject,
    voice: Voice,
    slots: Vec<(&'static str, String)>,
}

impl<'a> Scope<'a> {
    /// Sentences of `voice` about `subject`.
    pub(super) fn new(lexicon: &'a Lexicon, subject: &'a Subject, voice: Voice) -> Self {
        Self { lexicon, subject, voice, slots: Vec::new() }
    }

    /// The same with a slot filled.
    pub(super) fn with(&self, slot: &'static str, text: &str) -> Self {
        let mut scope = self.clone();
        scope.slots.retain(|(name, _)| *name != slot);
        scope.slots.push((slot, text.to_owned()));
        scope
    }

    /// Expands one of the templates, unfinished: to be put into another.
    pub(super) fn part(&self, templates: &[Template], dice: &mut Dice) -> Result<String, SyntheticError> {
        dice.pick(templates).map_or_else(|| Ok(String::new()), |template| template.expand(self, dice))
    }

    /// Expands one of the templates into a finished sentence.
    pub(super) fn say(&self, templates: &[Template], dice: &mut Dice) -> Result<String, SyntheticError> {
        Ok(finish(&self.part(templates, dice)?))
    }

    /// Expands a template into a finished sentence that ends with `end`.
    pub(super) fn sentence(&self, template: &Template, end: &str, dice: &mut Dice) -> Result<String, SyntheticError> {
        Ok(finish(&format!("{}{end}", template.expand(self, dice)?)))
    }
}

impl Fill for Scope<'_> {
    fn fill(&self, slot: &str, dice: &mut Dice) -> Option<String> {
        let given = self.slots.iter().find(|(name, _)| *name == slot).map(|(_, text)| text.clone());
        given
            .or_else(|| grammar::word(slot, self.subject, self.voice))
            .or_else(|| dice.pick(self.lexicon.lists.get(slot)?).map(|entry| entry.text.clone()))
    }
}
