//! What a line of a chat means.

use std::path::PathBuf;

/// Shown by /help.
pub(crate) const HELP: &str = "\
Say something, or:
  /write          write what was said since the last write to memory, now
  /clear          clear the context; what was learned stays
  /cards          list the cards
  /memory         show what is remembered as text (a summary, turns and notes)
  /forget N       forget card N: the fast weights are trained anew without it
  /edit N         change card N: the fast weights are trained anew
  /ask QUESTION   ask without context, leaving no trace in it
  /twin           switch the frozen twin's answers on or off
  /status         context, budget, cards and the state of the fast weights
  /share          a link that replays this chat on another machine
  /save [FILE]    save everything (tmem-chat.json)
  /load [FILE]    go on from a saved chat
  /export FOLDER  the fast weights as a PEFT adapter
  /import FOLDER  take a PEFT adapter in place of what was learned
  /reset          back to the start
  /quit           leave (Ctrl-D does too); Ctrl-C stops an answer or a training";

/// The file that /save and /load use unless told otherwise.
const DEFAULT_FILE: &str = "tmem-chat.json";

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Nothing,
    Say(String),
    Write,
    Clear,
    Cards,
    Memory,
    Forget(u64),
    Edit(u64),
    Ask(String),
    Twin,
    Status,
    Share,
    Save(PathBuf),
    Load(PathBuf),
    Export(PathBuf),
    Import(PathBuf),
    Reset,
    Help,
    Quit,
    /// Not understood; the text says why.
    Unclear(String),
}

impl Input {
    /// Understands a line. A line that begins with two strokes is said with one.
    pub(crate) fn parse(line: &str) -> Self {
        let line = line.trim();
        let Some(command) = line.strip_prefix('/') else {
            return if line.is_empty() { Self::Nothing } else { Self::Say(line.to_owned()) };
        };
        if command.starts_with('/') {
            return Self::Say(command.to_owned());
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let file = || PathBuf::from(if rest.is_empty() { DEFAULT_FILE } else { rest });
        let card = |make: fn(u64) -> Self| match rest.parse() {
            Ok(id) => make(id),
            Err(_) => Self::Unclear(format!("/{name} takes the number of a card; /cards lists them")),
        };
        match name {
            "forget" => card(Self::Forget),
            "edit" => card(Self::Edit),
            "ask" if !rest.is_empty() => Self::Ask(rest.to_owned()),
            "ask" => Self::Unclear("/ask takes a question".to_owned()),
            "save" => Self::Save(file()),
            "load" => Self::Load(file()),
            "export" if !rest.is_empty() => Self::Export(PathBuf::from(rest)),
            "import" if !rest.is_empty() => Self::Import(PathBuf::from(rest)),
            "export" | "import" => Self::Unclear(format!("/{name} takes a folder")),
            _ if !rest.is_empty() => {
                Self::Unclear(format!("/{name} takes nothing behind it; /help lists what there is"))
            }
            "write" => Self::Write,
            "clear" => Self::Clear,
            "cards" => Self::Cards,
            "memory" => Self::Memory,
            "twin" => Self::Twin,
            "status" => Self::Status,
            "share" => Self::Share,
            "reset" => Self::Reset,
            "help" => Self::Help,
            "quit" | "exit" => Self::Quit,
            _ => Self::Unclear(format!("there is no /{name}; /help lists what there is")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_talk_or_commands() {
        assert_eq!(Input::parse("  "), Input::Nothing);
        assert_eq!(Input::parse(" My dog is Rex. "), Input::Say("My dog is Rex.".to_owned()));
        assert_eq!(Input::parse("//etc is a folder"), Input::Say("/etc is a folder".to_owned()));
        assert_eq!(Input::parse("/write"), Input::Write);
        assert_eq!(Input::parse("/memory"), Input::Memory);
        assert_eq!(Input::parse("/forget 3"), Input::Forget(3));
        assert_eq!(Input::parse("/ask Who am I?"), Input::Ask("Who am I?".to_owned()));
        assert_eq!(Input::parse("/save"), Input::Save(PathBuf::from("tmem-chat.json")));
        assert_eq!(Input::parse("/load my chat.json"), Input::Load(PathBuf::from("my chat.json")));
    }

    #[test]
    fn what_is_not_understood_says_what_would_be() {
        for line in ["/forget", "/forget x", "/edit -1", "/ask", "/export", "/import", "/write now", "/nonsense", "/"] {
            let Input::Unclear(reason) = Input::parse(line) else { unreachable!("{line} was understood") };
            assert!(reason.contains('/'), "{line}: {reason}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for name in "write clear cards forget edit ask twin status share save load export import reset quit".split(' ')
        {
            assert!(HELP.contains(&format!("/{name}")), "{name}");
        }
    }
}
