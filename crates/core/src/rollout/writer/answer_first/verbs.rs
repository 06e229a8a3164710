//! Rules for "I VERB …" and "I am …".

use super::pattern::{capitalised, date, days, group, is_function_word, months, pattern, prepositions, time, when};
use super::rules::Found;
use super::text::{first_word, head, is_lower, noun_phrase, second_person_within, strip_article};

pattern!(
    AM_DOING,
    r"^(?:I|[Ww]e)(?:'m|’m| am|'re| are) (?:(?:so|very|really|also|still|just|currently|now) )*(\w+ing|allergic|afraid|scared|proud|tired|fond|interested|engaged|married|related|addicted|named|called|known|based|from)\b ?(.*)$"
);
pattern!(PERSON, r"^(?:(?:Mr|Mrs|Ms|Dr|Prof)\. |", capitalised!(), " ", capitalised!(), "$)");
pattern!(BORN, r"^(?:I|[Ww]e) (?:was|were) (born|raised|married) (in|at|on) (.+)$");
pattern!(AM_A, r"^(?:I'm|I’m|I am) (an?) (.+)$");
pattern!(
    OCCUPATION,
    r"(?:er|or|ist|ian|ant|smith|man|woman|ess|eon|ect|eer|nurse|chef|cook|pilot|guide|clerk|judge|coach|vet|monk|baker)$"
);
pattern!(
    VERB,
    r"^(?:I|[Ww]e) ((?:(?:can't|cannot|can|don't|do not|must|should|will|would|could|have to|need to|want to|never|always|usually|often|really|also|still|just|only) )*)(\w+) ?(.*)$"
);
pattern!(PREPOSITION, "^(", prepositions!(), ") (.+)$");
pattern!(PARTICLE, "^((?:up|down|out|over|back|off) )?(", prepositions!(), ") (.+)$");
pattern!(ARTICLE, "^an? ");
pattern!(STARTS_WHEN, "^", when!());
pattern!(ONLY_WHEN, "^", when!(), "$");
pattern!(STRETCH_OF_TIME, "^(?:every|each|all|last|next|this) ");
pattern!(CAPITALISED, capitalised!());

/// Verbs whose place is a place.
const PLACE_VERBS: [&str; 11] =
    ["live", "lived", "grew", "moved", "grow", "reside", "stay", "stayed", "born", "settled", "based"];
/// Verbs that report, wish or thank rather than tell.
const REPORTING: [&str; 17] = [
    "think", "know", "guess", "hope", "feel", "mean", "believe", "keep", "need", "want", "got", "said", "told", "turn",
    "thank", "wish", "wonder",
];
/// Past forms that do not end in "ed", and some that do, with their base.
const IRREGULAR: [(&str, &str); 24] = [
    ("grew", "grow"),
    ("went", "go"),
    ("saw", "see"),
    ("bought", "buy"),
    ("rode", "ride"),
    ("drove", "drive"),
    ("ran", "run"),
    ("wrote", "write"),
    ("ate", "eat"),
    ("drank", "drink"),
    ("met", "meet"),
    ("left", "leave"),
    ("came", "come"),
    ("took", "take"),
    ("won", "win"),
    ("lost", "lose"),
    ("found", "find"),
    ("made", "make"),
    ("moved", "move"),
    ("lived", "live"),
    ("worked", "work"),
    ("studied", "study"),
    ("watched", "watch"),
    ("settled", "settle"),
];

const JOB: [&str; 5] = [
    "What is my profession?",
    "What do I do for a living?",
    "What do I work as?",
    "Tell me my occupation.",
    "What do I do for work?",
];

/// The card of one clause in the first person; `lead` is what stood before it ("on weekends").
pub(super) fn card(clause: &str, lead: &str) -> Option<Found> {
    if let Some(captures) = AM_DOING.captures(clause) {
        return am_doing(group(&captures, 1), group(&captures, 2));
    }
    if let Some(captures) = BORN.captures(clause)
        && !STARTS_WHEN.is_match(group(&captures, 3))
    {
        return born(group(&captures, 1), group(&captures, 2), group(&captures, 3));
    }
    if let Some(captures) = AM_A.captures(clause) {
        return am_a(group(&captures, 1), group(&captures, 2));
    }
    let captures = VERB.captures(clause)?;
    let (auxiliary, verb, rest) = (group(&captures, 1).trim(), group(&captures, 2), group(&captures, 3));
    if verb == "have" && auxiliary.is_empty() {
        return have(rest);
    }
    let low = verb.to_lowercase();
    let reports = verb != "do" && (is_function_word(verb) || REPORTING.contains(&low.as_str()));
    if reports || verb.ends_with("ly") {
        return None;
    }
    act(auxiliary, verb, rest, lead)
}

/// "I'm learning Welsh", "I am allergic to hazelnuts", "I'm from Peru".
fn am_doing(state: &str, rest: &str) -> Option<Found> {
    let captures = PREPOSITION.captures(rest);
    let preposition = captures.as_ref().map(|c| format!(" {}", group(c, 1))).unwrap_or_default();
    let object = noun_phrase(captures.as_ref().map_or(rest, |c| group(c, 2)));
    if object.is_empty() {
        return None;
    }
    let answer = format!("You are {state}{preposition} {object}.");
    if matches!(state, "from" | "based") {
        let question = if state == "from" { "Where am I from?" } else { "Where am I based?" };
        return Some(Found::new(question, answer, &object, ["Which place do I come from?", "Where do I come from?"]));
    }
    if is_function_word(&object) {
        return None;
    }
    if PERSON.is_match(&object)
        && matches!(state, "meeting" | "seeing" | "visiting" | "marrying" | "dating" | "calling")
    {
        let wordings = [format!("Whom am I {state}{preposition}?"), format!("Tell me who I am {state}{preposition}.")];
        return Some(Found::new(format!("Who am I {state}{preposition}?"), answer, &object, wordings));
    }
    let mut wordings = vec![
        format!("Tell me what I am {state}{preposition}."),
        format!("Do you remember what I'm {state}{preposition}?"),
    ];
    // "training for the Rotterdam marathon": also "Which marathon am I training for?"
    let kind = head(&object);
    if strip_article(&object).contains(' ') && is_lower(kind) {
        wordings.insert(0, format!("Which {kind} am I {state}{preposition}?"));
        wordings.insert(1, format!("What {kind} am I {state}{preposition}?"));
    }
    if state == "allergic" {
        wordings = [
            "What is my allergy?",
            "Which food am I allergic to?",
            "What allergy do I have?",
            "Tell me what I'm allergic to.",
            "What must I not eat?",
        ]
        .map(str::to_owned)
        .to_vec();
    }
    Some(Found::new(format!("What am I {state}{preposition}?"), answer, strip_article(&object), wordings))
}

/// "I was born in Lisbon".
fn born(state: &str, preposition: &str, rest: &str) -> Option<Found> {
    let place = noun_phrase(rest);
    if place.is_empty() {
        return None;
    }
    let wordings = [
        format!("In which place was I {state}?"),
        format!("Tell me where I was {state}."),
        format!("Which town was I {state} in?"),
    ];
    let answer = format!("You were {state} {preposition} {place}.");
    Some(Found::new(format!("Where was I {state}?"), answer, &place, wordings))
}

/// "I'm a glassblower", "I'm a vegetarian".
fn am_a(article: &str, rest: &str) -> Option<Found> {
    let object = noun_phrase(rest);
    if object.is_empty() {
        return None;
    }
    let answer = format!("You are {article} {object}.");
    if OCCUPATION.is_match(head(&object)) && !object.ends_with("arian") {
        return Some(Found::new("What is my job?", answer, &object, JOB));
    }
    Some(Found::new("What am I?", answer, &object, ["What do I call myself?", "Tell me what I am."]))
}

/// "I have a peanut allergy".
fn have(rest: &str) -> Option<Found> {
    let object = noun_phrase(rest);
    let words: Vec<&str> = strip_article(&object).split(' ').collect();
    let (kind, which) = words.split_last()?;
    let after = rest.get(object.len()..).unwrap_or_default().trim();
    if !ARTICLE.is_match(&object) || which.is_empty() || !is_lower(kind) || STARTS_WHEN.is_match(after) {
        return None;
    }
    let wordings = [
        format!("Which {kind} do I have?"),
        format!("What kind of {kind} do I have?"),
        format!("Tell me which {kind} I have."),
        format!("What is my {kind}?"),
    ];
    Some(Found::new(format!("What {kind} do I have?"), format!("You have {object}."), &which.join(" "), wordings))
}

/// "I ride a red Bianchi", "I grew up in Uruguay", "I can't stand olives".
fn act(auxiliary: &str, verb: &str, rest: &str, lead: &str) -> Option<Found> {
    let (base, past) = base_form(verb);
    let does = if past { "did" } else { "do" };
    let negation = if auxiliary.contains("don't") || auxiliary.contains("do not") {
        Some("don't")
    } else {
        (auxiliary.contains("can") && auxiliary.contains("'t")).then_some("can't")
    };
    let captures = PARTICLE.captures(rest);
    // The particle keeps its space ("grow up in").
    let particle = captures.as_ref().map_or("", |c| group(c, 1));
    let preposition = captures.as_ref().map_or("", |c| group(c, 2));
    let object = noun_phrase(captures.as_ref().map_or(rest, |c| group(c, 3)));
    let bare = strip_article(&object).to_lowercase();
    if object.chars().count() < 3 || is_function_word(&bare) || matches!(bare.as_str(), "it" | "them" | "him" | "her") {
        return None;
    }
    if matches!(preposition, "in" | "at" | "to" | "on")
        && CAPITALISED.is_match(&object)
        && (PLACE_VERBS.contains(&verb) || preposition == "in")
    {
        return Some(place(verb, &base, does, particle, preposition, &object));
    }
    if verb == "work" && preposition == "as" {
        let mut wordings = JOB;
        wordings.swap(0, 2);
        wordings.swap(1, 2);
        let answer = format!("You work as {object}.");
        return Some(Found::new("What is my job?", answer, strip_article(&object), wordings));
    }
    if verb == "work" && matches!(preposition, "for" | "at") {
        let wordings =
            ["Which company do I work for?", "Where do I work?", "Who is my employer?", "Tell me where I work."];
        let answer = format!("You work {preposition} {object}.");
        return Some(Found::new(format!("Who do I work {preposition}?"), answer, &object, wordings));
    }
    if matches!(preposition, "on" | "in" | "at" | "by" | "from")
        || ONLY_WHEN.is_match(&object)
        || STRETCH_OF_TIME.is_match(&object)
    {
        return None;
    }
    let after = if preposition.is_empty() { String::new() } else { format!(" {particle}{preposition}") };
    let lead = if lead.is_empty() { String::new() } else { format!(" {lead}") };
    let told = match first_word(&object).to_lowercase().as_str() {
        "my" | "our" => second_person_within(&object),
        _ => object.clone(),
    };
    let span = strip_article(&object);
    if let Some(negation) = negation {
        let wordings = [
            format!("Tell me what I {negation} {base}{after}."),
            format!("What is it that I {negation} {base}{after}?"),
        ];
        let answer = format!("You {negation} {verb}{after} {told}.");
        return Some(Found::new(format!("What {negation} I {base}{after}?"), answer, span, wordings));
    }
    let mut wordings = vec![
        format!("Tell me what I {verb}{after}{lead}."),
        format!("Do you remember what I {verb}{after}{lead}?"),
        format!("What is it that I {verb}{after}{lead}?"),
    ];
    special_wordings(verb, &object, &mut wordings);
    let question = format!("What {does} I {base}{after}{lead}?");
    Some(Found::new(question, format!("You {verb}{after} {told}."), span, wordings))
}

fn place(verb: &str, base: &str, does: &str, particle: &str, preposition: &str, object: &str) -> Found {
    let to = if preposition == "to" { " to" } else { "" };
    let asked = format!("{base} {particle}");
    let told = format!("{verb} {particle}");
    let mut question = format!("Where {does} I {}{to}?", asked.trim_end());
    let mut wordings = vec![
        format!("Which place {does} I {asked}{preposition}?"),
        format!("Tell me where I {}{to}.", told.trim_end()),
        format!("What is the name of the place where I {}?", told.trim_end()),
    ];
    if matches!(verb, "live" | "lived" | "moved") {
        wordings = [
            "Which city do I live in?",
            "Where is my home?",
            "What city do I live in?",
            "Tell me my home town.",
            "What town do I live in?",
        ]
        .map(str::to_owned)
        .to_vec();
        if verb == "live" {
            question = "Where do I live?".to_owned();
        }
    }
    Found::new(question, format!("You {told}{preposition} {object}."), object, wordings)
}

/// Wordings that fit one verb only come first.
fn special_wordings(verb: &str, object: &str, wordings: &mut Vec<String>) {
    let (special, kept): (&[&str], usize) = match verb {
        "play" | "practise" | "practice" if object.starts_with("the ") => (
            &[
                "What instrument do I play?",
                "Which instrument do I play?",
                "What musical instrument do I play?",
                "Tell me the instrument I play.",
            ],
            1,
        ),
        "drive" => (&["What car do I drive?", "Which car do I have?", "What kind of car is mine?"], 1),
        "ride" => (&["What bike do I have?", "Which one do I ride?"], wordings.len()),
        "learn" | "study" | "speak" => {
            wordings.push(format!("Which subject do I {verb}?"));
            return;
        }
        _ => return,
    };
    wordings.truncate(kept);
    wordings.splice(0..0, special.iter().map(|&w| w.to_owned()));
}

/// The base form of a verb, and whether it stood in the past.
fn base_form(verb: &str) -> (String, bool) {
    let stem = verb.strip_suffix("ed");
    if let Some(stem) = verb.strip_suffix("ied") {
        return (format!("{stem}y"), true);
    }
    let listed = IRREGULAR.iter().find(|(past, _)| *past == verb);
    if let Some((_, base)) = listed {
        return ((*base).to_owned(), true);
    }
    let Some(stem) = stem else { return (verb.to_owned(), false) };
    let mut last = stem.chars().rev();
    match (last.next(), last.next()) {
        (Some('v') | None, _) => (format!("{stem}e"), true),
        (Some(a), Some(b)) if a == b && "bdgmnprt".contains(a) && stem.chars().count() > 3 => {
            (stem[..stem.len() - 1].to_owned(), true)
        }
        _ => (stem.to_owned(), true),
    }
}
