//! LoCoMo's file as published: an array of conversations. What is not used (observations, summaries, events) is ignored.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::bench::read::Text;

#[derive(Debug, serde::Deserialize)]
pub(super) struct Row {
    pub(super) sample_id: String,
    pub(super) conversation: Conversation,
    pub(super) qa: Vec<Question>,
}

/// Sessions by number. Some files have dates of sessions that do not exist.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) sessions: BTreeMap<u32, Vec<Turn>>,
    pub(super) dates: BTreeMap<u32, String>,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Turn {
    pub(super) speaker: String,
    pub(super) dia_id: String,
    pub(super) text: String,
    #[serde(default)]
    pub(super) blip_caption: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Question {
    pub(super) question: String,
    #[serde(default)]
    pub(super) answer: Option<Text>,
    #[serde(default)]
    pub(super) adversarial_answer: Option<Text>,
    #[serde(default)]
    pub(super) evidence: Vec<String>,
    pub(super) category: u8,
}

impl<'de> Deserialize<'de> for Conversation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ConversationVisitor)
    }
}

struct ConversationVisitor;

impl<'de> Visitor<'de> for ConversationVisitor {
    type Value = Conversation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with fields `session_1`, `session_1_date_time`, …")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Conversation, A::Error> {
        let mut conversation = Conversation::default();
        while let Some(key) = map.next_key::<String>()? {
            let numbered = key.strip_prefix("session_");
            let date = numbered.and_then(|rest| rest.strip_suffix("_date_time")).and_then(|n| n.parse().ok());
            if let Some(number) = date {
                conversation.dates.insert(number, map.next_value()?);
            } else if let Some(number) = numbered.and_then(|n| n.parse().ok()) {
                conversation.sessions.insert(number, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(conversation)
    }
}
