//! Questions and answers about "I" and "you", put into the third person of a named speaker.
//!
//! Only forms that are certain are turned; for everything else there is no result, and the caller quotes instead. A
//! person's first mention takes the name, a later one "their" or "them": nothing says whether it should be "her" or "his".

use std::collections::VecDeque;

use super::conjugation::{Finite, Kind, base_of, finite};

/// Ways to ask whose "me" and "you" are the asker and the asked.
const FRAMES: [&str; 5] = ["Tell me: ", "Tell me ", "Can you tell me ", "Can you tell me: ", "Do you remember "];

/// Words of the second person, as they are written in chats.
const SECOND_PERSON: [&str; 15] = [
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
    "you're",
    "you've",
    "you'll",
    "you'd",
    "u",
    "ur",
    "ya",
    "y'all",
    "yall",
    "yer",
];

/// Adverbs that may stand between the subject and its verb.
const ADVERBS: [&str; 18] = [
    "never",
    "always",
    "often",
    "also",
    "still",
    "just",
    "only",
    "already",
    "even",
    "sometimes",
    "now",
    "then",
    "once",
    "first",
    "ever",
    "almost",
    "soon",
    "not",
];

/// Adverbs that a question does better without ("When did Ann just move?").
const IDLE: [&str; 8] = ["just", "also", "still", "even", "already", "finally", "actually", "recently"];

/// A word without the punctuation behind it.
fn core(word: &str) -> &str {
    word.trim_end_matches([',', '.', '!', '?', ';', ':', '"', ')'])
}

fn plain(word: &str) -> String {
    core(word).trim_start_matches(['"', '(']).to_lowercase().replace('’', "'")
}

/// Whether a text speaks to somebody.
pub(super) fn addresses(text: &str) -> bool {
    text.split_whitespace().any(|word| SECOND_PERSON.contains(&plain(word).as_str()))
}

fn is_adverb(word: &str) -> bool {
    let no_adverb = ["apply", "rely", "supply", "reply", "multiply", "family", "imply", "comply"];
    ADVERBS.contains(&word) || (word.len() > 4 && word.ends_with("ly") && !no_adverb.contains(&word))
}

/// What stands behind a subject: adverbs, the finite verb, the rest.
struct Predicate {
    adverbs: Vec<String>,
    verb: Finite,
    /// The verb's word as it stood, and the punctuation behind it.
    tail: String,
    rest: VecDeque<String>,
}

fn predicate(mut words: VecDeque<String>, past: bool) -> Option<Predicate> {
    let mut adverbs = Vec::new();
    loop {
        let word = words.pop_front()?;
        let low = plain(&word);
        if is_adverb(&low) {
            // Nothing but an adverb stands there.
            if core(&word) != word {
                return None;
            }
            adverbs.push(word);
            continue;
        }
        let next = words.iter().map(|w| plain(w)).find(|w| !is_adverb(w)).unwrap_or_default();
        let verb = finite(&low, &next, past)?;
        let tail = word[core(&word).len()..].to_owned();
        return Some(Predicate { adverbs, verb, tail, rest: words });
    }
}

/// "live in Ghent" behind a name: "lives in Ghent".
fn declared(words: VecDeque<String>, past: bool) -> Option<VecDeque<String>> {
    let Predicate { adverbs, verb, tail, rest } = predicate(words, past)?;
    Some(adverbs.into_iter().chain([format!("{}{tail}", verb.third)]).chain(rest).collect())
}

/// "live in Ghent" as a question: ("does", "live in Ghent").
fn inverted(words: VecDeque<String>, past: bool) -> Option<(String, VecDeque<String>)> {
    let Predicate { mut adverbs, verb, tail, mut rest } = predicate(words, past)?;
    adverbs.retain(|word| !IDLE.contains(&word.to_lowercase().as_str()));
    if verb.kind == Kind::Auxiliary {
        while rest.front().is_some_and(|word| IDLE.contains(&plain(word).as_str())) {
            rest.pop_front();
        }
        return Some((verb.third, adverbs.into_iter().chain(rest).collect()));
    }
    let does = if verb.kind == Kind::Past { "did" } else { "does" };
    Some((does.to_owned(), adverbs.into_iter().chain([format!("{}{tail}", verb.base)]).chain(rest).collect()))
}

fn split(text: &str) -> VecDeque<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn join(words: Vec<String>) -> String {
    words.join(" ")
}

/// The rules for the second person undo "ed" more plainly than English spells ("What did I bak?"); the word that was said
/// tells.
fn said_base(word: &str, said: &str) -> String {
    let heard = said.split(|c: char| !c.is_alphabetic()).map(str::to_lowercase);
    let past = |w: &String| {
        w.strip_suffix("ed")
            .is_some_and(|stem| stem == word || stem.strip_prefix(word).is_some_and(|doubled| doubled.len() == 1))
    };
    heard.into_iter().find(past).map_or_else(|| word.to_owned(), |w| base_of(&w))
}

/// A question that a speaker asks about themselves, as one about the speaker `name`: "Where do I live?" is "Where does Ann
/// live?". `said` is the sentence it was made of, `past` whether that tells of the past for certain.
pub(super) fn question(asked: &str, name: &str, said: &str, past: bool) -> Option<String> {
    let frame = FRAMES.iter().find(|frame| asked.starts_with(**frame)).copied().unwrap_or("");
    let mut rest = split(&asked[frame.len()..]);
    let mut turned: Vec<String> = Vec::new();
    let mut named = false;
    while let Some(word) = rest.pop_front() {
        let (low, tail) = (plain(&word), word[core(&word).len()..].to_owned());
        let next = rest.front().map(|w| plain(w)).unwrap_or_default();
        if matches!(next.as_str(), "i" | "we")
            && finite(&low, "", false).is_some_and(|f| f.kind == Kind::Auxiliary || low == "do" || low == "have")
        {
            let subject = rest.pop_front()?;
            let behind = &subject[core(&subject).len()..];
            let auxiliary = match low.as_str() {
                "do" => {
                    // A rule that takes any words for its action may ask "When do I went …?".
                    let (auxiliary, clause) = inverted(rest, past)?;
                    rest = clause;
                    auxiliary
                }
                "did" => {
                    if let Some(verb) = rest.pop_front() {
                        let bare = core(&verb);
                        rest.push_front(format!("{}{}", said_base(bare, said), &verb[bare.len()..]));
                    }
                    low
                }
                _ => finite(&low, "been", false)?.third,
            };
            turned.push(if turned.is_empty() && frame.is_empty() { upper_first(&auxiliary) } else { auxiliary });
            turned.push(format!("{name}{behind}"));
            named = true;
            continue;
        }
        let pushed = match low.as_str() {
            "i" | "we" => {
                rest = declared(rest, past)?;
                named = true;
                name.to_owned()
            }
            "i'm" | "we're" => {
                named = true;
                format!("{name} is")
            }
            "i've" | "we've" => {
                named = true;
                format!("{name} has")
            }
            "i'll" | "we'll" => {
                named = true;
                format!("{name} will")
            }
            _ => other(&word, &low, &tail, name, &mut named)?,
        };
        turned.push(pushed);
    }
    let turned = join(turned);
    Some(if frame.is_empty() { upper_first(&turned) } else { format!("{frame}{turned}") })
}

/// An answer in the second person as one about the speaker `name`: "You live in Ghent." is "Ann lives in Ghent.".
pub(super) fn statement(told: &str, name: &str, past: bool) -> Option<String> {
    let mut rest = split(told);
    let mut turned = Vec::new();
    let mut named = false;
    if rest.front().is_some_and(|word| word == "You") {
        rest.pop_front();
        rest = declared(rest, past)?;
        turned.push(name.to_owned());
        named = true;
    }
    while let Some(word) = rest.pop_front() {
        let (low, tail) = (plain(&word), word[core(&word).len()..].to_owned());
        let pushed = match low.as_str() {
            "your" => other(&word, "my", &tail, name, &mut named)?,
            "i" | "we" | "i'm" | "we're" | "i've" | "we've" | "i'll" | "we'll" => return None,
            _ => other(&word, &low, &tail, name, &mut named)?,
        };
        turned.push(pushed);
    }
    Some(upper_first(&join(turned)))
}

/// What a speaker said of themselves, from the first word behind "I": ("went to Ghent", "Ann") gives the question's ("did",
/// "go to Ghent") and the answer's "Ann went to Ghent".
pub(super) fn clause(action: &str, name: &str, past: bool) -> Option<(String, String)> {
    let question = |(auxiliary, rest): (String, VecDeque<String>)| {
        let mut named = true;
        let rest: Option<Vec<String>> = rest.iter().map(|word| inner(word, name, &mut named)).collect();
        Some(format!("{auxiliary} {name} {}", join(rest?)).trim_end().to_owned())
    };
    let asked = inverted(split(action), past).and_then(question)?;
    let mut named = true;
    let told: Option<Vec<String>> =
        declared(split(action), past)?.iter().map(|word| inner(word, name, &mut named)).collect();
    Some((asked, format!("{name} {}", join(told?))))
}

fn inner(word: &str, name: &str, named: &mut bool) -> Option<String> {
    let low = plain(word);
    if ["i", "we", "i'm", "we're", "i've", "we've", "i'll", "we'll"].contains(&low.as_str()) {
        return None;
    }
    other(word, &low, &word[core(word).len()..], name, named)
}

/// A word that is no subject.
fn other(word: &str, low: &str, tail: &str, name: &str, named: &mut bool) -> Option<String> {
    let later = std::mem::replace(named, *named || matches!(low, "my" | "our" | "mine" | "ours" | "me" | "us"));
    Some(match low {
        "my" | "our" => format!("{}{tail}", if later { "their".to_owned() } else { possessive(name) }),
        "mine" | "ours" => format!("{}{tail}", if later { "theirs".to_owned() } else { possessive(name) }),
        "me" | "us" => format!("{}{tail}", if later { "them" } else { name }),
        "myself" | "ourselves" | "i'd" | "we'd" | "im" | "ive" => return None,
        _ if SECOND_PERSON.contains(&low) => return None,
        _ => word.to_owned(),
    })
}

fn possessive(name: &str) -> String {
    format!("{name}'s")
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_of_the_first_person_are_about_the_speaker() {
        let cases = [
            ("Where do I live?", "Where does Ann live?"),
            ("What is my sister's name?", "What is Ann's sister's name?"),
            ("What's my job?", "What's Ann's job?"),
            ("What am I learning?", "What is Ann learning?"),
            ("Where was I born?", "Where was Ann born?"),
            ("Have I been to Rome?", "Has Ann been to Rome?"),
            ("Am I a nurse?", "Is Ann a nurse?"),
            ("What did I adopt?", "What did Ann adopt?"),
            ("What can't I stand?", "What can't Ann stand?"),
            ("What don't I eat?", "What doesn't Ann eat?"),
            ("What must I not eat?", "What must Ann not eat?"),
            ("Tell me where I live.", "Tell me where Ann lives."),
            ("Do you remember what I'm learning?", "Do you remember what Ann is learning?"),
            ("What is it that I can't stand?", "What is it that Ann can't stand?"),
            ("Tell me the instrument I play.", "Tell me the instrument Ann plays."),
            ("Which car is mine?", "Which car is Ann's?"),
            ("Where did I drop my keys?", "Where did Ann drop their keys?"),
            ("When do I went to Rome?", "When did Ann go to Rome?"),
            ("When do I will fly to Rome?", "When will Ann fly to Rome?"),
            ("When do I have to leave?", "When does Ann have to leave?"),
            ("What name came to me in the evening?", "What name came to Ann in the evening?"),
            ("When is the concert?", "When is the concert?"),
        ];
        for (first, third) in cases {
            assert_eq!(question(first, "Ann", "I adopted it.", false).as_deref(), Some(third));
        }
        let baked = question("What did I bak?", "Ann", "Today I baked bread.", false);
        assert_eq!(baked.as_deref(), Some("What did Ann bake?"));
    }

    #[test]
    fn answers_of_the_second_person_are_about_the_speaker() {
        let cases = [
            ("You live in Ghent.", "Ann lives in Ghent."),
            ("You are a nurse.", "Ann is a nurse."),
            ("You were born in Ghent.", "Ann was born in Ghent."),
            ("You have a peanut allergy.", "Ann has a peanut allergy."),
            ("You don't eat meat.", "Ann doesn't eat meat."),
            ("You never eat meat.", "Ann never eats meat."),
            ("You bought your car.", "Ann bought their car."),
            ("Your dog's name is Biscuit.", "Ann's dog's name is Biscuit."),
            ("The code of your office is 7302.", "The code of Ann's office is 7302."),
        ];
        for (second, third) in cases {
            assert_eq!(statement(second, "Ann", false).as_deref(), Some(third));
        }
    }

    #[test]
    fn what_is_not_certain_is_not_turned() {
        assert_eq!(statement("You quit your job.", "Ann", false), None);
        assert_eq!(statement("You quit your job.", "Ann", true).as_deref(), Some("Ann quit their job."));
        assert_eq!(statement("You bought yourself a car.", "Ann", false), None);
        assert_eq!(statement("You love what you do.", "Ann", false), None);
        assert_eq!(question("What did I give you?", "Ann", "", false), None);
        assert_eq!(question("What do I gonna do?", "Ann", "", false), None);
    }

    #[test]
    fn a_clause_becomes_question_and_answer() {
        let turned = |action, past| clause(action, "Ann", past).map(|(asked, told)| format!("{asked} | {told}"));
        assert_eq!(
            turned("just went to Rome with my sister", false).as_deref(),
            Some("did Ann go to Rome with their sister | Ann just went to Rome with their sister")
        );
        assert_eq!(
            turned("am going to the zoo", false).as_deref(),
            Some("is Ann going to the zoo | Ann is going to the zoo")
        );
        assert_eq!(
            turned("have just been to Rome", false).as_deref(),
            Some("has Ann been to Rome | Ann has just been to Rome")
        );
        assert_eq!(turned("met your sister", false), None);
    }
}
