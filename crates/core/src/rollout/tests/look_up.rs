//! Cards looked up without the model.

use super::strategies::{agent_with, ask_all};
use super::*;
use crate::rollout::memory::UNKNOWN;

#[test]
fn the_nearest_cards_answer_is_handed_over_without_asking_the_model() {
    let mut agent = agent_with("cards", 1000, &[]);
    let facts = [card("What is my dog's name?", "Biscuit."), card("Where do I live?", "In Ghent.")];
    let (written, events) = events!(|observe, abort| agent.learn(&facts, observe, abort));
    assert_eq!(written.unwrap().report, None);
    assert_eq!(names(&events), ["cards_written", "cards_kept"]);

    let (answers, events) = ask_all(&mut agent, &["Say, where do I live?", "My horse's colour?", "name my dog"], false);
    let told: Vec<_> = answers.iter().map(|a| (a.text.as_str(), a.recalled.card, a.tokens, a.prompt_tokens)).collect();
    assert_eq!(told, [("In Ghent.", Some(1), 0, 0), (UNKNOWN, None, 0, 0), ("Biscuit.", Some(0), 0, 0)]);
    assert!(agent.policy().batches.is_empty());
    assert_eq!(names(&events), ["token", "answer"]);
}

#[test]
fn the_twin_is_the_model_all_the_same() {
    let mut agent = agent_with("cards", 1000, &[]);
    learn(&mut agent, &[card("What is my dog?", "A beagle.")]);
    let (answers, events) = ask_all(&mut agent, &["What is my dog?", "Who am I?"], true);
    let told: Vec<_> = answers.iter().map(|a| (a.text.as_str(), a.twin.as_ref().unwrap().text.as_str())).collect();
    assert_eq!(told, [("A beagle.", "I see."), (UNKNOWN, "I see.")]);
    let batch = &agent.policy().batches[0];
    assert!(batch.len() == 2 && batch.iter().all(|request| request.weights == Weights::Frozen));
    assert!(!events.iter().any(|e| matches!(e, Event::Segment(_))), "no token of the agent was sampled");
    assert!(events.iter().any(|e| matches!(e, Event::Token { speaker: Speaker::Twin, index: 1, .. })));
}

#[test]
fn the_threshold_decides_what_is_near_enough() {
    for (threshold, answer) in [("0", "Biscuit."), ("0.35", UNKNOWN), ("1", UNKNOWN)] {
        let mut agent = agent_with("cards", 1000, &[&format!("card_threshold={threshold}")]);
        learn(&mut agent, &[card("What is my dog's name?", "Biscuit.")]);
        assert_eq!(ask_all(&mut agent, &["What is my horse's name?"], false).0[0].text, answer, "{threshold}");
        assert_eq!(ask_all(&mut agent, &["What is my dog's name?"], false).0[0].text, "Biscuit.", "{threshold}");
        assert_eq!(ask_all(&mut agent, &["Quo vadis?"], false).0[0].text, UNKNOWN, "{threshold}");
    }
}

#[test]
fn a_chat_writes_cards_at_the_trigger_and_answers_from_them() {
    let mut agent = agent_with("cards", 12, &[]);
    let events = say(&mut agent, "My dog is Biscuit");
    for name in ["trigger", "cards_written", "cards_kept", "context_cleared"] {
        assert!(names(&events).contains(&name.to_owned()), "{name}");
    }
    say(&mut agent, "What is my dog?");
    let answer = events!(|observe, abort| agent.turn("What is my dog?", observe, abort)).0.unwrap();
    assert_eq!((answer.text.as_str(), answer.recalled.card), ("Biscuit", Some(0)));
    assert_eq!(policy::Policy::delta(agent.policy()).version, 0);
}

#[test]
fn cards_are_forgotten_edited_and_replaced_without_training() {
    let mut agent = agent_with("cards", 1000, &[]);
    let look_up = |agent: &mut Agent<Scripted>| ask_all(agent, &["Where do I live?"], false).0[0].text.clone();
    learn(&mut agent, &[card("Where do I live?", "In Ghent.")]);
    learn(&mut agent, &[card("Where do I live?", "In Oslo.")]);
    assert_eq!(look_up(&mut agent), "In Oslo.");
    let edited = Card { id: 1, ..card("Where do I live?", "In Bergen.") };
    events!(|observe, abort| agent.edit(edited, observe, abort)).0.unwrap();
    assert_eq!(look_up(&mut agent), "In Bergen.");
    let (_, events) = events!(|observe, abort| agent.forget(1, observe, abort));
    assert_eq!(names(&events), ["card_forgotten"]);
    assert_eq!(look_up(&mut agent), "In Ghent.");
    assert_eq!(policy::Policy::delta(agent.policy()).version, 0);
}
