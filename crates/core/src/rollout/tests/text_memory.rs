//! The strategies that keep text: summary, retrieval, both channels; and none, which keeps what fits.

use super::strategies::{agent_with, ask_all, last_prompt, memory_reply};
use super::*;
use crate::message::Role;

const FACTS: [&str; 3] = ["My dog is Biscuit", "My city is Ghent", "My horse is Rex"];

fn summary(agent: &Agent<Scripted>) -> String {
    let passages = agent.passages();
    assert!(passages.len() <= 1);
    passages.into_iter().map(|p| p.text).collect()
}

#[test]
fn the_summary_is_rewritten_from_itself_and_stands_in_every_prompt() {
    let mut agent = agent_with("summary", 12, &["system_prompt=Be brief."]);
    for text in FACTS {
        say(&mut agent, text);
    }
    assert_eq!(summary(&agent), FACTS.join("\n"));
    assert!(agent.cards().is_empty() && agent.state().context.is_empty());
    let system = "Be brief.\n\nWhat you remember of the conversation so far:\nMy dog is Biscuit\nMy city is Ghent";
    let prompts: Vec<&GenerateRequest> = agent.policy().batches.iter().map(|batch| &batch[0]).collect();
    let last_answer = prompts.iter().rev().find(|r| r.messages.last().unwrap().content == FACTS[2]).unwrap();
    assert_eq!(last_answer.messages[0].content, system);
    // The writer has the memory in its instruction, not twice.
    let rewrite = prompts.last().unwrap();
    assert_eq!((rewrite.messages[0].content.as_str(), rewrite.messages.len()), ("Be brief.", 2));
    assert_eq!(rewrite.max_tokens, agent.settings().rollout.summary_tokens);
}

#[test]
fn the_summary_counts_against_the_budget() {
    let mut agent = agent_with("summary", 12, &[]);
    say(&mut agent, FACTS[0]);
    // Header of eight words, four of the fact, markup of the message.
    assert_eq!(agent.context_tokens().unwrap(), 16);
}

#[test]
fn an_empty_rewrite_leaves_the_old_summary() {
    let mut agent = agent_with("summary", 12, &[]);
    say(&mut agent, FACTS[0]);
    let reply = |request: &GenerateRequest| {
        let writes = request.messages.last().unwrap().content.ends_with("New memory:");
        if writes { " \n".to_owned() } else { "I see.".to_owned() }
    };
    let mut other = Agent::new(Scripted::new(reply), agent.settings().clone());
    let snapshot = pollster::block_on(agent.snapshot()).unwrap();
    pollster::block_on(other.restore(&snapshot)).unwrap();
    let events = say(&mut other, FACTS[1]);
    assert_eq!(warnings(&events), [Warning::NothingWritten { dropped: 0 }]);
    assert_eq!(summary(&other), FACTS[0]);
}

#[test]
fn a_summary_beyond_its_budget_is_cut_there_and_told() {
    let mut agent = agent_with("summary", 12, &["summary_tokens=3"]);
    let events = say(&mut agent, FACTS[0]);
    assert_eq!(warnings(&events), [Warning::SummaryTruncated { limit: 3 }]);
    assert_eq!(summary(&agent), "My dog is");
}

#[test]
fn a_context_larger_than_the_model_is_summarised_part_by_part() {
    let mut settings = settings(10_000);
    settings.set("memory=summary").unwrap();
    settings.set("answer_tokens=8").unwrap();
    settings.set("summary_tokens=20").unwrap();
    let mut agent = Agent::new(Scripted::new(memory_reply).with_context_length(260), settings);
    for text in FACTS {
        events!(|observe, abort| agent.feed(text, &"and ".repeat(60), observe, abort)).0.unwrap();
    }
    let too_long = "word ".repeat(200);
    events!(|observe, abort| agent.feed(&too_long, "", observe, abort)).0.unwrap();
    let (written, _) = events!(|observe, abort| agent.write_now(observe, abort));
    let written = written.unwrap();
    assert!(agent.policy().batches.len() > 1);
    assert!(summary(&agent).ends_with(FACTS[2]), "{}", summary(&agent));
    assert_eq!(written.dropped.len(), 1, "a turn that no prompt can hold");
}

#[test]
fn retrieval_brings_the_right_turn_back_for_each_question() {
    for more in [&["retrieval_dense=0"][..], &["retrieval_dense=1"], &["notes=on"], &[]] {
        let more: Vec<&str> = more.iter().copied().chain(["retrieval_turns=1"]).collect();
        let mut agent = agent_with("retrieval", 12, &more);
        for text in FACTS {
            say(&mut agent, text);
        }
        let (answers, events) = ask_all(&mut agent, &["What is my horse?", "the city", "What is my dog?"], false);
        let turns: Vec<_> = answers.iter().map(|a| a.recalled.turns.clone()).collect();
        assert_eq!(turns, [[2], [1], [0]], "{more:?}");
        let batch = agent.policy().batches.last().unwrap();
        for (request, fact) in batch.iter().zip([FACTS[2], FACTS[1], FACTS[0]]) {
            let system = &request.messages[0];
            assert_eq!(system.role, Role::System);
            let brought: Vec<_> = FACTS.iter().filter(|f| system.content.contains(&format!("User: {f}\n"))).collect();
            assert_eq!(brought, [&fact], "{more:?}");
        }
        assert!(events.iter().any(|e| matches!(e, Event::Segment(s) if s.messages == batch[0].messages)));
    }
}

#[test]
fn nothing_is_embedded_where_words_alone_decide() {
    let mut agent = agent_with("retrieval", 12, &["retrieval_dense=off"]);
    say(&mut agent, FACTS[0]);
    ask_all(&mut agent, &["What is my dog?"], false);
    assert!(agent.policy().embedded.is_empty());
    let mut agent = agent_with("retrieval", 12, &[]);
    say(&mut agent, FACTS[0]);
    ask_all(&mut agent, &["What is my dog?"], false);
    assert_eq!(agent.policy().embedded, ["My dog is Biscuit\nI see.\n", "What is my dog?"]);
}

#[test]
fn notes_link_to_earlier_turns_which_fill_the_budget_that_is_left() {
    let links = |tokens: usize| {
        let more = ["notes=on", "retrieval_turns=1", "retrieval_dense=off", &format!("retrieval_tokens={tokens}")];
        let mut agent = agent_with("retrieval", 12, &more);
        for text in ["My dog is Biscuit", "My city is Ghent", "My vet lives near the dog park"] {
            say(&mut agent, text);
        }
        assert_eq!(agent.passages()[2].keywords, ["vet"]);
        ask_all(&mut agent, &["Where does my vet live?"], false).0[0].recalled.turns.clone()
    };
    assert_eq!(links(200), [0, 2], "in the order they were said");
    assert_eq!(links(40), [2]);
}

#[test]
fn what_is_brought_back_stays_within_its_budget_and_the_model() {
    for (budget, length) in [(20, 4096), (40, 4096), (400, 4096), (400, 120)] {
        let mut settings = settings(1);
        for assignment in ["memory=retrieval", "answer_tokens=8", &format!("retrieval_tokens={budget}")] {
            settings.set(assignment).unwrap();
        }
        let mut agent = Agent::new(Scripted::new(memory_reply).with_context_length(length), settings);
        for n in 0..6 {
            let text = format!("Item {n} of the list, with some words around it {}", "and on ".repeat(n));
            events!(|observe, abort| agent.feed(&text, "Noted.", observe, abort)).0.unwrap();
        }
        assert!(agent.context_tokens().unwrap() <= budget);
        let (answers, _) = ask_all(&mut agent, &["What was item 2 of the list?"], false);
        let prompt = answers[0].prompt_tokens;
        let question = 7 + 4;
        assert!(prompt <= question + 4 + budget && prompt + 8 <= length, "{prompt} for {budget}");
        assert_eq!(answers[0].recalled.text.is_some(), budget > 20, "{budget}");
    }
}

#[test]
fn a_long_turn_that_alone_passes_the_budget_is_cut() {
    let mut agent = agent_with("retrieval", 12, &["retrieval_tokens=40"]);
    let text = format!("My dog is Biscuit {}", "and so on ".repeat(50));
    events!(|observe, abort| agent.feed(&text, "Noted.", observe, abort)).0.unwrap();
    let answer = ask_all(&mut agent, &["What is my dog?"], false).0.pop().unwrap();
    let text = answer.recalled.text.unwrap();
    assert!(text.contains("My dog is Biscuit and so") && text.ends_with(" …"), "{text}");
    assert!(text.split_whitespace().count() <= 40);
}

#[test]
fn a_turn_that_still_stands_in_the_context_is_not_brought_back_beside_it() {
    let mut agent = agent_with("retrieval", 1000, &[]);
    say(&mut agent, FACTS[0]);
    events!(|observe, abort| agent.write_now(observe, abort)).0.unwrap();
    assert_eq!(agent.passages().len(), 1);
    let asked = |agent: &mut Agent<Scripted>, context: bool| {
        let options = AskOptions { context, twin: false };
        events!(|observe, abort| agent.ask("What is my dog?", options, observe, abort)).0.unwrap().recalled.turns
    };
    assert_eq!(asked(&mut agent, false), [0]);
    assert!(asked(&mut agent, true).is_empty());
    agent.clear_context(&mut |_| {});
    assert_eq!(asked(&mut agent, true), [0]);
}

#[test]
fn a_turn_of_the_chat_is_answered_with_what_was_brought_back() {
    let mut agent = agent_with("retrieval", 12, &[]);
    say(&mut agent, FACTS[0]);
    say(&mut agent, "What is my dog?");
    let prompts: Vec<Vec<String>> =
        agent.policy().batches.iter().map(|b| b[0].messages.iter().map(|m| m.content.clone()).collect()).collect();
    assert!(prompts.last().unwrap()[0].contains("User: My dog is Biscuit\nAssistant: I see."), "{prompts:?}");
}

#[test]
fn both_channels_write_text_and_learn_cards() {
    for channel in ["summary", "retrieval"] {
        let mut agent = agent_with("tmem_text", 12, &[&format!("text_channel={channel}")]);
        let events = say(&mut agent, FACTS[0]);
        let names = names(&events);
        for name in ["cards_written", "write_finished", "memory_written", "context_cleared"] {
            assert!(names.contains(&name.to_owned()), "{channel}: {name}");
        }
        assert_eq!(recall(&mut agent, "What is my dog?"), ("Biscuit".to_owned(), "I see.".to_owned()));
        let system = last_prompt(&agent).remove(0);
        assert!(system.contains("My dog is Biscuit"), "{channel}: {system}");
    }
}

#[test]
fn where_training_fails_neither_channel_keeps_anything() {
    let mut agent = agent_with("tmem_text", 12, &["text_channel=summary"]);
    agent.policy_mut().fail_next_write(WriteOutcome::RolledBack { reason: "NaN".to_owned() });
    let events = say(&mut agent, FACTS[0]);
    assert_eq!(warnings(&events), [Warning::WriteAbandoned { reason: "NaN".to_owned() }]);
    assert!(agent.passages().is_empty() && agent.cards().is_empty());
    assert_eq!(agent.state().context.len(), 1);
}

#[test]
fn a_question_that_does_not_fit_behind_the_whole_context_is_asked_without_the_oldest_turns() {
    let mut settings = settings(10);
    settings.rollout.memory = MemoryKind::None;
    settings.rollout.answer_tokens = 10;
    let mut agent = Agent::new(Scripted::new(memory_reply).with_context_length(70), settings);
    for text in FACTS {
        say(&mut agent, text);
    }
    let before = agent.state().context.clone();
    assert_eq!(before.len(), 3);
    let question = format!("{}?", "why ".repeat(24).trim());
    let options = AskOptions { context: true, twin: false };
    let (answer, events) = events!(|observe, abort| agent.ask(&question, options, observe, abort));
    assert_eq!(answer.unwrap().text, "I see.");
    assert_eq!(warnings(&events), [Warning::TurnsLeftOut { turns: 1 }]);
    assert_eq!(last_prompt(&agent)[0], FACTS[1]);
    assert_eq!((&agent.state().context, agent.state().dropped_turns), (&before, 0));
}
