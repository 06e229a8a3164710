//! The trigger, and what happens to the context.

use super::*;

#[test]
fn an_answer_that_passes_the_budget_is_followed_by_writing_and_clearing() {
    let mut agent = agent(20);
    assert!(!names(&say(&mut agent, "My dog is Biscuit")).contains(&"trigger".to_owned()));
    let events = say(&mut agent, "Nice weather");
    let order = [
        "turn_started",
        "token",
        "segment",
        "answer",
        "turn_finished",
        "trigger",
        "writing_started",
        "token",
        "segment",
        "cards_written",
        "learning_started",
        "step",
        "write_finished",
        "context_cleared",
    ];
    assert_eq!(names(&events), order);
    assert!(agent.state().context.is_empty());
    assert_eq!(agent.cards()[0].source_turn, Some(0));
    assert_eq!(recall(&mut agent, "What is my dog?"), ("Biscuit".to_owned(), "I see.".to_owned()));
}

#[test]
fn a_turn_that_would_pass_the_budget_is_answered_after_writing() {
    let mut agent = agent(30);
    say(&mut agent, "My dog is Biscuit");
    let long = format!("Listen: {}", "and ".repeat(16));
    let events = say(&mut agent, &long);
    let names = names(&events);
    let at = |name: &str| names.iter().position(|n| n == name).unwrap();
    assert!(at("turn_started") < at("trigger") && at("trigger") < at("context_cleared"));
    assert!(at("context_cleared") < at("answer"));
    let answered = agent.policy().batches.last().unwrap();
    assert_eq!(answered[0].messages.len(), 1, "the old context is gone");
    assert_eq!(agent.state().context.len(), 1, "the new turn is not");
}

#[test]
fn with_a_budget_below_one_turn_every_turn_is_written_once() {
    let mut agent = agent(3);
    for (turn, text) in ["My dog is Biscuit", "My city is Ghent"].iter().enumerate() {
        let events = say(&mut agent, text);
        assert_eq!(events.iter().filter(|e| matches!(e, Event::Trigger { .. })).count(), 1);
        assert!(agent.state().context.is_empty());
        assert_eq!(agent.cards().len(), turn + 1);
    }
    let prompts = agent.policy().batches.iter().filter(|b| b[0].assistant_prefix.is_empty());
    assert!(prompts.into_iter().all(|b| b[0].messages.len() == 1));
}

#[test]
fn where_nothing_is_worth_keeping_the_context_is_cleared_and_delta_stays() {
    let mut agent = agent(3);
    let events = say(&mut agent, "Nice weather");
    assert_eq!(warnings(&events), [Warning::NothingWritten { dropped: 0 }]);
    assert!(names(&events).contains(&"context_cleared".to_owned()));
    assert!(!names(&events).contains(&"learning_started".to_owned()));
    assert_eq!(policy::Policy::delta(agent.policy()).version, 0);
}

#[test]
fn a_rolled_back_write_keeps_the_context_and_is_tried_again_later() {
    let mut agent = agent(20);
    say(&mut agent, "My dog is Biscuit");
    let reason = "the loss was NaN".to_owned();
    agent.policy_mut().fail_next_write(WriteOutcome::RolledBack { reason: reason.clone() });
    let events = say(&mut agent, "Nice weather");
    assert_eq!(warnings(&events), [Warning::WriteAbandoned { reason }]);
    assert_eq!(agent.state().context.len(), 2);
    assert!(agent.cards().is_empty());
    // Not before the next answer, but when the context has grown by a quarter of the budget.
    let names = names(&say(&mut agent, "Yes"));
    let at = |name: &str| names.iter().position(|n| n == name).unwrap();
    assert!(at("answer") < at("trigger"));
    assert_eq!(recall(&mut agent, "What is my dog?").0, "Biscuit");
}

#[test]
fn a_write_stopped_at_any_point_changes_nothing() {
    type Point = fn(&Event) -> bool;
    let points: [Point; 3] = [
        |e| matches!(e, Event::WritingStarted { .. }),
        |e| matches!(e, Event::Token { speaker: Speaker::Writer, .. }),
        |e| matches!(e, Event::Step(step) if step.step == 1),
    ];
    for point in points {
        let mut agent = agent(1000);
        learn(&mut agent, &[card("Where do I live?", "In Ghent.")]);
        say(&mut agent, "My dog is Biscuit");
        let before = pollster::block_on(agent.snapshot()).unwrap();
        let abort = Abort::default();
        let mut stop = |event: Event| {
            if point(&event) {
                abort.abort();
            }
        };
        let result = pollster::block_on(agent.write_now(&mut stop, &abort));
        assert!(matches!(result, Err(AgentError::Aborted)));
        assert_eq!(pollster::block_on(agent.snapshot()).unwrap(), before);
    }
}

#[test]
fn stopping_the_write_before_an_answer_stops_the_turn() {
    let mut agent = agent(20);
    say(&mut agent, "My dog is Biscuit");
    let abort = Abort::default();
    let mut stop = |event: Event| {
        if matches!(event, Event::WritingStarted { .. }) {
            abort.abort();
        }
    };
    let text = "word ".repeat(10);
    let result = pollster::block_on(agent.turn(&text, &mut stop, &abort));
    assert!(matches!(result, Err(AgentError::Aborted)));
    assert_eq!(agent.state().context.len(), 1);
}

#[test]
fn without_memory_the_oldest_turns_fall_out_at_the_models_limit() {
    let mut settings = settings(10);
    settings.rollout.memory = MemoryKind::None;
    settings.rollout.answer_tokens = 10;
    let mut agent = Agent::new(Scripted::new(reply).with_context_length(60), settings);
    let mut told = Vec::new();
    for turn in 0..5 {
        told.extend(warnings(&say(&mut agent, &format!("My lucky number today is {turn}"))));
    }
    // Sixteen tokens a turn and its answer; fifty minus the new turn leave room for two.
    assert_eq!(told, [Warning::TurnsDropped { turns: 1, total: 1 }, Warning::TurnsDropped { turns: 1, total: 2 }]);
    assert_eq!(agent.state().context.first().unwrap().index, 2);
    let (written, events) = events!(|observe, abort| agent.write_now(observe, abort));
    assert!(written.unwrap().cards.is_empty() && warnings(&events).is_empty());
}

#[test]
fn a_budget_beyond_the_model_triggers_at_what_the_model_holds() {
    let mut agent = Agent::new(Scripted::new(reply).with_context_length(100), settings(100_000));
    assert_eq!(agent.budget(), 36);
    say(&mut agent, "My dog is Biscuit");
    say(&mut agent, "Nice weather");
    assert!(names(&say(&mut agent, "Nice weather again")).contains(&"trigger".to_owned()));
    assert_eq!(agent.state().dropped_turns, 0);
}

#[test]
fn a_transcript_is_read_in_without_generating_answers() {
    let mut agent = agent(20);
    for text in ["My dog is Biscuit", "My city is Ghent", "Nice weather"] {
        events!(|observe, abort| agent.feed(text, "Noted.", observe, abort)).0.unwrap();
    }
    assert!(agent.policy().batches.iter().all(|batch| batch[0].assistant_prefix == "["));
    assert_eq!(recall(&mut agent, "What is my dog?").0, "Biscuit");
}

#[test]
fn reset_is_the_start() {
    let mut agent = agent(3);
    say(&mut agent, "My dog is Biscuit");
    assert_eq!(agent.cards().len(), 1);
    let (done, events) = events!(|observe, _abort| agent.reset(observe));
    done.unwrap();
    assert_eq!(events, [Event::Reset]);
    let state =
        AgentState { memory: super::super::memory::Memory::new(&agent.settings().rollout), ..AgentState::default() };
    assert_eq!(*agent.state(), state);
    assert_eq!(recall(&mut agent, "What is my dog?").0, "I see.");
}
