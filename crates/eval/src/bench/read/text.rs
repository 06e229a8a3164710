//! Fields whose type varies from row to row.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A text that some rows hold as a number; written as Python's `str()` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match OneOrMany::deserialize_any(deserializer, "a string or a number", false)?.0.pop() {
            Some(text) => Ok(Self(text)),
            None => Err(de::Error::custom("an empty list where a string or a number should stand")),
        }
    }
}

/// One text, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OneOrMany(pub(crate) Vec<String>);

impl OneOrMany {
    fn deserialize_any<'de, D: Deserializer<'de>>(
        deserializer: D,
        expected: &'static str,
        lists: bool,
    ) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor { expected, lists })
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_any(deserializer, "a string, a number or a list of these", true)
    }
}

struct TextVisitor {
    expected: &'static str,
    lists: bool,
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany(vec![text.to_owned()]))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<OneOrMany, E> {
        Ok(OneOrMany(vec![number.to_string()]))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<OneOrMany, E> {
        Ok(OneOrMany(vec![number.to_string()]))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<OneOrMany, E> {
        Ok(OneOrMany(vec![format!("{number:?}")]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
        if !self.lists {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        let mut texts = Vec::new();
        while let Some(Text(text)) = list.next_element()? {
            texts.push(text);
        }
        Ok(OneOrMany(texts))
    }
}
