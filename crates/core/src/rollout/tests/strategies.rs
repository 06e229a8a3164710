//! What holds for every memory strategy.

use super::*;
use crate::rollout::memory::{CardUse, MemoryStrategy};

pub(super) const ALL: [&str; 6] = ["none", "summary", "retrieval", "tmem", "tmem_text", "cards"];

/// As [`reply`], and as a writer of summaries and notes: the summary is every "My X is Y" of memory and conversation,
/// the note on a turn is what was said.
pub(super) fn memory_reply(request: &GenerateRequest) -> String {
    let asked = request.messages.last().map(|m| m.content.as_str()).unwrap_or_default();
    if request.assistant_prefix == "Note:" {
        let said = asked.lines().find_map(|line| line.strip_prefix("User: ")).unwrap_or_default();
        return format!("{said}\nKeywords: {}", said.split(' ').nth(1).unwrap_or_default());
    }
    if asked.ends_with("New memory:") {
        let lines = asked.lines().map(|line| line.trim_start_matches("User: "));
        let facts: Vec<&str> = lines.filter(|line| line.starts_with("My ")).collect();
        return facts.join("\n");
    }
    reply(request)
}

/// An agent with this strategy and further settings.
pub(super) fn agent_with(memory: &str, budget: usize, more: &[&str]) -> Agent<Scripted> {
    let mut settings = settings(budget);
    settings.set(&format!("memory={memory}")).unwrap();
    for assignment in more {
        settings.set(assignment).unwrap();
    }
    Agent::new(Scripted::new(memory_reply), settings)
}

/// The messages of the agent's latest answer.
pub(super) fn last_prompt(agent: &Agent<Scripted>) -> Vec<String> {
    let batch = agent.policy().batches.last().unwrap();
    batch[0].messages.iter().map(|m| m.content.clone()).collect()
}

/// Asks all questions without context, in one batch.
pub(super) fn ask_all(agent: &mut Agent<Scripted>, questions: &[&str], twin: bool) -> (Vec<Answer>, Vec<Event>) {
    let questions: Vec<String> = questions.iter().map(|q| (*q).to_owned()).collect();
    let options = AskOptions { context: false, twin };
    let (answers, events) = events!(|observe, abort| agent.ask_all(&questions, options, observe, abort));
    (answers.unwrap(), events)
}

#[test]
fn at_the_budget_nothing_happens_and_one_token_above_it_memory_is_written() {
    for name in ALL.into_iter().filter(|name| *name != "none") {
        // Two turns of eight words and sixteen tokens of markup.
        let say_both = |budget: usize| {
            let mut agent = agent_with(name, budget, &["retrieval_dense=off"]);
            let mut events = say(&mut agent, "My dog is Biscuit");
            events.extend(say(&mut agent, "My city is Ghent"));
            (agent, events)
        };
        let exact = {
            let (agent, events) = say_both(1000);
            assert!(!names(&events).contains(&"trigger".to_owned()), "{name}");
            agent.context_tokens().unwrap()
        };
        assert!(!names(&say_both(exact).1).contains(&"trigger".to_owned()), "{name}");
        let (agent, events) = say_both(exact - 1);
        let trigger = events.iter().find(|e| matches!(e, Event::Trigger { .. }));
        assert_eq!(trigger, Some(&Event::Trigger { tokens: exact, budget: exact - 1 }), "{name}");
        assert!(agent.state().context.is_empty(), "{name}");
        let remembers = !agent.passages().is_empty() || !agent.cards().is_empty();
        assert!(remembers, "{name}");
    }
}

#[test]
fn cards_and_weights_are_used_as_the_strategy_says() {
    for name in ALL {
        let mut agent = agent_with(name, 3, &[]);
        let events = say(&mut agent, "My dog is Biscuit");
        let (cards, trained) = (agent.cards().len(), policy::Policy::delta(agent.policy()).version > 0);
        let expected = match agent.state().memory.card_use() {
            CardUse::None => (0, false),
            CardUse::Kept => (1, false),
            CardUse::Learned => (1, true),
        };
        assert_eq!((cards, trained), expected, "{name}");
        assert_eq!(names(&events).contains(&"memory_written".to_owned()), !agent.passages().is_empty(), "{name}");
        assert!(!agent.needs_relearning(), "{name}");
        assert!(warnings(&events).is_empty(), "{name}");
    }
}

#[test]
fn a_write_stopped_anywhere_leaves_every_strategy_as_it_was() {
    type Point = fn(&Event) -> bool;
    let points: [Point; 3] = [
        |e| matches!(e, Event::WritingStarted { .. }),
        |e| matches!(e, Event::Token { speaker: Speaker::Writer, .. }),
        |e| matches!(e, Event::Segment(s) if s.kind == SegmentKind::MemoryWriting),
    ];
    for name in ALL.into_iter().filter(|name| *name != "none") {
        for (at, point) in points.into_iter().enumerate() {
            let mut agent = agent_with(name, 1000, &["notes=on"]);
            say(&mut agent, "My city is Ghent");
            events!(|observe, abort| agent.write_now(observe, abort)).0.unwrap();
            say(&mut agent, "My dog is Biscuit");
            let before = pollster::block_on(agent.snapshot()).unwrap();
            let abort = Abort::default();
            let mut stop = |event: Event| {
                if point(&event) {
                    abort.abort();
                }
            };
            let result = pollster::block_on(agent.write_now(&mut stop, &abort));
            assert!(matches!(result, Err(AgentError::Aborted)), "{name}, point {at}");
            assert_eq!(pollster::block_on(agent.snapshot()).unwrap(), before, "{name}, point {at}");
        }
    }
}

#[test]
fn every_strategy_goes_on_from_a_saved_state() {
    for name in ALL {
        let make = || agent_with(name, 30, &["notes=on"]);
        let mut agent = make();
        for text in ["My dog is Biscuit", "My city is Ghent", "My horse is Rex", "Nice weather"] {
            say(&mut agent, text);
        }
        let snapshot = pollster::block_on(agent.snapshot()).unwrap();
        let read: AgentSnapshot = serde_json::from_str(&serde_json::to_string(&snapshot).unwrap()).unwrap();
        assert_eq!(read, snapshot, "{name}");
        let mut other = make();
        pollster::block_on(other.restore(&read)).unwrap();
        for agent in [&mut agent, &mut other] {
            say(agent, "My cat is Tom");
            ask_all(agent, &["What is my dog?"], true);
        }
        assert_eq!(agent.state(), other.state(), "{name}");
        assert_eq!(agent.policy().batches.last(), other.policy().batches.last(), "{name}");
    }
}

#[test]
fn many_questions_are_each_answered_as_if_alone_and_leave_no_trace() {
    for name in ALL {
        let mut agent = agent_with(name, 12, &[]);
        for text in ["My dog is Biscuit", "My city is Ghent", "My horse is Rex"] {
            say(&mut agent, text);
        }
        let before = pollster::block_on(agent.snapshot()).unwrap();
        let questions = ["What is my horse?", "What is my dog?", "Who am I?"];
        let (together, _) = ask_all(&mut agent, &questions, true);
        for (question, answer) in questions.iter().zip(&together) {
            let alone = ask_all(&mut agent, &[question], true).0.pop().unwrap();
            assert_eq!((&alone.text, &alone.recalled), (&answer.text, &answer.recalled), "{name}: {question}");
        }
        assert_eq!(pollster::block_on(agent.snapshot()).unwrap(), before, "{name}");
    }
}

#[test]
fn another_strategy_begins_without_text_and_the_weights_follow_it() {
    let mut agent = agent_with("tmem_text", 3, &["text_channel=summary"]);
    say(&mut agent, "My dog is Biscuit");
    assert_eq!((agent.passages().len(), agent.cards().len()), (1, 1));
    let learned = policy::Policy::delta(agent.policy());

    let switch = |agent: &mut Agent<Scripted>, assignment: &str| {
        let mut settings = agent.settings().clone();
        settings.set(assignment).unwrap();
        agent.set_settings(settings);
        agent.needs_relearning()
    };
    assert!(!switch(&mut agent, "text_channel=retrieval"), "both learn the cards");
    assert!(agent.passages().is_empty());
    assert!(switch(&mut agent, "memory=cards"), "now nothing is learned");
    events!(|observe, abort| agent.relearn(observe, abort)).0.unwrap();
    assert_eq!(policy::Policy::delta(agent.policy()).version, 0);
    assert_eq!(agent.cards().len(), 1);
    assert!(switch(&mut agent, "memory=tmem"));
    events!(|observe, abort| agent.relearn(observe, abort)).0.unwrap();
    assert_eq!(policy::Policy::delta(agent.policy()), learned);
    assert!(!agent.needs_relearning());
}

#[test]
fn the_writer_is_told_the_question_only_where_the_setting_says_so() {
    for name in ALL.into_iter().filter(|name| *name != "none") {
        for aware in ["on", "off"] {
            let mut agent = agent_with(name, 1000, &["notes=on", &format!("question_aware={aware}")]);
            agent.set_question(Some("  Who is Xanthippe? "));
            say(&mut agent, "My dog is Biscuit");
            events!(|observe, abort| agent.write_now(observe, abort)).0.unwrap();
            let prompts = agent.policy().batches.iter().flatten().map(|r| r.messages.last().unwrap().content.as_str());
            let writing: Vec<&str> = prompts.filter(|text| *text != "My dog is Biscuit").collect();
            assert!(!writing.is_empty(), "{name}");
            let told = writing.iter().filter(|text| text.contains("Xanthippe")).count();
            assert_eq!(told, if aware == "on" { writing.len() } else { 0 }, "{name}");
            assert_eq!(agent.state().question.as_deref(), Some("Who is Xanthippe?"));
        }
    }
    let mut agent = agent_with("tmem", 1000, &[]);
    agent.set_question(None);
    assert!(agent.state().script.is_empty(), "nothing has changed");
    agent.set_question(Some("Who?"));
    agent.set_question(Some("Who?"));
    assert_eq!(agent.state().script, [Action::Purpose { question: Some("Who?".to_owned()) }]);
    pollster::block_on(agent.reset(&mut |_| {})).unwrap();
    assert_eq!(agent.state().question, None);
}

#[test]
fn with_the_question_known_cards_that_help_to_answer_it_are_written_first() {
    for (question, kept) in [(Some("Which city do I live in?"), "What is my city?"), (None, "What is my dog?")] {
        let mut agent = agent_with("tmem", 1000, &["question_aware=on", "max_cards=1"]);
        agent.set_question(question);
        say(&mut agent, "My dog is Biscuit");
        say(&mut agent, "My city is Ghent");
        events!(|observe, abort| agent.write_now(observe, abort)).0.unwrap();
        assert_eq!(agent.cards().iter().map(|c| c.question.as_str()).collect::<Vec<_>>(), [kept]);
    }
}

#[test]
fn the_writer_sees_earlier_cards_where_the_setting_says_so_and_there_is_room() {
    // Whether the prompt shows the earlier card; `None` where the model has no room for the turn.
    let shown = |more: &[&str], length: usize| {
        let mut settings = settings(10_000);
        (settings.rollout.writer_tokens, settings.rollout.answer_tokens) = (50, 8);
        for assignment in more {
            settings.set(assignment).unwrap();
        }
        let mut agent = Agent::new(Scripted::new(reply).with_context_length(length), settings);
        learn(&mut agent, &[card("Where do I work?", "At the mill.")]);
        events!(|observe, abort| agent.feed("My dog is Biscuit", "I see.", observe, abort)).0.unwrap();
        events!(|observe, abort| agent.write_now(observe, abort)).0.unwrap();
        let wrote = agent.cards().len() == 2;
        wrote.then(|| last_prompt(&agent).join(" ").contains("- Where do I work? At the mill."))
    };
    assert_eq!(shown(&[], 4000), Some(false));
    assert_eq!(shown(&["card_history=on"], 4000), Some(true));
    let tightest = (100..400).find_map(|length| shown(&["card_history=on"], length));
    assert_eq!(tightest, Some(false), "the turn goes before");
}
