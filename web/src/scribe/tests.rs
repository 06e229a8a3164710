//! The agent itself, on a policy without a model, tells the scribe what happens.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tmem_core::abort::Abort;
use tmem_core::rollout::Agent;
use tmem_core::rollout::policy::{Finish, GenerateRequest};
use tmem_core::rollout::scripted::Scripted;
use tmem_core::settings::{Settings, WriterKind};

use super::*;

/// The scripted policy never waits, so one poll is enough.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the scripted policy waited"),
    }
}

fn agent(budget: usize) -> Agent<Scripted> {
    let mut settings = Settings::small();
    settings.rollout.writer = WriterKind::Json;
    settings.rollout.wordings = 0;
    settings.rollout.budget = budget;
    let writes = r#"[{"instruction": "What is my dog's name?", "output": "Biscuit"}]"#;
    let policy = Scripted::new(move |request: &GenerateRequest| {
        let last = request.messages.last().map(|m| m.content.as_str()).unwrap_or_default();
        if last.contains("JSON") { writes.to_owned() } else { "I see.".to_owned() }
    });
    Agent::new(policy, settings)
}

fn said(agent: &mut Agent<Scripted>, scribe: &mut Scribe, text: &str) -> Vec<News> {
    let mut news = Vec::new();
    now(agent.turn(text, &mut |event| news.extend(scribe.observe(event, 1.0)), &Abort::default())).unwrap();
    scribe.end_run();
    news
}

fn kinds(log: &Log) -> Vec<&'static str> {
    let kind = |entry: &Entry| match &entry.content {
        Content::Turn { .. } => "turn",
        Content::Write(summary) if summary.retrained => "retrained",
        Content::Write(_) => "write",
        Content::Cleared => "cleared",
        Content::Notice { .. } => "notice",
    };
    log.entries().iter().map(kind).collect()
}

#[test]
fn a_turn_becomes_one_line_with_both_answers() {
    let (mut agent, mut scribe) = (agent(500), Scribe::default());
    agent.set_twin(true);
    let news = said(&mut agent, &mut scribe, "My dog's name is Biscuit.");
    let (question, answer, twin) = scribe.log().last_turn().unwrap();
    assert_eq!((question, answer.text.as_str()), ("My dog's name is Biscuit.", "I see."));
    assert_eq!((answer.finish, twin.unwrap().text.as_str()), (Some(Finish::Stop), "I see."));

    // The page, fed with the news alone, comes to the same log.
    let mut page = Log::default();
    for item in news {
        match item {
            News::Entry { entry } => page.put(*entry),
            News::Token { entry, twin, text } => page.extend(entry, twin, &text),
            _ => {}
        }
    }
    assert_eq!(&page, scribe.log());
}

#[test]
fn writing_and_retraining_are_lines_of_their_own() {
    let (mut agent, mut scribe) = (agent(500), Scribe::default());
    said(&mut agent, &mut scribe, "My dog's name is Biscuit.");
    now(agent.write_now(&mut |event| drop(scribe.observe(event, 2.0)), &Abort::default())).unwrap();
    scribe.end_run();
    agent.clear_context(&mut |event| drop(scribe.observe(event, 3.0)));
    assert_eq!(kinds(scribe.log()), ["turn", "write", "cleared"]);
    let Content::Write(summary) = &scribe.log().entries()[1].content else { panic!("no write") };
    assert_eq!((summary.count, summary.cards[0].answer.as_str()), (1, "Biscuit"));
    assert_eq!(summary.outcome, Some(WriteOutcome::Completed));
    assert!(!summary.losses.is_empty());

    let card = Card { answer: "Bonnie".into(), ..agent.cards()[0].clone() };
    now(agent.edit(card, &mut |event| drop(scribe.observe(event, 4.0)), &Abort::default())).unwrap();
    scribe.end_run();
    let id = agent.cards()[0].id;
    now(agent.forget(id, &mut |event| drop(scribe.observe(event, 5.0)), &Abort::default())).unwrap();
    assert_eq!(kinds(scribe.log()), ["turn", "write", "cleared", "retrained", "notice"]);
}

#[test]
fn memory_written_before_an_answer_stands_above_it() {
    let (mut agent, mut scribe) = (agent(24), Scribe::default());
    said(&mut agent, &mut scribe, "My dog's name is Biscuit and he likes the beach a lot.");
    said(&mut agent, &mut scribe, "And what do you think about dogs in general, or about beaches?");
    assert_eq!(kinds(scribe.log()), ["turn", "write", "cleared", "turn"]);
}

/// Says something under a memory strategy, then writes; the lines it made.
fn written_with(memory: &str) -> Scribe {
    let (mut agent, mut scribe) = (agent(500), Scribe::default());
    let mut settings = agent.settings().clone();
    settings.set(&format!("memory={memory}")).unwrap();
    agent.set_settings(settings);
    said(&mut agent, &mut scribe, "My dog's name is Biscuit.");
    now(agent.write_now(&mut |event| drop(scribe.observe(event, 2.0)), &Abort::default())).unwrap();
    scribe.end_run();
    scribe
}

#[test]
fn cards_that_are_only_kept_are_a_complete_write() {
    let scribe = written_with("cards");
    assert_eq!(kinds(scribe.log()), ["turn", "write"]);
    let Content::Write(summary) = &scribe.log().entries()[1].content else { panic!("no write") };
    assert_eq!((summary.kept, summary.count, &summary.outcome), (true, 1, &Some(WriteOutcome::Completed)));
}

#[test]
fn text_that_is_remembered_is_a_line() {
    for (memory, kinds_expected, line) in [
        ("summary", &["turn", "notice"][..], "The summary was rewritten."),
        ("retrieval", &["turn", "notice"], "1 turn can be brought back later."),
        ("tmem_text", &["turn", "write", "notice"], "1 turn can be brought back later."),
    ] {
        let scribe = written_with(memory);
        assert_eq!(kinds(scribe.log()), kinds_expected, "{memory}");
        let Content::Notice { text } = &scribe.log().entries().last().unwrap().content else { panic!("no notice") };
        assert_eq!(text, line);
    }
}

#[test]
fn a_writer_that_finds_nothing_is_told() {
    let mut scribe = Scribe::default();
    scribe.observe(Event::WritingStarted { turns: 1 }, 0.0);
    scribe.observe(Event::CardsWritten { cards: vec![], dropped: vec![] }, 1.0);
    scribe.observe(Event::Warning(Warning::NothingWritten { dropped: 0 }), 1.0);
    assert_eq!(kinds(scribe.log()), ["write"]);
}

#[test]
fn a_stopped_run_leaves_nothing_on_its_way() {
    let mut scribe = Scribe::default();
    scribe.observe(Event::TurnStarted { turn: 0, text: "hello".into() }, 0.0);
    scribe.end_run();
    assert_eq!(scribe.log().last_turn().unwrap().1.finish, Some(Finish::Aborted));
    let next = scribe.observe(Event::TurnStarted { turn: 0, text: "again".into() }, 0.0);
    assert!(matches!(&next[0], News::Entry { entry } if entry.id > scribe.log().entries()[0].id));
}
