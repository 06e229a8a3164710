//! A history as the turns an agent is fed.

use serde::{Deserialize, Serialize};

use super::sample::Sample;

/// The assistant's side where the history has none of its own. Fixed and without content, so that nothing is put
/// into the agent's mouth that it would have to remember.
pub const ACKNOWLEDGEMENT: &str = "Noted.";

/// The user's side where the history has none of its own: what the assistant said first, or at great length.
pub const CONTINUE: &str = "Go on.";

/// Where a session's date stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dates {
    /// Before the first exchange of each session, as LoCoMo and LongMemEval show it.
    #[default]
    First,
    /// Before every exchange: a context that is cleared within a session does not lose the date.
    Every,
    /// Nowhere.
    Never,
}

/// How a history is fed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedOptions {
    /// Where a session's date stands.
    pub dates: Dates,
    /// Longer texts are fed in parts of at most this many bytes (cut at paragraphs, sentences or words), for models of
    /// short context; `None` feeds every exchange whole. About four bytes make a token of English.
    pub max_bytes: Option<usize>,
}

/// One turn for [`Agent::feed`](tmem_core::rollout::Agent::feed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FedTurn {
    /// Index into [`Sample::sessions`].
    pub session: usize,
    /// Index into the session's exchanges.
    pub exchange: usize,
    /// What is said to the agent; never blank.
    pub user: String,
    /// What is answered.
    pub assistant: String,
}

impl Sample {
    /// The history as turns, oldest first. Of an exchange in parts, all but the user's last part are acknowledged with
    /// [`ACKNOWLEDGEMENT`] and all but the assistant's first part follow on [`CONTINUE`]: nothing is lost.
    pub fn turns(&self, options: &FeedOptions) -> impl Iterator<Item = FedTurn> {
        let limit = options.max_bytes.unwrap_or(usize::MAX);
        self.sessions.iter().enumerate().flat_map(move |(index, session)| {
            session.exchanges.iter().enumerate().flat_map(move |(at, exchange)| {
                let dated = match options.dates {
                    Dates::First => at == 0,
                    Dates::Every => true,
                    Dates::Never => false,
                };
                let date = session.date.as_ref().filter(|_| dated);
                let user = match date {
                    Some(date) => format!("[{date}] {}", exchange.user),
                    None => exchange.user.clone(),
                };
                let fed = move |(user, assistant): (String, String)| FedTurn {
                    session: index,
                    exchange: at,
                    user,
                    assistant,
                };
                parts(&user, &exchange.assistant, limit).into_iter().map(fed)
            })
        })
    }
}

/// An exchange as one or more exchanges whose sides have at most `limit` bytes each.
pub(crate) fn parts(user: &str, assistant: &str, limit: usize) -> Vec<(String, String)> {
    let (mut said, mut answered) = (split_text(user, limit), split_text(assistant, limit).into_iter());
    let last = said.pop().unwrap_or(CONTINUE);
    let first = answered.next().unwrap_or_default();
    let before = said.into_iter().map(|part| (part, ACKNOWLEDGEMENT));
    let after = answered.map(|part| (CONTINUE, part));
    let pairs = before.chain([(last, first)]).chain(after);
    pairs.map(|(user, assistant)| (user.to_owned(), assistant.to_owned())).collect()
}

/// Cuts a text into parts of at most `limit` bytes (at least one character each), preferably behind a paragraph, else a
/// line, a sentence, a word. White space around the cuts is dropped; a blank text has no parts.
pub(super) fn split_text(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while rest.len() > limit {
        let hard = rest.floor_char_boundary(limit);
        let hard = if hard == 0 { rest.ceil_char_boundary(1) } else { hard };
        let window = &rest[..hard];
        // A cut early in the window would make many short parts.
        let cut = ["\n\n", "\n", ". ", " "]
            .iter()
            .filter_map(|mark| window.rfind(mark).map(|at| at + mark.trim_end().len().max(1)))
            .find(|&at| at >= hard / 2)
            .unwrap_or(hard);
        let (part, after) = rest.split_at(cut);
        parts.push(part.trim_end());
        rest = after.trim_start();
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Exchange, Session};

    fn sample() -> Sample {
        let exchange = |user: &str, assistant: &str| Exchange {
            user: user.to_owned(),
            assistant: assistant.to_owned(),
            ids: Vec::new(),
        };
        let session = |date: &str, exchanges| Session { id: date.to_owned(), date: Some(date.to_owned()), exchanges };
        let sessions = vec![
            session("1 May", vec![exchange("Hi.", "Hello!"), exchange("One. Two is long. Three.", "Yes. No, never.")]),
            session("2 May", vec![exchange("Bye.", "")]),
        ];
        Sample { id: "s".to_owned(), sessions, probes: Vec::new(), oracle_cards: Vec::new() }
    }

    fn fed(options: &FeedOptions) -> Vec<(String, String)> {
        sample().turns(options).map(|turn| (turn.user, turn.assistant)).collect()
    }

    fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(user, assistant)| (user.to_owned(), assistant.to_owned())).collect()
    }

    #[test]
    fn a_session_begins_with_its_date() {
        let first = fed(&FeedOptions::default());
        assert_eq!(
            first,
            texts(&[("[1 May] Hi.", "Hello!"), ("One. Two is long. Three.", "Yes. No, never."), ("[2 May] Bye.", "")])
        );
        let every = fed(&FeedOptions { dates: Dates::Every, ..FeedOptions::default() });
        assert_eq!(every[1].0, "[1 May] One. Two is long. Three.");
        let never = fed(&FeedOptions { dates: Dates::Never, ..FeedOptions::default() });
        assert_eq!(never[2].0, "Bye.");
    }

    #[test]
    fn long_exchanges_are_fed_in_parts_and_nothing_is_lost() {
        let options = FeedOptions { dates: Dates::Never, max_bytes: Some(12) };
        assert_eq!(
            fed(&options)[1..4],
            texts(&[("One. Two is", "Noted."), ("long. Three.", "Yes. No,"), ("Go on.", "never.")])
        );
    }

    #[test]
    fn text_is_cut_where_it_reads_best() {
        assert_eq!(split_text("One two. Three four.", 16), ["One two.", "Three four."]);
        assert_eq!(split_text("First part\n\nsecond. Part", 20), ["First part", "second. Part"]);
        assert_eq!(split_text("unbreakable", 4), ["unbr", "eaka", "ble"]);
        assert_eq!(split_text("äöü", 1), ["ä", "ö", "ü"]);
        assert_eq!(split_text(" \n ", 4), [""; 0]);
    }

    proptest::proptest! {
        #[test]
        fn parts_are_short_and_keep_every_letter(text in "[a-zä .\n]{0,60}", limit in 0usize..20) {
            let parts = split_text(&text, limit);
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            proptest::prop_assert!(parts.iter().all(|p| p.len() <= limit.max(2)));
            proptest::prop_assert_eq!(letters(&parts.concat()), letters(&text));
        }
    }
}
