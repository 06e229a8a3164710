//! Ordinary actions: answers, the twin, questions, saving.

use super::*;

#[test]
fn a_turn_is_told_in_order_and_stays_in_the_context() {
    let mut agent = agent(1000);
    let events = say(&mut agent, "My dog is Biscuit");
    assert_eq!(names(&events), ["turn_started", "token", "segment", "answer", "turn_finished"]);
    say(&mut agent, "Hello");
    let prompt: Vec<_> = agent.policy().batches[1][0].messages.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(prompt, ["My dog is Biscuit", "I see.", "Hello"]);
    assert_eq!(agent.state().turns, 2);
}

#[test]
fn the_twin_answers_in_the_same_batch_from_the_same_prompt() {
    let mut agent = agent(1000);
    learn(&mut agent, &[card("What is my dog?", "A beagle.")]);
    agent.set_twin(true);
    let events = say(&mut agent, "What is my dog?");
    let batch = agent.policy().batches.last().unwrap();
    assert_eq!(batch.iter().map(|r| r.weights).collect::<Vec<_>>(), [Weights::Fast, Weights::Frozen]);
    assert_eq!(batch[0].messages, batch[1].messages);
    let said = |speaker| -> String {
        let piece = |e: &Event| match e {
            Event::Token { speaker: s, text, .. } if *s == speaker => Some(text.clone()),
            _ => None,
        };
        events.iter().filter_map(piece).collect()
    };
    assert_eq!(said(Speaker::Agent), "A beagle.");
    assert_eq!(said(Speaker::Twin), "I see.");
    // Only the agent's tokens are actions.
    let segments = events.iter().filter(|e| matches!(e, Event::Segment(s) if s.kind == SegmentKind::Ordinary));
    assert_eq!(segments.count(), 1);
    assert_eq!(agent.state().context[0].assistant, "A beagle.");
}

#[test]
fn many_questions_are_one_batch_and_leave_no_trace() {
    let mut agent = agent(1000);
    learn(&mut agent, &[card("What is my dog?", "A beagle."), card("Where do I live?", "In Ghent.")]);
    let before = pollster::block_on(agent.snapshot()).unwrap();
    let questions = ["Where do I live?", "Who am I?", "What is my dog?"].map(str::to_owned);
    let options = AskOptions { context: false, twin: true };
    let (answers, events) = events!(|observe, abort| agent.ask_all(&questions, options, observe, abort));
    let texts: Vec<_> = answers.unwrap().into_iter().map(|a| (a.text, a.twin.unwrap().text)).collect();
    let expected = [("In Ghent.", "I see."), ("I see.", "I see."), ("A beagle.", "I see.")];
    assert_eq!(texts, expected.map(|(a, t)| (a.to_owned(), t.to_owned())));
    assert!(events.iter().any(|e| matches!(e, Event::Token { speaker: Speaker::Twin, index: 2, .. })));
    assert_eq!(agent.policy().batches.len(), 1);
    assert_eq!(pollster::block_on(agent.snapshot()).unwrap(), before);
}

#[test]
fn a_stopped_answer_stays_as_far_as_it_got_and_triggers_nothing() {
    let mut agent = agent(1);
    let abort = Abort::default();
    let mut tokens = 0;
    let mut stop = |event: Event| {
        if matches!(event, Event::Token { .. }) {
            tokens += 1;
            abort.abort();
        }
        assert!(!matches!(event, Event::Trigger { .. }));
    };
    pollster::block_on(agent.turn("My dog is Biscuit", &mut stop, &abort)).unwrap();
    assert_eq!(tokens, 1);
    assert_eq!(agent.state().context[0].assistant, "I ");
    assert!(matches!(&agent.state().script[0], Action::Feed { answer, .. } if answer == "I "));
}

#[test]
fn what_cannot_be_answered_is_an_error_and_changes_nothing() {
    let mut agent = Agent::new(Scripted::new(reply).with_context_length(100), settings(1000));
    let long = "word ".repeat(60);
    for text in ["", " \n", long.as_str()] {
        let (result, events) = events!(|observe, abort| agent.turn(text, observe, abort));
        assert!(matches!(result, Err(AgentError::Empty | AgentError::TurnTooLong { tokens: 128, limit: 100 })));
        assert!(events.is_empty());
    }
    assert_eq!(agent.state().turns, 0);
}

#[test]
fn a_saved_agent_goes_on_where_it_was() {
    let mut agent = agent(20);
    say(&mut agent, "My dog is Biscuit");
    say(&mut agent, "My city is Ghent and it rains all day long, as it always does here");
    let snapshot = pollster::block_on(agent.snapshot()).unwrap();
    let json = serde_json::to_string(&snapshot).unwrap();
    let read: AgentSnapshot = serde_json::from_str(&json).unwrap();
    assert_eq!(read, snapshot);

    let mut other = super::agent(20);
    pollster::block_on(other.restore(&read)).unwrap();
    assert_eq!(recall(&mut other, "What is my dog?"), ("Biscuit".to_owned(), "I see.".to_owned()));
    say(&mut agent, "My horse is Rex");
    say(&mut other, "My horse is Rex");
    assert_eq!(agent.policy_mut().batches.last(), other.policy_mut().batches.last());
    assert_eq!(
        super::super::policy::Policy::delta(agent.policy()),
        super::super::policy::Policy::delta(other.policy())
    );
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut agent = agent(100);
    let snapshot = pollster::block_on(agent.snapshot()).unwrap();
    let json = serde_json::to_string(&snapshot).unwrap();
    let read = |json: &str| serde_json::from_str::<AgentSnapshot>(json);
    assert!(read(&json.replace("\"b\":\"AAAA", "\"b\":\"A*AA")).is_err());
    assert!(read(&json.replace("\"b\":\"AAAA", "\"b\":\"")).unwrap_err().to_string().contains("whole f32"));
    assert!(read(&json.replace("\"turns\"", "\"spins\"")).is_err());
    let mut short = snapshot;
    short.fast.b.pop();
    assert!(pollster::block_on(agent.restore(&short)).is_err());
}

#[test]
fn answers_of_different_turns_draw_different_random_numbers_and_the_twin_the_same() {
    let mut agent = agent(1000);
    agent.set_twin(true);
    say(&mut agent, "One");
    say(&mut agent, "Two");
    let seeds: Vec<u64> = agent.policy().batches.iter().flatten().map(|r| r.sampling.seed).collect();
    assert_eq!(seeds[0], seeds[1]);
    assert_ne!(seeds[0], seeds[2]);
}
