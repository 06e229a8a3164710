use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    turn: String,
    cards: Vec<Expected>,
    subject: Option<Expected>,
    loose: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Expected {
    question: String,
    answer: String,
    span: String,
    wordings: Vec<String>,
}

impl From<Found> for Expected {
    fn from(found: Found) -> Self {
        let Found { question, answer, span, wordings } = found;
        Self { question, answer, span, wordings }
    }
}

/// `cases.json` holds what the rules' first version, in another language, made of the same turns.
#[test]
fn the_rules_find_what_the_reference_finds() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("cases.json")).unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let found = rule_cards(&case.turn);
        let loose = loose_spans(&case.turn, &found);
        let found: Vec<Expected> = found.into_iter().map(Expected::from).collect();
        assert_eq!(found, case.cards, "{}", case.turn);
        assert_eq!(subject_card(&case.turn).map(Expected::from), case.subject, "{}", case.turn);
        assert_eq!(loose, case.loose, "{}", case.turn);
    }
}

#[test]
fn a_models_question_must_be_about_the_person_and_keep_the_answer_to_itself() {
    let turn = "We went to Lisbon last May with Olga.";
    assert!(fits("Where did I go last May with Olga?", "Lisbon", turn.replace("went", "go").as_str()));
    assert!(fits("What city is in my May?", "Lisbon", turn));
    assert!(!fits("What city is in my May", "Lisbon", turn));
    assert!(!fits("What city is in May?", "Lisbon", turn));
    assert!(!fits("With whom was I in Lisbon?", "Lisbon", turn));
    assert!(!fits("What is my colleague's name?", "Olga", turn));
    assert!(!fits("Why I?", "Lisbon", turn));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn any_turn_is_survived(turn in ".{0,300}", words in proptest::collection::vec("I|my|is|at|on|May 3|Bob|,|\\.|9 am|cat|in|live|’|é", 0..40)) {
        for text in [turn, words.join(" ")] {
            let text = squeeze(&text);
            let found = rule_cards(&text);
            loose_spans(&text, &found);
            for card in found.iter().chain(&subject_card(&text)) {
                proptest::prop_assert!(text.contains(&card.span), "{:?}", card);
            }
        }
    }
}

#[test]
fn rules_write_drafts_without_a_model() {
    let drafts = super::drafts_by_rules("  I live in\nGhent.", 2);
    assert_eq!(drafts.len(), 1);
    assert_eq!((drafts[0].question.as_str(), drafts[0].answer.as_str()), ("Where do I live?", "You live in Ghent."));
    assert_eq!((drafts[0].wordings.len(), drafts[0].source_turn), (2, None));
    assert_eq!(super::drafts_by_rules("Lovely weather!", 2), []);
}
