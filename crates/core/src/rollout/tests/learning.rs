//! Cumulative Δ, forgetting and editing.

use super::policy::Policy;
use super::*;

fn three_writes(agent: &mut Agent<Scripted>) {
    learn(agent, &[card("A?", "a"), card("B?", "b")]);
    learn(agent, &[card("C?", "c")]);
    learn(agent, &[card("D?", "d"), card("E?", "e")]);
}

#[test]
fn writes_add_up_and_replay_what_came_before() {
    let mut agent = agent(100);
    let (_, events) = events!(|observe, abort| async {
        agent.learn(&[card("A?", "a"), card("B?", "b")], observe, abort).await?;
        agent.learn(&[card("C?", "c")], observe, abort).await
    });
    let replayed: Vec<usize> = events
        .iter()
        .filter_map(|e| if let Event::LearningStarted { replay, .. } = e { Some(*replay) } else { None })
        .collect();
    assert_eq!(replayed, [0, 2]);
    assert_eq!(agent.policy().delta().version, 2);
    assert_eq!(agent.cards().iter().map(|c| c.id).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(recall(&mut agent, "A?").0, "a");
}

#[test]
fn a_forgotten_card_leaves_the_weights_as_if_it_had_never_been_learned() {
    let mut never = agent(100);
    learn(&mut never, &[card("B?", "b")]);
    learn(&mut never, &[card("D?", "d"), card("E?", "e")]);

    let mut agent = agent(100);
    three_writes(&mut agent);
    events!(|observe, abort| agent.forget(0, observe, abort)).0.unwrap();
    let (result, events) = events!(|observe, abort| agent.forget(2, observe, abort));
    result.unwrap();
    assert_eq!(agent.policy().delta(), never.policy().delta());
    assert_eq!(agent.state().writes, [vec![1], vec![3, 4]]);
    assert_eq!(events.last(), Some(&Event::CardForgotten { id: 2 }));
    assert_eq!(recall(&mut agent, "C?").0, "I see.");
    // Ids are not used again.
    assert_eq!(learn(&mut agent, &[card("F?", "f")])[0].id, 5);
}

#[test]
fn forgetting_the_last_card_leaves_delta_zero() {
    let mut agent = agent(100);
    let zero = agent.policy().delta();
    learn(&mut agent, &[card("A?", "a")]);
    events!(|observe, abort| agent.forget(0, observe, abort)).0.unwrap();
    assert_eq!(agent.policy().delta(), zero);
}

#[test]
fn an_edited_card_is_learned_as_if_written_that_way() {
    let mut right = agent(100);
    learn(&mut right, &[card("A?", "a"), card("B?", "better")]);
    learn(&mut right, &[card("C?", "c")]);
    let mut agent = agent(100);
    learn(&mut agent, &[card("A?", "a"), card("B?", "b")]);
    learn(&mut agent, &[card("C?", "c")]);
    let edited = Card { id: 1, ..card("B?", "better") };
    events!(|observe, abort| agent.edit(edited, observe, abort)).0.unwrap();
    assert_eq!(agent.policy().delta(), right.policy().delta());
    assert_eq!(recall(&mut agent, "B?").0, "better");
}

#[test]
fn impossible_changes_are_named() {
    let mut agent = agent(100);
    learn(&mut agent, &[card("A?", "a")]);
    let (forgotten, _) = events!(|observe, abort| agent.forget(9, observe, abort));
    assert!(matches!(forgotten, Err(AgentError::UnknownCard(9))));
    let (edited, _) = events!(|observe, abort| agent.edit(Card { id: 9, ..card("A?", "a") }, observe, abort));
    assert!(matches!(edited, Err(AgentError::UnknownCard(9))));
    let (edited, _) = events!(|observe, abort| agent.edit(card("A?", " "), observe, abort));
    assert!(matches!(edited, Err(AgentError::EmptyCard)));
    let (learned, _) = events!(|observe, abort| agent.learn(&[card("", "a")], observe, abort));
    assert!(matches!(learned, Err(AgentError::EmptyCard)));
}

#[test]
fn forgetting_that_is_stopped_or_fails_keeps_card_and_weights() {
    let mut agent = agent(100);
    three_writes(&mut agent);
    let before = pollster::block_on(agent.snapshot()).unwrap();
    let abort = Abort::default();
    let mut writes = 0;
    let mut stop = |event: Event| {
        writes += usize::from(matches!(event, Event::LearningStarted { from_zero: true, .. }));
        if writes == 2 {
            abort.abort();
        }
    };
    let result = pollster::block_on(agent.forget(0, &mut stop, &abort));
    assert!(matches!(result, Err(AgentError::Aborted)));
    assert_eq!(pollster::block_on(agent.snapshot()).unwrap(), before);

    agent.policy_mut().fail_next_write(WriteOutcome::RolledBack { reason: "NaN".to_owned() });
    let (result, _) = events!(|observe, abort| agent.forget(0, observe, abort));
    assert!(matches!(result, Err(AgentError::NotLearned { .. })));
    assert_eq!(pollster::block_on(agent.snapshot()).unwrap(), before);
}

#[test]
fn relearning_gives_the_same_weights() {
    let mut agent = agent(100);
    three_writes(&mut agent);
    let before = agent.policy().delta();
    events!(|observe, abort| agent.relearn(observe, abort)).0.unwrap();
    assert_eq!(agent.policy().delta(), before);
}

#[test]
fn a_later_answer_takes_the_place_of_an_earlier_one_until_it_is_forgotten() {
    let mut agent = agent(100);
    learn(&mut agent, &[card("Where do I live?", "In Ghent."), card("Who am I?", "Ann.")]);
    let moved = [card("Where do I live?", "In Oslo.")];
    let (_, events) = events!(|observe, abort| agent.learn(&moved, observe, abort));
    assert_eq!(warnings(&events), [Warning::CardsSuperseded { ids: vec![0] }]);
    assert!(events.iter().any(|e| matches!(e, Event::LearningStarted { replay: 1, .. })));
    assert_eq!(agent.cards().iter().map(|c| c.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(recall(&mut agent, "Where do I live?").0, "In Oslo.");
    // Taking the same writes again needs the old card and gives the same weights.
    let before = agent.policy().delta();
    events!(|observe, abort| agent.relearn(observe, abort)).0.unwrap();
    assert_eq!(agent.policy().delta(), before);
    assert_eq!(agent.cards().len(), 2);

    events!(|observe, abort| agent.forget(2, observe, abort)).0.unwrap();
    assert_eq!(recall(&mut agent, "Where do I live?").0, "In Ghent.");
    assert_eq!(agent.cards().iter().map(|c| c.id).collect::<Vec<_>>(), [0, 1]);
    assert!(agent.state().superseded.is_empty());
}
