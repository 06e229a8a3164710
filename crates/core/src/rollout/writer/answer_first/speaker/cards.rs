//! The cards of what a named speaker said.

use super::super::pattern::{group, is_function_word, pattern};
use super::super::rules::{Found, loose_spans, rule_cards, subject_card};
use super::super::text::sentences;
use super::Speech;
use super::conjugation::is_irregular_past;
use super::third_person::{addresses, clause, question as question_about, statement};
use super::when::{is_past, said_on, when_cards};
use super::whole;

/// Longest sentence in bytes that an answer quotes.
const MAX_QUOTE: usize = 300;

/// Regular past forms that begin a sentence whose "I" was left out ("Started a course yesterday"). Other "ed" forms are as
/// often adjectives ("Excited to go").
const STARTS_PAST: [&str; 14] = [
    "started", "finished", "visited", "moved", "tried", "joined", "decided", "signed", "launched", "attended",
    "adopted", "planned", "opened", "watched",
];

pattern!(
    LEAD,
    r"^(?:(?:Hi|Hello|Hey|Hiya|Oh|Ooh|Well|So|Yes|Yeah|Yep|Yup|No|Nope|Nah|Wow|Whoa|Woah|Cool|Sure|Right|Thanks|Thank you|Btw|By the way|Actually|Also|And|But|Plus|Guess what|Haha|Lol|Aw|Aww|Yay|Ok|Okay|Man|Anyway|Sorry|Unfortunately|Luckily|Recently|Finally|Sadly|In fact|Of course|Honestly|Absolutely|Definitely|Totally|Exactly)\b(?: [A-Z][\w’'-]*)?(?:,|!| -| –)? )+(?=\S)"
);
pattern!(VOCATIVE, r"^[A-Z][\w’'-]*, (?=(?:I|[Mm]y|[Ww]e|[Oo]ur)\b)");
pattern!(
    PHOTO,
    r"^(?:an? |the )(?:\w+ ){0,2}?(photo|photograph|photography|picture|pic|image|drawing|painting|screenshot|video)\b"
);
// What is left of "won't" and "I've" where a rule takes the apostrophe for a word's end.
pattern!(FRAGMENT, r"(?i) (?:t|s|d|m|re|ve|ll)\b(?!['’])");
pattern!(NO_RELATION, r"(?i)\b(?:next|last|this|on|at)['’]s name\?$");
pattern!(OF_SPEAKER, r"\b(?:me|my|us|our)\b");
pattern!(
    IS_PREDICATE,
    r"^Wh(?:at|o) (?:(?:is|was|has|had) (?!such\b|just\b|almost\b)|(?!is\b|was\b)[a-z]+s (?:me|us|my|our) (?!together\b)\S+|[a-z]+(?:ed|ave|ade|ook|roke|eft) (?:me|us|my|our) )(?!.*\b(?:is|are|was|can)\b).*\?$"
);
pattern!(OPEN_SPAN, r"(?i)(?:^| )(?:of|the|a|an|my|our|to|for)$");
pattern!(
    VAGUE_SPAN,
    r"(?i)^(?:it|that|this|them|something|anything|everything|stuff|things?|lots?|a lot|some|more|much|one|same|so|what|how|all|fun|great|good|nothing|someone|people|way|time|part|bit|kind|couple|bunch|few|tons?|back|forward|ready|sure|able|excited|glad|happy|open|closed|here|there|almost|everything|mix|these|those|really|another)(?: .*)?$"
);

/// A span of what somebody said whose question the model writes.
#[derive(Debug, Clone)]
pub(in crate::rollout::writer::answer_first) struct Quoted {
    pub(in crate::rollout::writer::answer_first) name: String,
    /// All that was said.
    pub(in crate::rollout::writer::answer_first) text: String,
}

/// The sentence without the words that only open it.
pub(super) fn without_lead(sentence: &str) -> String {
    let text = VOCATIVE.strip(&LEAD.strip(sentence));
    let first = text.split(' ').next().unwrap_or_default();
    let low = first.to_lowercase();
    let verb =
        first.starts_with(char::is_uppercase) && (is_irregular_past(&low) || STARTS_PAST.contains(&low.as_str()));
    if verb && text.split(' ').count() > 2 { format!("I {low}{}", &text[first.len()..]) } else { text }
}

/// What the rules make of a speech, and the spans that they leave to the model. `speakers` are the names of all who speak:
/// whom somebody talks to is no fact.
pub(in crate::rollout::writer::answer_first) fn cards(
    speech: &Speech,
    speakers: &[String],
) -> (Vec<Found>, Vec<String>) {
    // Each sentence is stripped on its own; behind "!" or "." the rules cut again.
    let text = sentences_with_ends(&speech.text).into_iter().map(|s| without_lead(&s)).collect::<Vec<_>>().join(" ");
    let of_people = |text: &str| {
        text.split(' ').any(|word| speakers.iter().any(|name| name.split(' ').any(|part| is_about(word, part))))
    };
    let mut found = when_cards(&text, speech);
    for card in rule_cards(&text) {
        // "My word is that" tells nothing.
        if !card.span.split(' ').all(is_function_word)
            && !of_people(&card.span)
            && let Some(card) = turned(card, speech, &text)
            && found.iter().all(|f| !f.question.eq_ignore_ascii_case(&card.question))
            && !(card.question.starts_with("When ") && found.iter().any(|f| f.span.contains(&card.span)))
        {
            found.push(card);
        }
    }
    let mut loose = Vec::new();
    if found.is_empty() {
        found.extend(
            subject_card(&text)
                .filter(|card| !of_people(&card.span) && is_subject(card))
                .and_then(|card| turned(card, speech, &text)),
        );
    }
    if found.is_empty() {
        loose = loose_spans(&speech.text, &found);
        loose.retain(|span| !of_people(span) && !addresses(span));
    }
    found.extend(photo(speech));
    // A span across what was cut away between two sentences is not what was said.
    let said = format!("{} {}", speech.text, speech.shared.as_deref().unwrap_or_default()).to_lowercase();
    found.retain(|card| said.contains(&card.span.to_lowercase()));
    (found, loose)
}

/// Whether the first words of a sentence are what its verb speaks of, and that is something of the speaker's. "Taking risks
/// is scary" and "Stay motivated" look like "Ann is scary" to a rule that knows no verbs.
fn is_subject(card: &Found) -> bool {
    let single = !card.span.contains(' ');
    !card.span.contains(['\'', '’'])
        && OF_SPEAKER.is_match(&card.question)
        && (!single || IS_PREDICATE.is_match(&card.question))
}

fn is_about(word: &str, name: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    word.strip_suffix("'s").or_else(|| word.strip_suffix("’s")).unwrap_or(word).eq_ignore_ascii_case(name)
}

fn sentences_with_ends(text: &str) -> Vec<String> {
    let mut ends = Vec::new();
    let mut rest = text;
    for sentence in sentences(text) {
        let Some(at) = rest.find(sentence) else { continue };
        let after = &rest[at + sentence.len()..];
        let end = after.len() - after.trim_start_matches(['.', '!', '?']).len();
        ends.push(format!("{sentence}{}", &after[..end]));
        rest = &after[end..];
    }
    ends
}

/// A card about "I" as one about the speaker.
fn turned(card: Found, speech: &Speech, text: &str) -> Option<Found> {
    let Found { question: asked, answer, span, wordings } = card;
    let name = speech.name.as_str();
    if addresses(&span) || addresses(&asked) || OPEN_SPAN.is_match(&span) || VAGUE_SPAN.is_match(&span) {
        return None;
    }
    // The speaker's name stands before every line; "this is Rex" is about somebody else.
    let own = asked == "What is my name?";
    if own && (span == name || !span.split(' ').any(|part| part == name)) {
        return None;
    }
    let sentence = sentences(text).into_iter().find(|s| s.contains(&span)).unwrap_or_default();
    if asked.contains(" and ") || answer.contains(" -") || FRAGMENT.is_match(&answer) || NO_RELATION.is_match(&asked) {
        return None;
    }
    let past = is_past(sentence);
    let (asked, told, wordings) = if answer.starts_with("You ") {
        let action = whole::action(sentence, &span)?;
        let told = clause(&action, name, past).map(|(_, told)| format!("{told}{}.", said_on(&told, speech)));
        (whole::asked_of(&asked, &action)?, told, wordings.iter().map(|w| whole::to_do(w, &action)).collect())
    } else {
        (asked, statement(&answer, name, past), wordings)
    };
    let question = question_about(&asked, name, sentence, past)?;
    if whole::lacks_object(&question) {
        return None;
    }
    let answer = told.or_else(|| quote(speech, &span)).unwrap_or_else(|| span.clone());
    let wordings: Vec<String> = wordings.iter().filter_map(|w| question_about(w, name, sentence, past)).collect();
    Some(Found::new(question, answer, &span, wordings))
}

/// `Ann said: "…"`, with the sentence that has the span.
fn quote(speech: &Speech, span: &str) -> Option<String> {
    let sentence = sentences_with_ends(&speech.text).into_iter().find(|s| s.contains(span) && s.len() <= MAX_QUOTE)?;
    Some(format!("{} said: \"{sentence}\"", speech.name))
}

/// "Ann shared a photo of a dog."
fn photo(speech: &Speech) -> Option<Found> {
    let shared = speech.shared.as_deref()?;
    let captures = PHOTO.captures(shared)?;
    let kind = match group(&captures, 1) {
        "photograph" | "photography" | "pic" => "photo",
        kind => kind,
    };
    let name = &speech.name;
    let on = speech.date.as_ref().map(|date| format!(" on {date}")).unwrap_or_default();
    let wordings = [
        format!("Which {kind} did {name} share{on}?"),
        format!("Tell me what {kind} {name} shared{on}."),
        format!("What does the {kind} that {name} shared{on} show?"),
        format!("Do you remember what {kind} {name} shared{on}?"),
    ];
    Some(Found::new(format!("What {kind} did {name} share{on}?"), format!("{name} shared {shared}."), shared, wordings))
}

/// The question of a span as one about the speaker; nothing where it cannot be turned.
pub(in crate::rollout::writer::answer_first) fn quoted_question(asked: &str, quoted: &Quoted) -> Option<String> {
    question_about(asked, &quoted.name, &quoted.text, false)
}

/// The answer to a model's question: the sentence as it was said.
pub(in crate::rollout::writer::answer_first) fn quoted_card(span: &str, quoted: &Quoted) -> String {
    let speech = Speech { name: quoted.name.clone(), text: quoted.text.clone(), shared: None, date: None };
    quote(&speech, span).unwrap_or_else(|| span.to_owned())
}
