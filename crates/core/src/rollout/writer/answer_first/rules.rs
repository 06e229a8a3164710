//! Rules that copy an answer out of a user turn and know which question it answers.

use super::pattern::{
    Pattern, capitalised, date, days, group, is_function_word, is_no_name, months, name, pattern, time, when,
};
use super::text::{cut, first_word, head, lower_first, second_person, second_person_within, sentences};
use super::verbs;

/// A card before it is reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) question: String,
    pub(super) answer: String,
    /// The answer's core, copied from the turn.
    pub(super) span: String,
    pub(super) wordings: Vec<String>,
}

impl Found {
    /// Wordings that repeat the question or each other are left out.
    pub(super) fn new<W: Into<String>>(
        question: impl Into<String>,
        answer: impl Into<String>,
        span: &str,
        wordings: impl IntoIterator<Item = W>,
    ) -> Self {
        let question = question.into();
        let mut seen = vec![question.to_lowercase()];
        let mut kept = Vec::new();
        for wording in wordings {
            let wording: String = wording.into();
            let low = wording.to_lowercase();
            if !seen.contains(&low) {
                seen.push(low);
                kept.push(wording);
            }
        }
        Self { question, answer: answer.into(), span: span.to_owned(), wordings: kept }
    }
}

pattern!(
    GREETING,
    r"^(?:Hi|Hello|Hey|Good \w+|Careful with [^,]+|Oh|Well|So|By the way|No|Yes)(?: there| by the way)?[,!]* (?=\w)"
);
pattern!(BY_THE_WAY, r" by the way\b,?");
pattern!(OWN_NAME, r"\b(?:[Mm]y name is|[Cc]all me|[Tt]his is) (", name!(), ")");
pattern!(I_AM_NAME, r"\bI(?:'m|’m| am) (", name!(), r")(?=,|$| and\b)");
pattern!(RELATION_NAME, r"\b(?:[Mm]y|[Oo]ur) ((?:[a-z][\w-]* )?[a-z][\w-]*),? (", name!(), ")");
pattern!(NO_RELATION, r"(?:leaves|starts|begins|called|named|says)$");
pattern!(RELATION_ADJECTIVE, r"^(?:old|little|big|dear|new|younger|older|elder|favou?rite) (?=\w)");
pattern!(
    CALLED,
    r"\b(?:[Mm]y|[Oo]ur) ((?:(?!(?:is|are|was)\b)[a-z][\w-]* ){0,2}(?!(?:is|are|was)\b)[a-z][\w-]*)(?: is|'s| was|,)? (?:called|named) (",
    name!(),
    ")"
);
pattern!(
    EVENT_WHEN,
    r"\b((?:[Mm]y|[Oo]ur|[Tt]he) )((?:(?!\b(?:is|are|was|leaves|starts|begins)\b)[\w'-]+ ){0,6}?[\w'-]+) (is|are|was|takes place|[a-z]+s) (",
    when!(),
    ")"
);
pattern!(HAVE_WHEN, r"\bI(?:'ve got| have| got) (?:an? |my )((?:[\w'-]+ ){0,3}?[\w'-]+) (", when!(), ")");
pattern!(DO_WHEN, r"\b(?:I|[Ww]e) (have to |must |need to |will )?((?:[\w'-]+ ){1,6}?)(", when!(), ")");
pattern!(POINT_IN_TIME, date!(), "|", time!(), "|", days!());
pattern!(TURN_AGE, r"^turn (?:\w+)$");
pattern!(STARTS_WHEN, "^", when!());
pattern!(HAS_DATE, date!());
pattern!(HAS_TIME, time!());
pattern!(STARTS_TIME, "^", time!());
pattern!(STARTS_PREPOSITION, "^(?:on|at|this|next) ");
pattern!(
    MY_IS,
    r"(?<!of )(?<!for )(?<!to )(?<!at )\b[Mm]y ((?:(?!(?:is|are|was)\b)[\w'-]+ ){0,6}?[\w'-]+) (?:is|are) (.+)$"
);
pattern!(STARTS_ING, r"^\w+ing\b");
pattern!(NUMBER_WORD, r"^number (?=\d)");
pattern!(IS_OR_ARE, r" (?:is|are) ");
pattern!(HAS_DIGIT, r"\d");
pattern!(ARTICLE_CAPITALISED, "^(?:an? |the )?", capitalised!());
pattern!(ONE_LOWER_WORD, r"^(?:an? )?[a-z-]+$");
pattern!(ADJECTIVE, r"^\w+(?:ed|ing|y|ful|ous|al|ive|sore|late|bad|good|great|fine|ill|sick|big|small|old|new)$");
pattern!(THE_OF_MY, r"\b[Tt]he ((?:[\w'-]+ ){0,3}[\w'-]+ (?:of|for|to|at) my (?:[\w'-]+ ){0,2}?[\w'-]+) is (.+)$");
pattern!(THE_IS, r"^[Tt]he ((?:[\w'-]+ ){0,3}?[\w'-]+) is (\S.*)$");
pattern!(STARTS_CAPITALISED, "^", capitalised!());
pattern!(OF_MY, r" (?:of|for|to|at) my ");
pattern!(
    FAVOURITE,
    r"^(.*?)(?:,| because)(?: (?:which|it|that|they|he|she|and))*(?:'s|’s| is| are| was|'re)?(?: still| also)* my (favou?rite [\w-]+(?: [\w-]+)?)"
);
pattern!(MY_FAVOURITE, r"\bmy favou?rite");
pattern!(NAME, name!());
pattern!(LEAD, r"^((?:In|On|At|Every|During|After|Before)\b[^,]*?),? (?=(?:I|we) )");
pattern!(CLAUSES, r"(?:, (?:so |but |and )?(?=I |I'm |we )| because (?=I |we )| and (?=I |I'm |we )|: |; )");
pattern!(FIRST_PERSON, r"^(?:I|We|we|I'm|I’m)\b");
pattern!(
    SUBJECT,
    "^((?:(?:The|A|An) (?:[a-z-]+ ){0,2})?(",
    name!(),
    ")) ((?:[a-z]+(?:s|ed)|broke|went|came|fell|made|gave|took|got|ran|died|won|lost|stole|bit|left|sent|told|bought|ate) [a-z].*)$"
);
pattern!(STARTS_TITLE, r"^(?:Mr|Mrs|Ms|Dr|Prof)\.");
pattern!(PREPOSITION_WITHIN, " (?:at|in|of|for|from|to) ");
pattern!(WHEN, when!());
pattern!(NUMBER, r"\b\d[\d,.:/-]*\d\b");

/// All cards the rules find in one user turn.
pub(super) fn rule_cards(turn: &str) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for sentence in sentences(turn) {
        let sentence = BY_THE_WAY.strip(&GREETING.strip(sentence));
        names(&sentence, &mut found);
        times(&sentence, &mut found);
        possessions(&sentence, &mut found);
        the_is(&sentence, &mut found);
        favourite(&sentence, &mut found);
        actions(&sentence, &mut found);
    }
    found
}

/// A span is used once and is short.
pub(super) fn add(found: &mut Vec<Found>, card: Found) {
    if !card.span.is_empty() && card.span.split_whitespace().count() <= 6 && found.iter().all(|f| f.span != card.span) {
        found.push(card);
    }
}

/// "My name is …", "My dog Biscuit …", "my dog is called Biscuit".
fn names(sentence: &str, found: &mut Vec<Found>) {
    if let Some(own) = OWN_NAME.captures(sentence).or_else(|| I_AM_NAME.captures(sentence)) {
        let name = group(&own, 1);
        if !is_no_name(first_word(name)) {
            let wordings = [
                "What's my name?",
                "Who am I?",
                "What am I called?",
                "Can you tell me my name?",
                "Which name do I go by?",
                "Do you remember my name?",
            ];
            add(found, Found::new("What is my name?", format!("Your name is {name}."), name, wordings));
        }
    }
    for captures in RELATION_NAME.captures_all(sentence) {
        let (relation, name) = (group(&captures, 1), group(&captures, 2));
        if relation.split(' ').any(is_function_word)
            || relation == "name"
            || NO_RELATION.is_match(relation)
            || is_no_name(first_word(name))
        {
            continue;
        }
        if relation.starts_with("favo") {
            add(found, name_of(relation, name));
        } else {
            add(found, name_of(&RELATION_ADJECTIVE.strip(relation), name));
        }
    }
    for captures in CALLED.captures_all(sentence) {
        add(found, name_of(group(&captures, 1), group(&captures, 2)));
    }
}

pub(super) fn name_of(relation: &str, name: &str) -> Found {
    let wordings = [
        format!("What is my {relation} called?"),
        format!("Who is my {relation}?"),
        format!("Tell me the name of my {relation}."),
        format!("Which name does my {relation} have?"),
        format!("Do you remember my {relation}'s name?"),
    ];
    Found::new(format!("What is my {relation}'s name?"), format!("Your {relation}'s name is {name}."), name, wordings)
}

/// "My exam is on May 3", "The concert starts at 8 pm", "I have a meeting on Monday", "I must be there at 8:25".
fn times(sentence: &str, found: &mut Vec<Found>) {
    if let Some(captures) = EVENT_WHEN.captures(sentence) {
        let (owner, event, verb) = (group(&captures, 1), group(&captures, 2).trim(), group(&captures, 3));
        let when = group(&captures, 4).trim_matches([' ', ',']);
        let mut card = when_is(event, when);
        if !matches!(verb, "is" | "are" | "was") {
            let base = match verb {
                "takes place" => "take place",
                _ if ["shes", "ches", "sses"].iter().any(|end| verb.ends_with(end)) => &verb[..verb.len() - 2],
                _ => verb.strip_suffix('s').unwrap_or(verb),
            };
            let ask = if HAS_TIME.is_match(when) { "What time" } else { "On which day" };
            card.question = format!("When does my {event} {base}?");
            card.answer = format!("Your {event} {verb} {when}.");
            card.wordings = vec![
                format!("{ask} does my {event} {base}?"),
                format!("When is my {event}?"),
                format!("Tell me when my {event} {verb}."),
                format!("{ask} is my {event}?"),
            ];
        }
        if owner.trim().eq_ignore_ascii_case("the") {
            let the = |text: &str| text.replace("my ", "the ").replace("Your ", "The ");
            card.question = the(&card.question);
            card.answer = the(&card.answer);
            card.wordings = card.wordings.iter().map(|w| w.replace("my ", "the ")).collect();
        }
        add(found, card);
    } else if let Some(captures) = HAVE_WHEN.captures(sentence) {
        add(found, when_is(group(&captures, 1), group(&captures, 2).trim_matches([' ', ','])));
    } else if let Some(captures) = DO_WHEN.captures(sentence) {
        let (auxiliary, action) = (group(&captures, 1).trim(), group(&captures, 2).trim());
        if !action.is_empty() && POINT_IN_TIME.is_match(group(&captures, 3)) {
            let when = group(&captures, 3).trim_matches([' ', ',']);
            add(found, when_do(auxiliary, action, when));
        }
    }
}

fn when_is(event: &str, when: &str) -> Found {
    let at = match when {
        when if STARTS_PREPOSITION.is_match(when) => when.to_owned(),
        when if STARTS_TIME.is_match(when) => format!("at {when}"),
        when => format!("on {when}"),
    };
    let dated = HAS_DATE.is_match(when);
    let wordings = [
        format!("What {} my {event}?", if dated { "is the date of" } else { "time is" }),
        format!("Which day is my {event}?"),
        format!("Tell me when my {event} is."),
        format!("{} is my {event}?", if dated { "On what date" } else { "At what time" }),
    ];
    Found::new(format!("When is my {event}?"), format!("Your {event} is {at}."), when, wordings)
}

fn when_do(auxiliary: &str, action: &str, when: &str) -> Found {
    if TURN_AGE.is_match(action) {
        return when_is("birthday", when);
    }
    let auxiliary = if auxiliary.is_empty() { String::new() } else { format!("{auxiliary} ") };
    let ask = if HAS_TIME.is_match(when) { "What time" } else { "On which date" };
    let wordings = [
        format!("{ask} do I {auxiliary}{action}?"),
        format!("Tell me when I {auxiliary}{action}."),
        format!("Which day do I {auxiliary}{action}?"),
    ];
    let answer = format!("You {auxiliary}{} {when}.", second_person_within(action));
    Found::new(format!("When do I {auxiliary}{action}?"), answer, when, wordings)
}

/// "My laptop is a ThinkPad", "The door code of my office is 7302".
fn possessions(sentence: &str, found: &mut Vec<Found>) {
    if let Some(captures) = MY_IS.captures(sentence) {
        let (thing, rest) = (group(&captures, 1), group(&captures, 2));
        if !STARTS_WHEN.is_match(rest) && thing != "name" && !STARTS_ING.is_match(rest) {
            let value = cut(rest);
            let thing = IS_OR_ARE.split(thing)[0];
            let fits = thing.starts_with("favo")
                || HAS_DIGIT.is_match(&value)
                || ARTICLE_CAPITALISED.is_match(&value)
                || (ONE_LOWER_WORD.is_match(&value) && !ADJECTIVE.is_match(&value));
            if fits {
                add(found, possessed(thing, &NUMBER_WORD.strip(&value)));
            }
        }
    }
    if let Some(captures) = THE_OF_MY.captures(sentence) {
        let (thing, rest) = (group(&captures, 1), group(&captures, 2));
        let parts = OF_MY.split(thing);
        if let (false, [part, whole, ..]) = (STARTS_WHEN.is_match(rest), parts.as_slice()) {
            let value = cut(rest);
            let wordings = [
                format!("What is my {whole} {part}?"),
                format!("Tell me the {thing}."),
                format!("Do you remember the {thing}?"),
                format!("What's the {part} for my {whole}?"),
            ];
            let answer = format!("The {} is {value}.", thing.replace(" my ", " your "));
            add(found, Found::new(format!("What is the {thing}?"), answer, &value, wordings));
        }
    }
}

/// "The wifi password is hunter22".
fn the_is(sentence: &str, found: &mut Vec<Found>) {
    let Some(captures) = THE_IS.captures(sentence) else { return };
    let (thing, rest) = (group(&captures, 1), group(&captures, 2));
    let value = cut(rest);
    let fits = HAS_DIGIT.is_match(&value) || STARTS_CAPITALISED.is_match(&value);
    if !fits || STARTS_WHEN.is_match(rest) || thing.split(' ').any(is_function_word) {
        return;
    }
    let wordings = [
        format!("What is my {thing}?"),
        format!("Tell me the {thing}."),
        format!("What's the {thing}?"),
        format!("Do you remember the {thing}?"),
    ];
    add(found, Found::new(format!("What is the {thing}?"), format!("The {thing} is {value}."), &value, wordings));
}

pub(super) fn possessed(thing: &str, value: &str) -> Found {
    let base = PREPOSITION_WITHIN.split(thing)[0];
    let wordings = if base.starts_with("favo") {
        let noun = base.split_once(' ').map_or("thing", |(_, noun)| noun);
        let other = if base.contains("favourite") {
            base.replace("favourite", "favorite")
        } else {
            base.replace("favorite", "favourite")
        };
        [
            format!("What's my {other}?"),
            format!("Which {noun} do I like best?"),
            format!("Tell me my {base}."),
            format!("Which {noun} is my favourite?"),
            format!("What {noun} do I love the most?"),
        ]
    } else {
        [
            format!("What's my {thing}?"),
            format!("Tell me my {thing}."),
            format!("Which {base} is mine?"),
            format!("Do you remember my {base}?"),
            format!("What is my {base}?"),
        ]
    };
    Found::new(format!("What is my {thing}?"), format!("Your {thing} is {value}."), value, wordings)
}

/// "We saw Portishead, still my favourite band".
fn favourite(sentence: &str, found: &mut Vec<Found>) {
    let Some(captures) = FAVOURITE.captures(sentence) else { return };
    if MY_FAVOURITE.is_match(group(&captures, 1)) {
        return;
    }
    let (before, kind) = (cut(group(&captures, 1)), cut(group(&captures, 2)));
    let named = NAME.find_all(&before).into_iter().rfind(|m| m.start() > 0 && !is_no_name(first_word(m.as_str())));
    let value = named.map_or_else(|| head(&before), |m| m.as_str());
    let single = kind.strip_suffix('s').filter(|s| !s.ends_with('s')).unwrap_or(&kind);
    let mut card = possessed(single, value);
    if single != kind {
        card.answer = format!("Your {kind} are {value}.");
    }
    add(found, card);
}

/// "I work as a bookbinder", clause by clause.
fn actions(sentence: &str, found: &mut Vec<Found>) {
    let lead = LEAD.captures(sentence);
    let rest = lead.as_ref().and_then(|c| c.get(0)).map_or(sentence, |m| &sentence[m.end()..]);
    let lead = lead.as_ref().map(|c| lower_first(group(c, 1))).unwrap_or_default();
    for clause in CLAUSES.split(rest) {
        let clause = clause.trim_matches([' ', ',']);
        if !FIRST_PERSON.is_match(clause) {
            continue;
        }
        if let Some(card) = verbs::card(clause, &lead)
            && !found.iter().any(|f| f.span.contains(&card.span) || card.span.contains(&f.span))
        {
            add(found, card);
        }
    }
}

/// Capitalised words that begin a sentence without being its subject.
const NO_SUBJECT: [&str; 26] = [
    "what",
    "where",
    "when",
    "who",
    "how",
    "why",
    "nobody",
    "somebody",
    "everybody",
    "everyone",
    "something",
    "nothing",
    "there",
    "hi",
    "hello",
    "hey",
    "good",
    "morning",
    "thanks",
    "thank",
    "yes",
    "no",
    "oh",
    "well",
    "please",
    "sorry",
];

/// For turns no other rule explains: "The old Skoda broke down again" answers "What broke down again?".
pub(super) fn subject_card(turn: &str) -> Option<Found> {
    sentences(turn).into_iter().find_map(|sentence| {
        let clause = cut(sentence);
        let captures = SUBJECT.captures(&clause)?;
        let (subject, name, rest) = (group(&captures, 1), group(&captures, 2), group(&captures, 3));
        let first = first_word(name).to_lowercase();
        if is_function_word(&first) || NO_SUBJECT.contains(&first.as_str()) || is_no_name(name) {
            return None;
        }
        let who = if STARTS_TITLE.is_match(name) || name.contains(' ') { "Who" } else { "What" };
        let asked = who.to_lowercase();
        let wordings = [
            format!("Tell me {asked} {rest}."),
            format!("Do you remember {asked} {rest}?"),
            format!("{who} was it that {rest}?"),
        ];
        let answer = format!("{} {}.", second_person(subject), second_person_within(rest));
        Some(Found::new(format!("{who} {rest}?"), answer, name, wordings))
    })
}

/// Spans worth a card that no rule explained: names not at a sentence's start, points in time, numbers.
pub(super) fn loose_spans(turn: &str, cards: &[Found]) -> Vec<String> {
    let mut spans: Vec<String> = Vec::new();
    for sentence in sentences(turn) {
        for found in NAME.find_all(sentence) {
            let first = first_word(found.as_str());
            let starts = found.start() == 0 && !found.as_str().contains(' ');
            let greeting = matches!(first.to_lowercase().as_str(), "hi" | "hello" | "hey" | "good");
            if !starts && !greeting && !is_no_name(first) && !is_function_word(first) {
                spans.push(found.as_str().to_owned());
            }
        }
        let rest: [&Pattern; 2] = [&WHEN, &NUMBER];
        spans.extend(rest.iter().flat_map(|p| p.find_all(sentence)).map(|m| m.as_str().to_owned()));
    }
    let mut unused: Vec<String> = Vec::new();
    for span in spans {
        if !unused.contains(&span) && !cards.iter().any(|c| c.answer.contains(&span)) {
            unused.push(span);
        }
    }
    unused
}

/// Whether a span is a point in time.
pub(super) fn is_time(span: &str) -> bool {
    STARTS_WHEN.is_match(span)
}

/// The span without the preposition of a point in time.
pub(super) fn core_of(span: &str) -> String {
    STARTS_PREPOSITION.strip(span)
}
