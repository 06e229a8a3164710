//! The probe on a policy whose every answer is known.

mod support;

use std::path::Path;

use support::ByHeart;
use tmem_core::abort::Abort;
use tmem_core::fast::WriteOutcome;
use tmem_core::message::Message;
use tmem_core::rollout::Agent;
use tmem_core::settings::{Settings, WriterKind};
use tmem_eval::data::{Controls, Conversation, DataFile, Fact, KeyedQuestion};
use tmem_eval::probe::{CardSource, Kind, Probe, ProbeError, Progress, StageReport};

fn conversation(name: &str, facts: &[(&str, &str, &str)]) -> Conversation {
    let fact = |&(question, answer, key): &(&str, &str, &str)| Fact {
        id: key.to_lowercase(),
        user_turn: answer.to_owned(),
        question: question.to_owned(),
        answer: answer.to_owned(),
        keys: vec![key.to_owned()],
        held_out: vec![format!("Please: {question}")],
        wordings: vec![format!("Say: {question}")],
    };
    Conversation { name: name.to_owned(), facts: facts.iter().map(fact).collect(), transcript: Vec::new() }
}

fn two_conversations() -> [Conversation; 2] {
    [
        conversation("one", &[("My dog?", "Your dog is Rex.", "Rex"), ("My city?", "You live in Ghent.", "Ghent")]),
        conversation("two", &[("My car?", "You drive a Skoda.", "Skoda")]),
    ]
}

fn controls() -> Controls {
    let keyed = |question: &str, key: &str| KeyedQuestion { question: question.to_owned(), keys: vec![key.to_owned()] };
    Controls {
        general_knowledge: vec![keyed("Capital of France?", "Paris"), keyed("Capital of Peru?", "Lima")],
        neutral_prompts: vec!["Tell a story.".to_owned(), "Explain tea.".to_owned()],
        unknown_questions: vec!["My horse?".to_owned()],
    }
}

fn run(settings: Settings, policy: ByHeart, abort: &Abort) -> (Agent<ByHeart>, Result<Vec<StageReport>, ProbeError>) {
    let (conversations, controls) = (two_conversations(), controls());
    let probe = Probe { conversations: &conversations, controls: &controls, cards: CardSource::Oracle, batch: 4 };
    let mut agent = Agent::new(policy, settings);
    let stages = pollster::block_on(probe.run(&mut agent, &mut |_| {}, abort));
    (agent, stages)
}

#[test]
fn figures_are_those_of_the_answers() {
    let policy = ByHeart { base: vec![("Capital of France?", "It is Paris.")], ..ByHeart::default() };
    let (agent, stages) = run(Settings::small(), policy, &Abort::default());
    let (stages, policy) = (stages.unwrap(), agent.policy());
    assert_eq!(stages.iter().map(|s| s.after.as_str()).collect::<Vec<_>>(), ["one", "two"]);

    let last = &stages[1];
    let names: Vec<_> = last.conversations.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert!(last.conversations.iter().all(|c| c.trained.contains == 1.0 && c.trained.f1 == 1.0));
    assert!(last.conversations.iter().all(|c| c.held_out.unwrap().contains == 0.0));
    // Lima is not asked of the gate: the frozen twin does not know it either.
    assert_eq!(last.controls.knowledge_kept, Some(1.0));
    assert_eq!((last.controls.leak, last.controls.kl), (Some(0.0), Some(0.25)));
    // Ungated, everything is answered with the last card.
    assert_eq!(last.ungated.controls.knowledge_kept, Some(0.0));
    assert_eq!((last.ungated.controls.leak, last.ungated.controls.kl), (Some(1.0), Some(0.5)));
    assert_eq!(last.ungated.conversations[1].held_out.unwrap().contains, 1.0);
    assert!(last.frozen.conversations.iter().all(|c| c.trained.contains == 0.0));
    assert_eq!(last.frozen.controls.kl, Some(0.0));
    assert_eq!(last.write.losses, [2.5]);
    assert_eq!((last.write.pairs, last.write.cards[0].id, last.peak_gpu_bytes), (2, 2, 42));

    // 3 trained, 3 held out, 2 general, 1 unknown; the frozen twin's 7 earlier answers are not asked for again.
    assert_eq!(last.answers.len(), 9);
    assert_eq!(last.tokens.read, 10 * (9 + 9 + 2));
    assert!(policy.batches.iter().all(|&size| size <= 4));
    assert_eq!(policy.replayed, [0, 2]);
    let dog = &last.answers[0];
    assert_eq!((dog.kind, dog.fact.as_deref()), (Kind::Trained, Some("rex")));
    assert_eq!((dog.fast.text.as_str(), dog.frozen.text.as_str()), ("Your dog is Rex.", "I don't know."));
}

#[test]
fn without_a_gate_both_figures_are_the_same() {
    let stages = run(Settings::paper(), ByHeart::default(), &Abort::default()).1.unwrap();
    for stage in stages {
        assert_eq!(stage.controls, stage.ungated.controls);
        assert_eq!(stage.conversations, stage.ungated.conversations);
        assert_eq!(stage.controls.knowledge_kept, None, "the twin knows nothing here");
    }
}

#[test]
fn the_report_survives_json() {
    let stages = run(Settings::small(), ByHeart::default(), &Abort::default()).1.unwrap();
    let json = serde_json::to_value(&stages[0]).unwrap();
    assert!(json["conversations"][0]["trained"]["contains"].is_number());
    assert!(json["conversations"][0]["held_out"]["f1"].is_number());
    for field in ["knowledge_kept", "leak", "kl"] {
        assert!(json["controls"].get(field).is_some(), "{field}");
    }
    for field in ["prefill", "writing", "training", "answering"] {
        assert!(json["seconds"][field].is_number(), "{field}");
    }
    assert_eq!(serde_json::from_value::<StageReport>(json).unwrap(), stages[0]);
}

#[test]
fn an_abort_ends_the_probe() {
    let abort = Abort::default();
    abort.abort();
    let (agent, outcome) = run(Settings::small(), ByHeart::default(), &abort);
    assert!(matches!(outcome, Err(ProbeError::Aborted)));
    assert!(agent.cards().is_empty());
}

#[test]
fn a_write_that_fails_is_reported_and_the_probe_goes_on() {
    let policy = ByHeart { diverges: true, ..ByHeart::default() };
    let stages = run(Settings::small(), policy, &Abort::default()).1.unwrap();
    assert!(matches!(stages[1].write.outcomes[..], [WriteOutcome::RolledBack { .. }]));
    assert!(stages[1].write.warnings[0].contains("inf"), "{:?}", stages[1].write.warnings);
    assert_eq!(stages[1].conversations[0].trained.contains, 0.0);
}

#[test]
fn own_cards_come_from_the_transcript_through_the_writer() {
    let mut conversation = conversation("one", &[("My dog?", "Your dog is Rex.", "Rex")]);
    conversation.transcript = vec![
        Message::assistant("Hello!"),
        Message::user("My dog is Rex."),
        Message::assistant("Noted!"),
        Message::user("Bye."),
    ];
    let mut settings = Settings::small();
    settings.rollout.writer = WriterKind::Json;
    settings.rollout.wordings = 0;
    let writer = r#"[{"instruction": "My dog?", "output": "Rex"}, {"instruction": "My cat?", "output": "Tom"}]"#;
    let mut agent = Agent::new(ByHeart { writer, ..ByHeart::default() }, settings);
    let (mut conversations, controls) = ([conversation], controls());
    let probe = Probe { conversations: &conversations, controls: &controls, cards: CardSource::Own, batch: 8 };
    let stages = pollster::block_on(probe.run(&mut agent, &mut |_| {}, &Abort::default())).unwrap();
    let write = &stages[0].write;
    assert_eq!(write.cards.iter().map(|c| c.answer.as_str()).collect::<Vec<_>>(), ["Rex"]);
    assert_eq!((write.cards[0].source_turn, write.dropped), (Some(0), 1), "Tom is not in the transcript");
    assert_eq!(stages[0].conversations[0].trained.contains, 1.0);
    assert!(agent.state().context.is_empty());

    conversations[0].transcript.clear();
    let probe = Probe { conversations: &conversations, controls: &controls, cards: CardSource::Own, batch: 8 };
    let outcome = pollster::block_on(probe.run(&mut agent, &mut |_| {}, &Abort::default()));
    assert!(outcome.unwrap_err().to_string().contains("`one` has no transcript"));
}

/// The shared files are not part of the repository; their absence is said, not hidden.
#[test]
fn the_shared_conversation_and_controls_are_readable() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let (conversation, controls) = (folder.join("conversation_s1.json"), folder.join("controls.json"));
    if !conversation.exists() || !controls.exists() {
        eprintln!("SKIPPED: {} is not there", folder.display());
        return;
    }
    let conversation = Conversation::load(&conversation).unwrap();
    let controls = Controls::load(&controls).unwrap();
    assert_eq!((conversation.facts.len(), conversation.transcript.len()), (15, 30));
    assert!(conversation.oracle_cards(0).iter().all(|card| card.source_turn.is_some()));
    let mut agent = Agent::new(ByHeart::default(), Settings::small());
    let mut asked = 0;
    let conversations = [conversation];
    let probe = Probe { conversations: &conversations, controls: &controls, cards: CardSource::Oracle, batch: 32 };
    let mut progress = |event: Progress<'_>| {
        if let Progress::Asking { done, .. } = event {
            asked = done;
        }
    };
    let stages = pollster::block_on(probe.run(&mut agent, &mut progress, &Abort::default())).unwrap();
    assert_eq!(stages[0].conversations[0].trained.contains, 1.0);
    // 15 questions, 30 held-out wordings, 13 of general knowledge, 7 unknown: each three times.
    assert_eq!(asked, 3 * (15 + 30 + 13 + 7));
}
