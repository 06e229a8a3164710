use std::path::Path;

use super::*;

const CONVERSATION: &str = r#"{
  "name": "t",
  "facts": [{
    "id": "dog", "user_turn": "My dog is Rex.", "question": "What is my dog's name?", "answer": "Your dog is Rex.",
    "keys": ["Rex"], "held_out": ["Which name has my pet?"], "wordings": ["What is my dog called?"], "statement": "-"
  }],
  "transcript": [
    {"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "My dog is Rex."}
  ]
}"#;

fn field_of<T: DataFile + std::fmt::Debug>(text: &str) -> (String, String) {
    let error = T::parse(Path::new("some.json"), text).unwrap_err();
    assert!(error.to_string().contains("some.json"), "{error}");
    match error {
        DataError::Field { field, reason, .. } => (field, reason),
        other => unreachable!("{other}"),
    }
}

#[test]
fn an_oracle_writes_one_card_per_fact() {
    let conversation = Conversation::parse(Path::new("some.json"), CONVERSATION).unwrap();
    let cards = conversation.oracle_cards(7);
    assert_eq!(cards.len(), 1);
    assert_eq!((cards[0].id, cards[0].source_turn), (7, Some(1)));
    assert_eq!(cards[0].questions().collect::<Vec<_>>(), ["What is my dog's name?", "What is my dog called?"]);
}

#[test]
fn errors_name_file_field_and_index() {
    let bad = |from: &str, to: &str| field_of::<Conversation>(&CONVERSATION.replace(from, to));
    assert_eq!(bad(r#"["Rex"]"#, r#"["Rex", 3]"#).0, "facts[0].keys[1]");
    assert_eq!(bad(r#"["Rex"]"#, r#"["Rex", "!"]"#).0, "facts[0].keys[1]");
    assert_eq!(bad(r#"["Rex"]"#, "[]").0, "facts[0].keys");
    assert_eq!(bad(r#""role": "assistant""#, r#""role": "robot""#).0, "transcript[1].role");
    assert_eq!(bad("Hello!", " ").0, "transcript[0].content");
    assert_eq!(bad("What is my dog's name?", "").0, "facts[0].question");
    assert_eq!(bad(r#""answer": "Your dog is Rex.","#, "").1, "missing field `answer` at line 6 column 3");
    assert_eq!(bad("Which name has my pet?", "What is my dog called?").0, "facts[0].held_out");
    assert_eq!(field_of::<Conversation>("{}").1, "missing field `name` at line 1 column 2");
    assert_eq!(field_of::<Conversation>(&format!("{CONVERSATION} x")).0, ".");
    let controls = r#"{"general_knowledge": [{"question": "?", "keys": []}]}"#;
    assert_eq!(field_of::<Controls>(controls).0, "general_knowledge[0].keys");
    assert_eq!(field_of::<Controls>(r#"{"unknown_questions": ["a", ""]}"#).0, "unknown_questions[1]");
}

#[test]
fn a_missing_file_is_named() {
    let error = Controls::load(Path::new("no/such/file.json")).unwrap_err();
    assert!(error.to_string().starts_with("cannot read no/such/file.json: "), "{error}");
}
