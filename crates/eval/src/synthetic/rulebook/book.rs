//! The text of a rule book: its rules in order, the ones that matter among ones that do not.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::dice::Dice;
use super::super::error::SyntheticError;
use super::super::lexicon::{Entry, entries, read};
use super::super::template::{Fill, Template};
use super::super::text::finish;
use super::RuleCard;

const GAME: (&str, &str) = ("rulebook/game.toml", include_str!("../data/rulebook/game.toml"));
const PROCEDURE: (&str, &str) = ("rulebook/procedure.toml", include_str!("../data/rulebook/procedure.toml"));

/// The templates of all rule books.
#[derive(Debug)]
pub struct RuleBooks {
    pub(super) game: BookTemplate,
    pub(super) procedure: BookTemplate,
}

impl RuleBooks {
    /// The templates that are part of the program.
    ///
    /// # Errors
    /// [`SyntheticError::Data`] where a data file is broken.
    pub fn built_in() -> Result<Self, SyntheticError> {
        Ok(Self { game: read(GAME)?, procedure: read(PROCEDURE)? })
    }
}

/// A data file of `data/rulebook`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BookTemplate {
    category: String,
    sub_category: String,
    system: Vec<Template>,
    intro: Vec<Template>,
    /// Rules that answers depend on, each in several wordings.
    rules: Vec<Vec<Template>>,
    /// Rules that no answer depends on.
    flavour: Vec<Template>,
    lists: BTreeMap<String, String>,
}

impl BookTemplate {
    /// `count` different entries of a list, in random order; fewer where it is shorter.
    pub(super) fn pick(&self, list: &str, count: usize, dice: &mut Dice) -> Vec<Entry> {
        let mut items = self.lists.get(list).map(|text| entries(text)).unwrap_or_default();
        dice.shuffle(&mut items);
        items.truncate(count);
        items
    }
}

/// The figures and names of one rule book.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, String>);

impl Figures {
    pub(super) fn set(&mut self, slot: &str, value: impl ToString) {
        self.0.insert(slot.to_owned(), value.to_string());
    }
}

impl Fill for Figures {
    fn fill(&self, slot: &str, dice: &mut Dice) -> Option<String> {
        match slot {
            "n" => Some(dice.between(3, 9).to_string()),
            "n2" => Some(dice.between(31, 77).to_string()),
            slot => self.0.get(slot).cloned(),
        }
    }
}

/// A rule book.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) category: String,
    pub(super) sub_category: String,
    pub(super) system: String,
    pub(super) cards: Vec<RuleCard>,
    intro: String,
    rules: Vec<String>,
    /// The number of each rule that matters, in the order of the template.
    numbers: Vec<usize>,
}

impl Book {
    /// Writes a book; `questions` ask for the rules of the template, in its order.
    pub(super) fn write(
        template: &BookTemplate,
        figures: &Figures,
        questions: &[&str],
        dice: &mut Dice,
    ) -> Result<Self, SyntheticError> {
        let one = |templates: &[Template], dice: &mut Dice| match dice.pick(templates) {
            Some(template) => template.expand(figures, dice).map(|raw| finish(&raw)),
            None => Ok(String::new()),
        };
        // The rules that matter keep their order; the others stand anywhere between them.
        let mut slots: Vec<Option<usize>> = vec![None; template.flavour.len() + template.rules.len()];
        let mut places: Vec<usize> = (0..slots.len()).collect();
        dice.shuffle(&mut places);
        places.truncate(template.rules.len());
        places.sort_unstable();
        for (rule, place) in places.iter().enumerate() {
            slots[*place] = Some(rule);
        }
        let mut flavour = template.flavour.iter().collect::<Vec<_>>();
        dice.shuffle(&mut flavour);
        let (mut rules, mut numbers) = (Vec::new(), vec![0; template.rules.len()]);
        for slot in slots {
            let rule = match slot {
                Some(rule) => {
                    numbers[rule] = rules.len() + 1;
                    one(&template.rules[rule], dice)?
                }
                None => flavour
                    .pop()
                    .map(|rule| rule.expand(figures, dice))
                    .transpose()?
                    .map(|raw| finish(&raw))
                    .unwrap_or_default(),
            };
            rules.push(rule);
        }
        let card = |(question, &rule): (&&str, &usize)| RuleCard {
            question: (*question).to_owned(),
            answer: rules.get(rule - 1).cloned().unwrap_or_default(),
            rule,
        };
        Ok(Self {
            category: template.category.clone(),
            sub_category: template.sub_category.clone(),
            system: one(&template.system, dice)?,
            intro: one(&template.intro, dice)?,
            cards: questions.iter().zip(&numbers).map(card).collect(),
            rules,
            numbers,
        })
    }

    /// The number of a rule of the template.
    pub(super) fn number(&self, rule: usize) -> usize {
        self.numbers.get(rule).copied().unwrap_or_default()
    }

    /// The whole book.
    pub(super) fn text(&self) -> String {
        let rules: Vec<String> = self.rules.iter().enumerate().map(|(i, rule)| format!("{}. {rule}", i + 1)).collect();
        format!("{}\n\n{}", self.intro, rules.join("\n"))
    }
}
