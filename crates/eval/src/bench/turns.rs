//! Messages of a chat as exchanges.

use super::feed::CONTINUE;
use super::sample::Exchange;

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Said to the agent.
    User,
    /// Said by it.
    Assistant,
}

/// Pairs messages (side, text, ids) into exchanges. Blank messages are left out, messages of one side in a row are joined
/// by a line break, and what the assistant says first follows on [`CONTINUE`].
pub(super) fn exchanges<'a>(messages: impl IntoIterator<Item = (Side, &'a str, Option<String>)>) -> Vec<Exchange> {
    let mut paired: Vec<Exchange> = Vec::new();
    let mut last = None;
    for (side, text, id) in messages {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let begins = match side {
            Side::User => last != Some(Side::User),
            Side::Assistant => last.is_none(),
        };
        if begins {
            let user = if side == Side::User { String::new() } else { CONTINUE.to_owned() };
            paired.push(Exchange { user, assistant: String::new(), ids: Vec::new() });
        }
        if let Some(exchange) = paired.last_mut() {
            let said = if side == Side::User { &mut exchange.user } else { &mut exchange.assistant };
            if !said.is_empty() {
                said.push('\n');
            }
            said.push_str(text);
            exchange.ids.extend(id);
        }
        last = Some(side);
    }
    paired
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_paired_whatever_their_order() {
        use Side::{Assistant, User};
        let messages = [(Assistant, "Hello."), (User, "a"), (User, " b "), (User, ""), (Assistant, "c"), (User, "d")];
        let pairs = exchanges(messages.map(|(side, text)| (side, text, Some(text.to_owned()))));
        let texts: Vec<_> = pairs.iter().map(|e| (e.user.as_str(), e.assistant.as_str(), e.ids.len())).collect();
        assert_eq!(texts, [("Go on.", "Hello.", 1), ("a\nb", "c", 3), ("d", "", 1)]);
        assert!(exchanges([]).is_empty());
    }
}
