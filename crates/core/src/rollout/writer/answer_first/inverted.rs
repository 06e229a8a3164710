//! Rules for statements whose answer stands before what it answers: "Applejack, my horse", "burgundy is my favourite
//! colour", "we named our son Rasmus", "1040 euros a month goes on my rent". They are tried where
//! [`rule_cards`](super::rules::rule_cards) finds nothing.

use super::pattern::{capitalised, group, is_function_word, is_no_name, name, pattern};
use super::rules::{Found, add, name_of, possessed};
use super::text::{cut, first_word, second_person_within, sentences};

/// Words of a relation: "horse", "driving instructor".
macro_rules! relation {
    () => {
        r"((?:[a-z][\w-]* )?[a-z][\w-]*)"
    };
}

pattern!(NAME_MY, r"\b(", name!(), r"(?: \d[\w-]*)?), (?:my|our) ", relation!(), r"(?=[,;:]|$)");
pattern!(
    NAME_THE,
    r"\b(",
    name!(),
    r"(?: \d[\w-]*)?), the ",
    relation!(),
    r" (?:that |which )?((?:I|we) [^,;:]{2,40})(?=[,;:]|$)"
);
pattern!(NAMED_OUR, r"\b(?:named|called|christened) (?:my|our) ", relation!(), " (", name!(), ")");
pattern!(A_CALLED, r"\b(?:an?|the|my|our) ", relation!(), r" (?:called|named) (", name!(), ")");
pattern!(IS_MY_FAVOURITE, r"(?:^|[:,;] )([\w' -]{2,40}?) (?:is|are) my (favou?rite [\w-]+(?: [\w-]+)?)");
pattern!(WHAT_I, r"\bwhat ((?:I|we) (?:\w+ ){0,3}\w+) (?:is|are) (.+)$");
pattern!(THE_I, r"\bthe ([a-z]+) ((?:I|we) \w+(?: (?:best|most|least))?) (?:is|are) (.+)$");
pattern!(
    GOES_ON,
    r"(\d[\d.,]* (?:euros?|dollars?|pounds?|francs?|crowns?)(?: (?:a|each|every|per) \w+)?) (?:goes|go|went) (?:straight )?(?:on|to|towards|for) (?:my|our|the) ([a-z]+)"
);
pattern!(
    COST_ME,
    r"\b(?:[Aa]n?|[Tt]he|[Mm]y|[Oo]ur) ((?:[\w-]+ ){0,4}?[\w-]+) (?:cost|costs) (?:me|us) (\d[\d.,]* (?:euros?|dollars?|pounds?|francs?|crowns?))"
);
pattern!(MY_IS_TO, r"\b(?:[Mm]y|[Oo]ur) ", relation!(), r" (is|are) ([a-z]+) (to|of|about|with|from) (.+)$");
pattern!(STARTS_CAPITALISED, "^", capitalised!());

/// The cards of one turn.
pub(super) fn inverted_cards(turn: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for sentence in sentences(turn) {
        names(sentence, &mut found);
        values(sentence, &mut found);
        amounts(sentence, &mut found);
    }
    found
}

fn names(sentence: &str, found: &mut Vec<Found>) {
    let is_name = |name: &str| !is_no_name(first_word(name)) && !is_function_word(first_word(name));
    for captures in NAME_MY.captures_all(sentence) {
        let (name, relation) = (group(&captures, 1), group(&captures, 2));
        // "However, my dear" begins like one.
        let begins = captures.get(1).is_some_and(|m| m.start() == 0) && !name.contains(' ');
        if !begins && is_name(name) && !relation.split(' ').any(is_function_word) {
            add(found, name_of(relation, name));
        }
    }
    for captures in NAME_THE.captures_all(sentence) {
        let (name, relation, clause) = (group(&captures, 1), group(&captures, 2), group(&captures, 3));
        if is_name(name) && !relation.split(' ').any(is_function_word) {
            let wordings = [
                format!("What is the {relation} {clause} called?"),
                format!("Which {relation} is it that {clause}?"),
                format!("Tell me the name of the {relation}."),
                format!("What is my {relation} called?"),
            ];
            let question = format!("What is the name of the {relation} {clause}?");
            let answer = format!("The {relation} {} is {name}.", second_person_within(clause));
            add(found, Found::new(question, answer, name, wordings));
        }
    }
    if let Some(captures) = NAMED_OUR.captures(sentence) {
        add(found, name_of(group(&captures, 1), group(&captures, 2)));
    } else if let Some(captures) = A_CALLED.captures(sentence) {
        let (thing, name) = (group(&captures, 1), group(&captures, 2));
        if !thing.split(' ').any(is_function_word) {
            let wordings = [
                format!("What is my {thing} called?"),
                format!("What is the name of the {thing}?"),
                format!("Which {thing} did I mention?"),
                format!("Tell me the name of my {thing}."),
            ];
            let question = format!("What is the {thing} called?");
            add(found, Found::new(question, format!("The {thing} is called {name}."), name, wordings));
        }
    }
}

fn values(sentence: &str, found: &mut Vec<Found>) {
    if let Some(captures) = IS_MY_FAVOURITE.captures(sentence) {
        let (value, kind) = (group(&captures, 1).trim(), cut(group(&captures, 2)));
        if !value.split(' ').any(is_function_word) {
            add(found, possessed(&kind, value));
        }
    }
    if let Some(captures) = WHAT_I.captures(sentence) {
        let (clause, value) = (group(&captures, 1), cut(group(&captures, 2)));
        let (_, verb) = clause.split_once(' ').unwrap_or_default();
        let wordings = [
            format!("Tell me what {clause}."),
            format!("Do you remember what {clause}?"),
            format!("What is it that {clause}?"),
        ];
        let answer = format!("What {} is {value}.", second_person_within(clause));
        add(found, Found::new(format!("What do I {verb}?"), answer, &value, wordings));
    }
    if let Some(captures) = THE_I.captures(sentence) {
        let (thing, clause, value) = (group(&captures, 1), group(&captures, 2), cut(group(&captures, 3)));
        let (_, verb) = clause.split_once(' ').unwrap_or_default();
        let wordings = [
            format!("What is the {thing} {clause}?"),
            format!("Tell me the {thing} {clause}."),
            format!("Do you remember the {thing} {clause}?"),
        ];
        let answer = format!("The {thing} {} is {value}.", second_person_within(clause));
        add(found, Found::new(format!("Which {thing} do I {verb}?"), answer, &value, wordings));
    }
    if let Some(captures) = MY_IS_TO.captures(sentence) {
        let [relation, verb, state, to] = [1, 2, 3, 4].map(|at| group(&captures, at));
        let value = cut(group(&captures, 5));
        if is_function_word(state) || relation.split(' ').any(is_function_word) {
            return;
        }
        let wordings = [
            format!("Do you remember what my {relation} {verb} {state} {to}?"),
            format!("Tell me what my {relation} {verb} {state} {to}."),
            format!("Which thing {verb} my {relation} {state} {to}?"),
        ];
        let question = format!("What {verb} my {relation} {state} {to}?");
        let answer = format!("Your {relation} {verb} {state} {to} {}.", second_person_within(&value));
        add(found, Found::new(question, answer, &value, wordings));
    }
}

fn amounts(sentence: &str, found: &mut Vec<Found>) {
    if let Some(captures) = GOES_ON.captures(sentence) {
        let (amount, thing) = (group(&captures, 1), group(&captures, 2));
        let wordings = [
            format!("What is my {thing}?"),
            format!("What do I pay for the {thing}?"),
            format!("How much do I spend on the {thing}?"),
            format!("Tell me what the {thing} costs me."),
        ];
        let card =
            Found::new(format!("How much is my {thing}?"), format!("Your {thing} is {amount}."), amount, wordings);
        add(found, card);
    }
    for captures in COST_ME.captures_all(sentence) {
        let (thing, amount) = (group(&captures, 1), group(&captures, 2));
        if STARTS_CAPITALISED.is_match(thing) || is_function_word(first_word(thing)) {
            continue;
        }
        let wordings = [
            format!("What did I pay for the {thing}?"),
            format!("What did the {thing} cost me?"),
            format!("How much did I spend on the {thing}?"),
            format!("Do you remember the price of the {thing}?"),
        ];
        let question = format!("How much did I pay for the {thing}?");
        add(found, Found::new(question, format!("You paid {amount} for the {thing}."), amount, wordings));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards(turn: &str) -> Vec<(String, String)> {
        inverted_cards(turn).into_iter().map(|card| (card.question, card.answer)).collect()
    }

    fn card(turn: &str) -> (String, String) {
        let cards = cards(turn);
        assert_eq!(cards.len(), 1, "{turn}: {cards:?}");
        cards.into_iter().next().unwrap()
    }

    #[track_caller]
    fn gives(turn: &str, question: &str, answer: &str) {
        assert_eq!(card(turn), (question.to_owned(), answer.to_owned()), "{turn}");
    }

    #[test]
    fn a_name_may_stand_before_its_owner() {
        gives("We fed Juniper, our goat, twice.", "What is my goat's name?", "Your goat's name is Juniper.");
        gives("They cancelled KX 42, my train.", "What is my train's name?", "Your train's name is KX 42.");
        gives(
            "The rooms of the Golden Heron, the inn we have booked, look small.",
            "What is the name of the inn we have booked?",
            "The inn you have booked is Golden Heron.",
        );
        gives("We christened our boat Petrel.", "What is my boat's name?", "Your boat's name is Petrel.");
        gives("I joined a choir called Vox Nova.", "What is the choir called?", "The choir is called Vox Nova.");
    }

    #[test]
    fn a_value_may_stand_before_what_it_is() {
        gives("Ochre is my favourite colour.", "What is my favourite colour?", "Your favourite colour is Ochre.");
        gives("I must say that what I miss most is the sea.", "What do I miss most?", "What you miss most is the sea.");
        gives(
            "The dish I like best is goulash.".replace("The", "As you know, the").as_str(),
            "Which dish do I like best?",
            "The dish you like best is goulash.",
        );
        gives("My nephew is scared of wasps.", "What is my nephew scared of?", "Your nephew is scared of wasps.");
    }

    #[test]
    fn an_amount_may_stand_before_what_it_pays() {
        gives("Some 90 euros a month goes on my phone.", "How much is my phone?", "Your phone is 90 euros a month.");
        gives(
            "A kettle cost me 31 pounds.",
            "How much did I pay for the kettle?",
            "You paid 31 pounds for the kettle.",
        );
    }

    #[test]
    fn other_statements_give_none() {
        for turn in [
            "It is my turn.",
            "What is inflation, really?",
            "In May, my mother comes.",
            "However, my dear, we go.",
            "This is my favourite kind of day.",
            "Thanks, my friend.",
        ] {
            assert_eq!(cards(turn), [], "{turn}");
        }
    }
}
