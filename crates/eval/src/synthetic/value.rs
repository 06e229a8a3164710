//! Values of facts: names, codes, dates, sums.

use super::calendar;
use super::dice::Dice;
use super::error::SyntheticError;
use super::keys::tokens;
use super::lexicon::{KeyPart, Kind, Lexicon};
use super::template::{Fill, Template};

/// What a fact is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// Ways to say it; the first is the one answers use.
    pub(super) forms: Vec<String>,
    /// A right answer contains one of these.
    pub(super) keys: Vec<String>,
}

impl Value {
    /// A value said in one way, whose key it is.
    pub(super) fn plain(text: String) -> Self {
        Self { forms: vec![text.clone()], keys: vec![text] }
    }

    /// As answers say it.
    pub(super) fn text(&self) -> &str {
        self.forms.first().map_or("", String::as_str)
    }

    /// Draws a value of a kind. `first_name` is the list for `{first_own}`.
    pub(super) fn draw(
        lexicon: &Lexicon,
        kind: &Kind,
        first_name: &str,
        dice: &mut Dice,
    ) -> Result<Self, SyntheticError> {
        // Dates, times and sums are said in several ways; other values in one.
        match *kind.value.source().trim_matches(['{', '}']).split(' ').collect::<Vec<_>>() {
            ["@date"] => {
                let (day, month) = (dice.between(1, 28), dice.between(1, 12));
                let forms = calendar::day_forms(day as i8, month as i8);
                return Ok(Self { keys: forms.iter().map(|form| without_article(form)).collect(), forms });
            }
            ["@time"] => {
                let forms = calendar::time_forms(dice.between(7, 20), 5 * dice.below(12));
                return Ok(Self {
                    keys: forms.iter().map(|form| form.replace([' ', 'a', 'p', 'm'], "")).collect(),
                    forms,
                });
            }
            ["@money", low, high, step] => {
                let [low, high, step] = [low, high, step].map(|n| n.parse().unwrap_or(1));
                return Ok(Self::money(low + step * dice.below((high - low) / step.max(1) + 1)));
            }
            _ => {}
        }
        let text = kind.value.expand(&Lists { lexicon, first_name }, dice)?;
        let keys = match kind.key {
            KeyPart::Whole => aliases(lexicon, &kind.value, &text),
            KeyPart::FirstWord => text.split(' ').take(1).map(str::to_owned).collect(),
            KeyPart::LastWord => text.split(' ').next_back().map(str::to_owned).into_iter().collect(),
        };
        Ok(Self { forms: vec![text], keys })
    }

    /// A sum in euros.
    pub(super) fn money(euros: usize) -> Self {
        let plain = euros.to_string();
        let grouped = match euros {
            0..1000 => plain.clone(),
            _ => format!("{},{:03}", euros / 1000, euros % 1000),
        };
        let mut keys = vec![grouped.clone(), plain.clone()];
        keys.dedup();
        Self { forms: vec![format!("{grouped} euros"), format!("€{grouped}"), format!("{plain} euros")], keys }
    }

    /// Whether one of the keys stands in a text of the other, or the other way round.
    pub(super) fn collides(&self, other: &Self) -> bool {
        self.occurs_in(other) || other.occurs_in(self)
    }

    fn occurs_in(&self, other: &Self) -> bool {
        let texts: Vec<Vec<String>> = other.forms.iter().chain(&other.keys).map(|text| tokens(text)).collect();
        self.keys
            .iter()
            .map(|key| tokens(key))
            .any(|key| texts.iter().any(|text| text.windows(key.len().max(1)).any(|window| window == key.as_slice())))
    }
}

/// The keys of the list entry where the value is one entry; the text itself otherwise.
fn aliases(lexicon: &Lexicon, template: &Template, text: &str) -> Vec<String> {
    let slots = template.slots();
    let list = slots.first().filter(|slot| template.source() == format!("{{{slot}}}"));
    let entry = list.and_then(|list| lexicon.lists.get(*list)?.iter().find(|entry| entry.text == text));
    match entry {
        Some(entry) => entry.keys.iter().map(|key| without_article(key)).collect(),
        None => vec![without_article(text)],
    }
}

fn without_article(text: &str) -> String {
    let stripped = ["the ", "a ", "an "].iter().find_map(|article| text.strip_prefix(article));
    stripped.unwrap_or(text).to_owned()
}

/// Fills slots of values from the word lists and with digits and letters.
struct Lists<'a> {
    lexicon: &'a Lexicon,
    first_name: &'a str,
}

impl Fill for Lists<'_> {
    fn fill(&self, slot: &str, dice: &mut Dice) -> Option<String> {
        let words: Vec<&str> = slot.split(' ').collect();
        let number = |text: &str| text.parse::<usize>().ok();
        match *words {
            ["@digits", n] => {
                // No leading zero: nobody would say it.
                let digit = |at: usize, dice: &mut Dice| char::from(b'0' + dice.between(usize::from(at == 0), 9) as u8);
                Some((0..number(n)?).map(|at| digit(at, dice)).collect())
            }
            ["@letters", n] => {
                // Without letters that look like digits, and without vowels that would make words.
                const LETTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
                Some((0..number(n)?).filter_map(|_| dice.pick(LETTERS).map(|&c| char::from(c))).collect())
            }
            ["@number", low, high] => Some(dice.between(number(low)?, number(high)?).to_string()),
            [list] => {
                let list = match list {
                    "first_own" => self.first_name,
                    "first_any" if dice.chance(50) => "first_f",
                    "first_any" => "first_m",
                    list => list,
                };
                dice.pick(self.lexicon.lists.get(list)?).map(|entry| entry.text.clone())
            }
            _ => None,
        }
    }
}
