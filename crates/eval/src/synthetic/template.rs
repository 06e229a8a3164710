//! Text with slots and alternatives.
//!
//! `{slot}` is filled in, `{v live}` is a verb that agrees with the subject, `[one|another|]` is one of several texts,
//! possibly empty, and may be nested. `data/README.md` describes what can fill a slot.

use serde::Deserialize;

use super::dice::Dice;
use super::error::SyntheticError;

/// Nesting of alternatives and of list entries that are templates themselves.
const MAX_DEPTH: usize = 8;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Slot(String),
    Choice(Vec<Vec<Part>>),
}

/// What fills slots.
pub(super) trait Fill {
    /// The text of a slot; `None` where it is unknown.
    fn fill(&self, slot: &str, dice: &mut Dice) -> Option<String>;
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong with its brackets.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let mut rest = source;
        let parts = sequence(&mut rest, 0)?;
        if rest.is_empty() {
            Ok(Self { source: source.to_owned(), parts })
        } else {
            Err(format!("`{source}` has a `]` or `|` outside of alternatives"))
        }
    }

    /// The template as written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The slots it has, in any alternative.
    pub(super) fn slots(&self) -> Vec<&str> {
        let mut slots = Vec::new();
        collect_slots(&self.parts, &mut slots);
        slots
    }

    /// Fills the slots and chooses among alternatives. The output is raw: [`super::text::finish`] mends it.
    ///
    /// # Errors
    /// [`SyntheticError::UnknownSlot`].
    pub(super) fn expand(&self, fill: &dyn Fill, dice: &mut Dice) -> Result<String, SyntheticError> {
        let mut out = String::new();
        self.write(&self.parts, fill, dice, &mut out)?;
        Ok(out)
    }

    fn write(&self, parts: &[Part], fill: &dyn Fill, dice: &mut Dice, out: &mut String) -> Result<(), SyntheticError> {
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Slot(slot) => match fill.fill(slot, dice) {
                    Some(text) => out.push_str(&text),
                    None => {
                        let (slot, template) = (slot.clone(), self.source.clone());
                        return Err(SyntheticError::UnknownSlot { slot, template });
                    }
                },
                Part::Choice(alternatives) => {
                    if let Some(parts) = dice.pick(alternatives) {
                        self.write(parts, fill, dice, out)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        Self::parse(&source)
    }
}

fn collect_slots<'a>(parts: &'a [Part], slots: &mut Vec<&'a str>) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Slot(slot) => slots.push(slot),
            Part::Choice(alternatives) => alternatives.iter().for_each(|parts| collect_slots(parts, slots)),
        }
    }
}

/// Parses up to the end or to an unmatched `|` or `]`, which stays in `rest`.
fn sequence(rest: &mut &str, depth: usize) -> Result<Vec<Part>, String> {
    if depth > MAX_DEPTH {
        return Err(format!("alternatives are nested deeper than {MAX_DEPTH}"));
    }
    let mut parts = Vec::new();
    while let Some(at) = rest.find(['{', '[', '|', ']', '}']) {
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        let found = &rest[at..];
        if let Some(inside) = found.strip_prefix('{') {
            let end = inside.find('}').ok_or_else(|| format!("`{found}` has no closing `}}`"))?;
            parts.push(Part::Slot(inside[..end].to_owned()));
            *rest = &inside[end + 1..];
        } else if let Some(inside) = found.strip_prefix('[') {
            *rest = inside;
            let mut alternatives = vec![sequence(rest, depth + 1)?];
            while let Some(more) = rest.strip_prefix('|') {
                *rest = more;
                alternatives.push(sequence(rest, depth + 1)?);
            }
            *rest = rest.strip_prefix(']').ok_or_else(|| format!("`{found}` has no closing `]`"))?;
            parts.push(Part::Choice(alternatives));
        } else {
            *rest = found;
            return Ok(parts);
        }
    }
    if !rest.is_empty() {
        parts.push(Part::Text((*rest).to_owned()));
    }
    *rest = "";
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Fill for Echo {
        fn fill(&self, slot: &str, _: &mut Dice) -> Option<String> {
            (slot != "unknown").then(|| format!("<{slot}>"))
        }
    }

    fn all(source: &str) -> std::collections::BTreeSet<String> {
        let template = Template::parse(source).unwrap();
        let mut dice = Dice::new(0, 0);
        (0..100).map(|_| template.expand(&Echo, &mut dice).unwrap()).collect()
    }

    #[test]
    fn slots_and_nested_alternatives_are_expanded() {
        assert_eq!(all("my {v live} is").into_iter().collect::<Vec<_>>(), ["my <v live> is"]);
        assert_eq!(all("[a|b [c|d]|]!").into_iter().collect::<Vec<_>>(), ["!", "a!", "b c!", "b d!"]);
        assert_eq!(Template::parse("{a} [x {b}|y]").unwrap().slots(), ["a", "b"]);
    }

    #[test]
    fn broken_brackets_and_unknown_slots_are_errors() {
        for broken in ["{a", "[a|b", "a]", "a|b", "a}", &"[".repeat(50)] {
            assert!(Template::parse(broken).is_err(), "{broken}");
        }
        let error = Template::parse("x {unknown}").unwrap().expand(&Echo, &mut Dice::new(0, 0)).unwrap_err();
        assert!(error.to_string().contains("{unknown}"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_fails_without_panic(source in "[a-c{}|\\[\\] é]{0,30}") {
            if let Ok(template) = Template::parse(&source) {
                template.expand(&Echo, &mut Dice::new(1, 0)).unwrap();
            }
        }
    }
}
