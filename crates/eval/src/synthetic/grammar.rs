//! Person, possession and agreement: one template serves for oneself and for one's sister, said by either side.

use serde::{Deserialize, Serialize};

/// Who is spoken of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// The user.
    User,
    /// Somebody around the user.
    Other {
        /// What they are to the user, as in "sister".
        noun: String,
        /// Whether they are "she" (otherwise "he").
        female: bool,
    },
}

impl Subject {
    /// Short name for ids.
    pub fn name(&self) -> &str {
        match self {
            Self::User => "user",
            Self::Other { noun, .. } => noun,
        }
    }
}

/// Who speaks, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// The user: "my dog".
    User,
    /// The assistant to the user: "your dog".
    Assistant,
    /// A note about the user: "the user's dog".
    Note,
}

/// The text of a grammar slot; `None` where the name is none of them.
pub(super) fn word(slot: &str, subject: &Subject, voice: Voice) -> Option<String> {
    let (nominative, possessive, accusative) = match voice {
        Voice::User => ("I", "my", "me"),
        Voice::Assistant => ("you", "your", "you"),
        Voice::Note => ("the user", "the user's", "the user"),
    };
    let other = |noun: &str| format!("{possessive} {noun}");
    // Pronouns that take up the subject again.
    let [he, his, him, himself] = match (subject, voice) {
        (Subject::User, Voice::User) => ["I", "my", "me", "myself"],
        (Subject::User, Voice::Assistant) => ["you", "your", "you", "yourself"],
        (Subject::User, Voice::Note) => ["they", "their", "them", "themselves"],
        (Subject::Other { female: true, .. }, _) => ["she", "her", "her", "herself"],
        (Subject::Other { female: false, .. }, _) => ["he", "his", "him", "himself"],
    };
    // First and second person take the bare verb.
    let third = !matches!((subject, voice), (Subject::User, Voice::User | Voice::Assistant));
    let be = match (subject, voice) {
        (Subject::User, Voice::User) => "am",
        (Subject::User, Voice::Assistant) => "are",
        _ => "is",
    };
    let subject_word = match subject {
        Subject::User => nominative.to_owned(),
        Subject::Other { noun, .. } => other(noun),
    };
    Some(match slot {
        "I" => subject_word,
        "my" => match subject {
            Subject::User => possessive.to_owned(),
            Subject::Other { noun, .. } => format!("{}'s", other(noun)),
        },
        "me" => match subject {
            Subject::User => accusative.to_owned(),
            Subject::Other { noun, .. } => other(noun),
        },
        "I'm" => match be {
            "am" => "I'm".to_owned(),
            "are" => "you are".to_owned(),
            _ => format!("{subject_word} is"),
        },
        "he" => he.to_owned(),
        "his" => his.to_owned(),
        "him" => him.to_owned(),
        "himself" => himself.to_owned(),
        "am" => be.to_owned(),
        "was" => if be == "are" { "were" } else { "was" }.to_owned(),
        "have" => if third { "has" } else { "have" }.to_owned(),
        "do" => if third { "does" } else { "do" }.to_owned(),
        _ => {
            let verb = slot.strip_prefix("v ")?;
            if third { third_person(verb) } else { verb.to_owned() }
        }
    })
}

/// "lives", "goes", "carries".
fn third_person(verb: &str) -> String {
    let stem = verb.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    match (verb, stem) {
        ("have", _) => "has".to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        _ if ["s", "x", "z", "ch", "sh", "o"].iter().any(|end| verb.ends_with(end)) => format!("{verb}es"),
        _ => format!("{verb}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(slots: &str, subject: &Subject, voice: Voice) -> String {
        slots.split('/').map(|slot| word(slot, subject, voice).unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn verbs_and_pronouns_agree() {
        let sister = Subject::Other { noun: "sister".to_owned(), female: true };
        let boss = Subject::Other { noun: "boss".to_owned(), female: false };
        assert_eq!(say("I/v live/his", &Subject::User, Voice::User), "I live my");
        assert_eq!(say("I/v live/his", &Subject::User, Voice::Assistant), "you live your");
        assert_eq!(say("I/v live/have", &Subject::User, Voice::Note), "the user lives has");
        assert_eq!(say("I/v carry/his", &sister, Voice::User), "my sister carries her");
        assert_eq!(say("my", &boss, Voice::Assistant), "your boss's");
        assert_eq!(
            say("I'm/he/do/v go/v watch/v play", &boss, Voice::Note),
            "the user's boss is he does goes watches plays"
        );
        assert_eq!(say("I'm/am/was", &Subject::User, Voice::Assistant), "you are are were");
        assert_eq!(word("unknown", &sister, Voice::User), None);
    }
}
