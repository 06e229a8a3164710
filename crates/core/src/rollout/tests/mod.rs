//! The rollout driven by the scripted policy.

mod actions;
mod learning;
mod look_up;
mod memory;
mod strategies;
mod text_memory;
mod writing;

use super::policy::{GenerateRequest, Weights};
use super::scripted::Scripted;
use super::*;
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::WriteOutcome;
use crate::settings::{MemoryKind, Settings, WriterKind};

/// Answers "I see."; as a writer, makes a card of every "My X is Y" said in the context.
fn reply(request: &GenerateRequest) -> String {
    if request.assistant_prefix.is_empty() {
        return "I see.".to_owned();
    }
    let said = request.messages.iter().filter_map(|m| m.content.strip_prefix("My ")?.split_once(" is "));
    let items: Vec<String> =
        said.map(|(x, y)| format!(r#"{{"instruction":"What is my {x}?","output":"{y}"}}"#)).collect();
    items.join(", ") + "]"
}

fn settings(budget: usize) -> Settings {
    let mut settings = Settings::small();
    settings.rollout.budget = budget;
    settings.rollout.writer = WriterKind::Json;
    settings
}

fn agent(budget: usize) -> Agent<Scripted> {
    Agent::new(Scripted::new(reply), settings(budget))
}

/// Runs something on an agent and collects its events.
macro_rules! events {
    (|$observe:ident, $abort:ident| $run:expr) => {{
        let mut events: Vec<Event> = Vec::new();
        let result = {
            let $observe: &mut dyn FnMut(Event) = &mut |event| events.push(event);
            let $abort = &Abort::default();
            pollster::block_on($run)
        };
        (result, events)
    }};
}
use events;

/// Says something; the events of it.
fn say(agent: &mut Agent<Scripted>, text: &str) -> Vec<Event> {
    let (answer, events) = events!(|observe, abort| agent.turn(text, observe, abort));
    answer.unwrap();
    events
}

/// Asks without context: what the fast weights know, and what the twin says.
fn recall(agent: &mut Agent<Scripted>, question: &str) -> (String, String) {
    let options = AskOptions { context: false, twin: true };
    let (answer, _) = events!(|observe, abort| agent.ask(question, options, observe, abort));
    let answer = answer.unwrap();
    (answer.text, answer.twin.unwrap().text)
}

fn card(question: &str, answer: &str) -> Card {
    Card { id: 0, question: question.into(), wordings: vec![], answer: answer.into(), source_turn: None }
}

fn learn(agent: &mut Agent<Scripted>, cards: &[Card]) -> Vec<Card> {
    events!(|observe, abort| agent.learn(cards, observe, abort)).0.unwrap().cards
}

/// The names of events, repeated ones once.
fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| {
        let value = serde_json::to_value(event).unwrap();
        value["event"].as_str().unwrap().to_owned()
    };
    let mut names: Vec<String> = events.iter().map(name).collect();
    names.dedup();
    names
}

fn warnings(events: &[Event]) -> Vec<Warning> {
    let warning = |event: &Event| if let Event::Warning(w) = event { Some(w.clone()) } else { None };
    events.iter().filter_map(warning).collect()
}
