//! The whole clause behind a card about what somebody does.
//!
//! The rules for the second person answer with a short noun group and leave auxiliaries out, which chats punish: "we should
//! plan a session" is no "Ann plans a session", and "my job as a banker" no "job as". Behind a name the answer is the
//! clause as it was said, and a card whose clause does not bear its question out is none.

use super::super::pattern::{group, is_function_word, pattern};
use super::super::text::cut;

pattern!(SUBJECT, r"\b(?:I|[Ww]e)((?:['’](?:m|re|ve|ll|d))?) ");
pattern!(
    OPEN_END,
    r"(?i)\b(?:a|an|the|my|our|of|to|for|with|from|as|like|into|and|or|was|is|am|were|than|even|about|another|some|gotta|not)$"
);
pattern!(
    UNREAL,
    r"^(?:(?:\w+ly|just|also|always|never|still|even|really) )*(?:can|could|will|would|should|must|might|may|shall|cannot|do|did)\b(?!['’])"
);
pattern!(NEGATED, r"^(?:(?:\w+ly|just|also|still|even) )*(\w+n['’]t)\b");
pattern!(
    LONG_AUXILIARY,
    r"^(?:(?:\w+ly|just|also|always|never|still|even) )*(have|need|want|got|had|hope|used|wanted|needed) to\b"
);
pattern!(
    NO_OBJECT,
    r"(?i)\b(?:stay|feel|get|go|look|seem|sound|keep|be|do|even|put|figure|come|turn|become|live|wrap|work|run|help|let|end|know|sit|hang|head|give|picture|bond|use|think)(?:ing|ting|ning|ping)?[?.]$"
);
pattern!(NO_OBJECT_E, r"(?i)\b(?:figuring|coming|becoming|living|giving|being|having|using)[?.]$");
pattern!(PARTICLE, r"^(?:\S+ ){1,3}?(up|out|together|into|off|back|down|over|away|around|through|along)\b");
pattern!(TO_WHAT, r" to (\S+)");
pattern!(ASKS_TO, r" to([?.])$");
pattern!(
    NO_INFINITIVE,
    "^(?:school|work|bed|church|college|town|therapy|university|class|yoga|everyone|everybody|people|others|him|places|home)$"
);

/// The words behind "I" in the clause that has a span, with its contraction written out.
pub(super) fn action(sentence: &str, span: &str) -> Option<String> {
    let at = sentence.find(span)?;
    let subject = SUBJECT.captures_all(&sentence[..at]).pop()?;
    let verb = match group(&subject, 1).chars().rev().take(2).collect::<String>().as_str() {
        "" => "",
        "m'" | "m’" | "er" => "am ",
        "ev" => "have ",
        _ => return None,
    };
    let end = subject.get(0)?.end();
    let clause = cut(&sentence[end..]);
    let said = clause.contains(span)
        && !OPEN_END.is_match(&clause)
        && !clause.contains(" -")
        && clause.split(' ').count() <= 24;
    // A quotation that lost one of its marks loses the other.
    let clause = if clause.matches('"').count().is_multiple_of(2) { clause } else { clause.replace('"', "") };
    said.then(|| format!("{verb}{clause}"))
}

/// The question of an action as English asks it, where the action answers it.
pub(super) fn asked_of(asked: &str, action: &str) -> Option<String> {
    let has = |word: &str| asked.split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '’')).any(|w| w == word);
    let negated = NEGATED.captures(action).is_some_and(|captures| !has(group(&captures, 1)));
    let auxiliary = LONG_AUXILIARY.captures(action).is_some_and(|captures| {
        let word = group(&captures, 1);
        !has(word.strip_suffix("ed").unwrap_or(word)) && !has(word) && !has("us")
    });
    let particle =
        PARTICLE.captures(action).is_some_and(|captures| asked.starts_with("What") && !has(group(&captures, 1)));
    if negated || auxiliary || particle || UNREAL.is_match(action) {
        return None;
    }
    Some(to_do(asked, action))
}

/// Whether a question asks for the object of a verb that has none: "What is Ann staying?", of "I'm staying calm".
pub(super) fn lacks_object(question: &str) -> bool {
    question.starts_with("What ") && (NO_OBJECT.is_match(question) || NO_OBJECT_E.is_match(question))
}

/// "What did I want to?" asks for a verb: "What did I want to do?".
pub(super) fn to_do(asked: &str, action: &str) -> String {
    let what = TO_WHAT.captures(action);
    let next = what.as_ref().map(|captures| group(captures, 1)).unwrap_or_default();
    let infinitive = next.starts_with(char::is_lowercase)
        && !is_function_word(next)
        && !NO_INFINITIVE.is_match(next)
        && !asked.contains(" go to")
        || matches!(next, "be" | "have" | "do");
    match ASKS_TO.captures(asked) {
        Some(end) if infinitive => format!("{} do{}", &asked[..asked.len() - 1], group(&end, 1)),
        _ => asked.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clause_behind_a_span_is_whole() {
        let said = |sentence, span| action(sentence, span);
        assert_eq!(said("I lost my job as a baker, you know", "job as").as_deref(), Some("lost my job as a baker"));
        assert_eq!(
            said("We're turning the shed into a studio", "shed").as_deref(),
            Some("am turning the shed into a studio")
        );
        assert_eq!(said("I've read \"Emma", "Emma").as_deref(), Some("have read Emma"));
        assert_eq!(said("I'd love a dog", "dog"), None);
        assert_eq!(said("I want a place like", "place"), None);
    }

    #[test]
    fn a_question_must_be_borne_out() {
        assert_eq!(asked_of("What do I plan?", "should plan a party"), None);
        assert_eq!(asked_of("What did I win?", "won't give up"), None);
        assert_eq!(asked_of("What can't I stand?", "can't stand olives").as_deref(), Some("What can't I stand?"));
        assert_eq!(asked_of("What do I leave?", "have to leave town"), None);
        assert!(lacks_object("What is Ann staying?") && lacks_object("What did Ann feel?"));
        assert!(!lacks_object("Where does Ann live?") && !lacks_object("What is Ann reading?"));
        assert_eq!(asked_of("What am I putting?", "am putting together a show"), None);
        assert_eq!(
            asked_of("What am I trying to?", "am trying to bake bread").as_deref(),
            Some("What am I trying to do?")
        );
        assert_eq!(asked_of("What did I go to?", "went to a fair").as_deref(), Some("What did I go to?"));
    }
}
