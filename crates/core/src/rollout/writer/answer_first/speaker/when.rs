//! "I adopted a dog yesterday": cards about when something was done, in words that count from the day they were said.
//!
//! Conversations hardly ever name dates. "Yesterday" says nothing later, so the answer carries the session's date where the
//! turn has one. No date is computed: what stands in an answer stands in the context.

use super::super::pattern::{days, group, months, pattern};
use super::super::rules::Found;
use super::super::text::{cut, sentences};
use super::Speech;
use super::third_person::{addresses, clause};

macro_rules! relative {
    () => {
        concat!(
            r"(?:(?:yesterday|today|tomorrow)(?: (?:morning|afternoon|evening|night))?|tonight|last night|the other day",
            "|(?:this past|this|last|next) (?:week|weekend|month|year|spring|summer|fall|autumn|winter|",
            days!(),
            "|Mon|Tues?|Wed|Thurs?|Fri|Sat|Sun|",
            months!(),
            r")|this (?:morning|afternoon|evening)",
            r"|(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|\d{1,2}|a few|a couple(?: of)?|several|some|many) (?:days?|weeks?|weekends?|months?|years?) (?:ago|back)",
            r"|(?:back )?in (?:(?:",
            months!(),
            r")(?: \d{4})?|(?:19|20)\d\d))"
        )
    };
}

pattern!(RELATIVE, r"(?i)\b", relative!(), r"\b");
pattern!(
    AFTER,
    r"^(?:I|[Ww]e)((?:['’](?:m|re|ve|ll))?) (.{3,120}?),? (?:(?:just|only|on|for|from) )?((?:(?:about|almost|around|over|nearly) )?(?i:",
    relative!(),
    r"))\b(.*)$"
);
pattern!(BEFORE, r"^((?i:", relative!(), r")),? (?:I|we)((?:['’](?:m|re|ve|ll))?) (.{3,160})$");
pattern!(STARTS, r"(?:^|, (?:so |but |and )?|(?: and| but| because| so|:|;| -| –| —) )(?=(?:I|we|We)\b)");
pattern!(PAST, r"(?i)\b(?:yesterday|last (?!but)\w+|ago|back in|the other day)\b");
pattern!(
    OPEN_END,
    r"(?i)\b(?:a|an|the|my|our|of|to|for|with|from|in|at|on|by|and|or|was|is|am|were|that|than|since|until|till|every|each|it)$"
);
// States and second predicates have another point in time than the one behind them.
pattern!(
    WRONG_TENSE,
    r"^am (?!(?:\w+ly |just |also |still )*\w+ing\b)|\bremembering\b|\band (?:had|was|were|am|have|got|went|it)\b"
);
pattern!(SHORT_OBJECT, r"^\S+(?: (?:it|that|this|them|so|here|there))?$");

/// Whether a sentence tells of the past for certain.
pub(super) fn is_past(sentence: &str) -> bool {
    PAST.is_match(sentence)
}

/// Behind an answer whose point in time counts from the day it was said on, that day.
pub(super) fn said_on(told: &str, speech: &Speech) -> String {
    match &speech.date {
        Some(date) if RELATIVE.is_match(told) => format!(" (said on {date})"),
        _ => String::new(),
    }
}

/// The cards of all sentences with a relative point in time.
pub(super) fn when_cards(text: &str, speech: &Speech) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for sentence in sentences(text).into_iter().filter(|s| RELATIVE.is_match(s)) {
        let sentence = super::cards::without_lead(sentence);
        if let Some(card) = card(&sentence, speech)
            && found.iter().all(|f| f.question != card.question)
        {
            found.push(card);
        }
    }
    found
}

fn card(sentence: &str, speech: &Speech) -> Option<Found> {
    if let Some(captures) = BEFORE.captures(sentence) {
        let (span, verb, action) = (group(&captures, 1), group(&captures, 2), group(&captures, 3));
        return of_parts(verb, &cut(action), span, speech);
    }
    // From the last clause on: its subject is the nearest to the point in time.
    STARTS.find_all(sentence).into_iter().rev().find_map(|start| {
        let captures = AFTER.captures(&sentence[start.end()..])?;
        let (verb, action, span) = (group(&captures, 1), group(&captures, 2), group(&captures, 3));
        (cut(action) == action).then(|| of_parts(verb, action, span, speech)).flatten()
    })
}

/// `verb` is what "I" has contracted with it, `span` the point in time as it was said.
fn of_parts(verb: &str, action: &str, span: &str, speech: &Speech) -> Option<Found> {
    let short = action.split(' ').count() < 2 || SHORT_OBJECT.is_match(action);
    if short
        || action.split(' ').count() > 14
        || OPEN_END.is_match(action)
        || RELATIVE.is_match(action)
        || addresses(action)
    {
        return None;
    }
    let verb = match verb.get(verb.len().saturating_sub(2)..).unwrap_or_default() {
        "" => "",
        "'m" | "re" => "am ",
        "ve" => "have ",
        "ll" => "will ",
        _ if verb.ends_with('m') => "am ",
        _ => return None,
    };
    let low = span.to_lowercase();
    if WRONG_TENSE.is_match(&format!("{verb}{action}"))
        || (verb == "will " || action.starts_with("will ")) && is_past(&low)
    {
        return None;
    }
    let name = &speech.name;
    let (asked, told) = clause(&format!("{verb}{action}"), name, is_past(&low))?;
    // "Last week" beside a present form: a past form that is not known as one.
    if asked.starts_with("does ") && is_past(&low) {
        return None;
    }
    let question = format!("When {asked}?");
    let plainly = told_plainly(&told);
    let wordings = [
        format!("Do you remember when {plainly}?"),
        format!("On which day {asked}?"),
        format!("Tell me when {plainly}."),
        format!("What is the date when {plainly}?"),
    ];
    let at = if span.starts_with(char::is_uppercase) && !low.starts_with(|c: char| c.is_ascii_digit()) {
        lower_start(span)
    } else {
        span.to_owned()
    };
    let said_on = said_on(span, speech);
    Some(Found::new(question, format!("{plainly} {at}{said_on}."), span, wordings))
}

/// Without the adverbs that a question does better without.
fn told_plainly(told: &str) -> String {
    told.split(' ')
        .filter(|word| !["just", "also", "even", "finally", "actually", "recently", "already"].contains(word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn lower_start(span: &str) -> String {
    let mut chars = span.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
