use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    turn: String,
    cards: Vec<Expected>,
    loose: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Expected {
    question: String,
    answer: String,
    span: String,
    wordings: Vec<String>,
}

/// `cases.json` holds what the rules' first version, in another language, made of the same turns.
#[test]
fn the_rules_find_what_the_reference_finds() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("cases.json")).unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let found = rule_cards(&case.turn);
        let loose = loose_spans(&case.turn, &found);
        let found: Vec<Expected> = found
            .into_iter()
            .map(|f| Expected { question: f.question, answer: f.answer, span: f.span, wordings: f.wordings })
            .collect();
        assert_eq!(found, case.cards, "{}", case.turn);
        assert_eq!(loose, case.loose, "{}", case.turn);
    }
}

#[test]
fn a_models_question_must_be_about_the_person_and_keep_the_answer_to_itself() {
    assert!(fits("Where did I go last May?", "Lisbon"));
    assert!(!fits("Where did I go last May", "Lisbon"));
    assert!(!fits("Where did she go last May?", "Lisbon"));
    assert!(!fits("Why did I go to Lisbon?", "Lisbon"));
    assert!(!fits("Why I?", "Lisbon"));
}

proptest::proptest! {
    #[test]
    fn any_turn_is_survived(turn in ".{0,300}", words in proptest::collection::vec("I|my|is|at|on|May 3|Bob|,|\\.|9 am|cat|in|live|’|é", 0..40)) {
        for text in [turn, words.join(" ")] {
            let text = squeeze(&text);
            let found = rule_cards(&text);
            loose_spans(&text, &found);
            for card in &found {
                proptest::prop_assert!(text.contains(&card.span), "{:?}", card);
            }
        }
    }
}
