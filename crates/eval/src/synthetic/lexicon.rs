//! The word lists and templates of `data/`, parsed and checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::SyntheticError;
use super::grammar::Subject;
use super::template::Template;

/// Everything the generator can say. Parsing takes a few milliseconds: make one and keep it.
#[derive(Debug)]
pub struct Lexicon {
    pub(super) lists: BTreeMap<String, Vec<Entry>>,
    pub(super) kinds: Vec<Kind>,
    pub(super) roles: Vec<Role>,
    pub(super) themes: BTreeMap<String, Theme>,
    pub(super) frames: Frames,
    pub(super) happenings: Happenings,
    pub(super) tables: Vec<Table>,
    /// Explanations, tasks and small talk, in this order.
    pub(super) exchanges: [Vec<ExchangeTemplate>; 3],
}

/// An entry of a word list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// What is said.
    pub(super) text: String,
    /// What a right answer may contain instead of the whole text.
    pub(super) keys: Vec<String>,
}

/// Of whom a kind of fact can be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum About {
    /// The user alone.
    #[default]
    User,
    /// The user and people around them.
    Anyone,
    /// People around the user alone.
    Others,
}

/// Who tells a fact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Teller {
    /// The user, about their life.
    #[default]
    User,
    /// The assistant, as advice that the user takes.
    Assistant,
}

/// Which part of a value is its key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyPart {
    /// The whole value.
    #[default]
    Whole,
    /// Its first word.
    FirstWord,
    /// Its last word.
    LastWord,
}

/// A kind of fact; `data/README.md` describes the fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kind {
    pub(super) id: String,
    pub(super) theme: String,
    #[serde(default)]
    pub(super) about: About,
    #[serde(default)]
    pub(super) teller: Teller,
    pub(super) value: Template,
    #[serde(default)]
    pub(super) key: KeyPart,
    pub(super) clauses: Vec<Template>,
    pub(super) asides: Vec<Template>,
    #[serde(default)]
    pub(super) requests: Vec<Template>,
    #[serde(default)]
    pub(super) accepts: Vec<Template>,
    pub(super) questions: Vec<Template>,
    pub(super) indirect: Vec<Template>,
    pub(super) held_out: Vec<Template>,
    pub(super) answer: Template,
    pub(super) unknown: Template,
    pub(super) statement: Option<Template>,
    #[serde(default)]
    pub(super) updates: Vec<Template>,
    pub(super) preference: Option<Preference>,
}

/// A question that a known taste should steer, and what a good reply does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preference {
    pub(super) question: Template,
    pub(super) rubric: Template,
}

/// Somebody around the user.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    pub(super) noun: String,
    pub(super) gender: Gender,
}

impl Role {
    /// Somebody of this role.
    pub(super) fn subject(&self) -> Subject {
        Subject::Other { noun: self.noun.clone(), female: self.gender == Gender::F }
    }
}

/// Grammatical gender of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Gender {
    F,
    M,
    Any,
}

/// What is said around facts of one theme.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Theme {
    pub(super) id: String,
    pub(super) lead: Vec<Template>,
    pub(super) tail: Vec<Template>,
    pub(super) reply: Vec<Template>,
}

/// Sentences around facts and questions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Frames {
    pub(super) statement: Vec<Template>,
    pub(super) update: Vec<Template>,
    pub(super) event: Vec<Template>,
    pub(super) bridge: Vec<Template>,
    pub(super) afterthought: Vec<Template>,
    pub(super) noted: Vec<Template>,
    pub(super) greeting: Vec<Template>,
    pub(super) goodbye_user: Vec<Template>,
    pub(super) goodbye_assistant: Vec<Template>,
    pub(super) direct: Vec<Template>,
    pub(super) indirect: Vec<Template>,
    pub(super) indirect_noun: Vec<Template>,
    pub(super) unanswerable: Vec<Template>,
}

/// Dated events and purchases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Happenings {
    #[serde(rename = "event")]
    pub(super) events: Vec<Event>,
    pub(super) event_wording: EventWording,
    #[serde(rename = "purchase")]
    pub(super) purchases: Vec<Purchase>,
    pub(super) purchase_wording: PurchaseWording,
}

/// Something the user did on a day.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    pub(super) id: String,
    /// After "I", in the past tense.
    pub(super) did: String,
    /// After "did I".
    #[serde(rename = "do")]
    pub(super) infinitive: String,
}

/// How events are told and asked for. Slots: `did`, `do`; `date` in the answer; `first`, `second` for two events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventWording {
    pub(super) tell: Vec<Template>,
    pub(super) when_questions: Vec<Template>,
    pub(super) when_indirect: Vec<Template>,
    pub(super) when_held_out: Vec<Template>,
    pub(super) when_answer: Template,
    pub(super) span_questions: Vec<Template>,
    pub(super) span_held_out: Vec<Template>,
    pub(super) ago_questions: Vec<Template>,
    pub(super) ago_held_out: Vec<Template>,
}

/// Something the user bought.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Purchase {
    pub(super) id: String,
    /// With its indefinite article.
    pub(super) item: String,
    /// With its definite article.
    pub(super) the: String,
    /// Lowest and highest price, in whole euros.
    pub(super) price: [usize; 2],
}

/// How purchases are told and asked for. Slots: `item`, `the`, `value`; `other` for the second of two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurchaseWording {
    pub(super) tell: Vec<Template>,
    pub(super) questions: Vec<Template>,
    pub(super) indirect: Vec<Template>,
    pub(super) held_out: Vec<Template>,
    pub(super) answer: Template,
    pub(super) sum_questions: Vec<Template>,
    pub(super) sum_held_out: Vec<Template>,
}

/// Questions of one form about the world.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) questions: Vec<Template>,
    pub(super) answers: Vec<Template>,
    /// Subject and answer; the entry's keys are those of the answer.
    pub(super) rows: Vec<(String, Entry)>,
}

/// A request and its reply, each in several wordings that fit each other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExchangeTemplate {
    pub(super) user: Vec<Template>,
    pub(super) assistant: Vec<Template>,
}

/// A data file's text with its name for errors.
macro_rules! data {
    ($file:literal) => {
        ($file, include_str!(concat!("data/", $file)))
    };
}

impl Lexicon {
    /// The lexicon that is part of the program.
    ///
    /// # Errors
    /// [`SyntheticError::Data`] where a data file is broken.
    pub fn built_in() -> Result<Self, SyntheticError> {
        let mut lists = BTreeMap::new();
        for source in [data!("names.toml"), data!("titles.toml"), data!("lists.toml")] {
            for (name, text) in read::<ListFile>(source)?.lists {
                if lists.insert(name.clone(), entries(&text)).is_some() {
                    return Err(SyntheticError::Data {
                        file: source.0,
                        reason: format!("list `{name}` is there twice"),
                    });
                }
            }
        }
        let mut kinds = Vec::new();
        for source in [
            data!("kinds/home.toml"),
            data!("kinds/animals.toml"),
            data!("kinds/work.toml"),
            data!("kinds/people.toml"),
            data!("kinds/health.toml"),
            data!("kinds/things.toml"),
            data!("kinds/tastes.toml"),
            data!("kinds/plans.toml"),
            data!("kinds/advice.toml"),
        ] {
            kinds.extend(read::<KindFile>(source)?.kind);
        }
        let themes = read::<ThemeFile>(data!("themes.toml"))?.theme;
        let tables = read::<TableFile>(data!("filler/knowledge.toml"))?.table;
        Ok(Self {
            lists,
            kinds,
            roles: read::<RoleFile>(data!("people_around.toml"))?.role,
            themes: themes.into_iter().map(|theme| (theme.id.clone(), theme)).collect(),
            frames: read(data!("frames.toml"))?,
            happenings: read(data!("events.toml"))?,
            tables: tables.into_iter().map(TableSource::rows).collect(),
            exchanges: [
                read::<ExchangeFile>(data!("filler/explanations.toml"))?.exchange,
                read::<ExchangeFile>(data!("filler/tasks.toml"))?.exchange,
                read::<ExchangeFile>(data!("filler/smalltalk.toml"))?.exchange,
            ],
        })
    }
}

/// Parses a data file.
pub(super) fn read<T: DeserializeOwned>((file, text): (&'static str, &str)) -> Result<T, SyntheticError> {
    toml::from_str(text).map_err(|e| SyntheticError::Data { file, reason: e.to_string() })
}

/// `a | b = beta` as entries: bars between entries, further keys after equals signs.
pub(super) fn entries(text: &str) -> Vec<Entry> {
    let entry = |item: &str| {
        let mut parts = item.split('=').map(|part| part.trim().to_owned());
        let text = parts.next().filter(|text| !text.is_empty())?;
        let further: Vec<String> = parts.collect();
        let keys = std::iter::once(text.clone()).chain(further).collect();
        Some(Entry { text, keys })
    };
    text.split('|').filter_map(|item| entry(item.trim())).collect()
}

#[derive(Deserialize)]
struct ListFile {
    lists: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct KindFile {
    kind: Vec<Kind>,
}

#[derive(Deserialize)]
struct RoleFile {
    role: Vec<Role>,
}

#[derive(Deserialize)]
struct ThemeFile {
    theme: Vec<Theme>,
}

#[derive(Deserialize)]
struct ExchangeFile {
    exchange: Vec<ExchangeTemplate>,
}

#[derive(Deserialize)]
struct TableFile {
    table: Vec<TableSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableSource {
    #[serde(rename = "id")]
    _id: String,
    questions: Vec<Template>,
    answers: Vec<Template>,
    rows: String,
}

impl TableSource {
    fn rows(self) -> Table {
        let row = |entry: Entry| {
            let mut keys = entry.keys.into_iter().skip(1);
            let text = keys.next()?;
            let keys = std::iter::once(text.clone()).chain(keys).collect();
            Some((entry.text, Entry { text, keys }))
        };
        let rows = entries(&self.rows).into_iter().filter_map(row).collect();
        Table { questions: self.questions, answers: self.answers, rows }
    }
}
