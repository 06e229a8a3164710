use proptest::prelude::*;

use super::*;
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::WriteOutcome;
use crate::rollout::policy::GenerateRequest;
use crate::rollout::scripted::Scripted;
use crate::rollout::{AskOptions, Event};
use crate::settings::WriterKind;

const MODEL: &str = "5f1e";

fn settings() -> Settings {
    let mut settings = Settings::small();
    settings.rollout.budget = 40;
    settings.rollout.writer = WriterKind::Json;
    settings
}

/// Writes a card about whatever dog the last turn named.
fn reply(request: &GenerateRequest) -> String {
    if request.assistant_prefix.is_empty() {
        return "I see.".to_owned();
    }
    let heard = request.messages.iter().find_map(|m| m.content.strip_prefix("My dog is called ")).unwrap_or("nothing");
    format!(r#"{{"instruction": "What is my dog called?", "output": "{heard}"}}]"#)
}

fn agent() -> Agent<Scripted> {
    Agent::new(Scripted::new(reply), settings())
}

fn model() -> ModelIdentity {
    ModelIdentity { name: "a model".to_owned(), sha256: MODEL.to_owned() }
}

fn card(question: &str, answer: &str) -> Card {
    Card { id: 0, question: question.into(), wordings: vec![], answer: answer.into(), source_turn: None }
}

/// Turns with a trigger, a card from outside, an edit, a question, a cleared context.
async fn conversation(agent: &mut Agent<Scripted>) -> Result<(), AgentError> {
    let (silent, abort): (&mut dyn FnMut(Event), _) = (&mut |_| {}, Abort::default());
    agent.turn("My dog is called Biscuit", silent, &abort).await?;
    agent.write_now(silent, &abort).await?;
    let id = agent.learn(&[card("Where do I live?", "In Ghent.")], silent, &abort).await?.cards[0].id;
    agent.edit(Card { id, ..card("Where do I live?", "In Bergen.") }, silent, &abort).await?;
    agent.clear_context(silent);
    agent.ask("Where do I live?", AskOptions::default(), silent, &abort).await?;
    agent.feed("And now something else", "Go on.", silent, &abort).await
}

fn made() -> Recipe {
    pollster::block_on(async {
        let mut agent = agent();
        conversation(&mut agent).await.unwrap();
        Recipe::of(&mut agent, model(), Some("small".to_owned())).await.unwrap()
    })
}

fn replayed(recipe: &Recipe) -> ReplayReport {
    pollster::block_on(replay(recipe, MODEL, &mut agent(), &mut |_| {}, &Abort::default())).unwrap()
}

#[test]
fn a_link_and_a_file_carry_the_same_recipe() {
    let recipe = made();
    let fragment = recipe.to_fragment().unwrap();
    assert!(fragment.len() < 2000, "{} characters", fragment.len());
    assert_eq!(Recipe::from_link(&format!("https://example.org/tmem/#{fragment}")).unwrap(), recipe);
    assert_eq!(Recipe::from_link(&fragment).unwrap(), recipe);
    assert_eq!(Recipe::from_json(&recipe.to_json().unwrap()).unwrap(), recipe);
}

#[test]
fn a_replay_ends_in_the_same_bits() {
    let report = replayed(&made());
    assert_eq!((report.outcome, report.skipped), (ReplayOutcome::Match, 0));
    assert_eq!(report.delta.hash, report.expected_hash);
}

#[test]
fn a_replay_that_learns_something_else_says_how_far_apart_it_is() {
    let mut recipe = made();
    recipe.script.push(Action::Learn { cards: vec![card("Who am I?", "Ann.")] });
    let ReplayOutcome::Distance { relative } = replayed(&recipe).outcome else { panic!("expected a distance") };
    assert!(relative > 0.01 && relative < 2.0, "{relative}");
    recipe.expected.fingerprint.values += 1;
    assert_eq!(replayed(&recipe).outcome, ReplayOutcome::OtherShape);
}

#[test]
fn an_action_that_is_impossible_here_is_skipped_and_told() {
    let mut recipe = made();
    recipe.script.insert(0, Action::Forget { id: 77 });
    let mut warnings = 0;
    let mut count = |event: Event| warnings += usize::from(matches!(event, Event::Warning(_)));
    let report = pollster::block_on(replay(&recipe, MODEL, &mut agent(), &mut count, &Abort::default())).unwrap();
    assert_eq!((report.outcome, report.skipped, warnings), (ReplayOutcome::Match, 1, 1));
}

#[test]
fn after_a_write_stopped_by_hand_the_recipe_carries_cards_and_still_matches() {
    let recipe = pollster::block_on(async {
        let mut agent = agent();
        let (silent, abort): (&mut dyn FnMut(Event), _) = (&mut |_| {}, Abort::default());
        agent.turn("My dog is called Biscuit", silent, &abort).await.unwrap();
        agent.write_now(silent, &abort).await.unwrap();
        agent.learn(&[card("What is my dog called?", "Max")], silent, &abort).await.unwrap();
        agent.policy_mut().fail_next_write(WriteOutcome::Aborted);
        agent.turn(&"My dog is called Rex and many other words ".repeat(4), silent, &abort).await.unwrap();
        Recipe::of(&mut agent, model(), None).await.unwrap()
    });
    assert!(recipe.script.iter().all(|action| matches!(action, Action::Learn { .. })), "{:?}", recipe.script);
    assert_eq!(replayed(&recipe).outcome, ReplayOutcome::Match);
}

#[test]
fn another_model_or_other_settings_are_refused() {
    let recipe = made();
    let run = |recipe: &Recipe, sha256: &str| {
        pollster::block_on(replay(recipe, sha256, &mut agent(), &mut |_| {}, &Abort::default())).unwrap_err()
    };
    assert!(matches!(run(&recipe, "abcd"), ReplayError::OtherModel { .. }));
    let mut other = recipe.clone();
    other.settings.seed += 1;
    assert!(matches!(run(&other, MODEL), ReplayError::OtherSettings));
}

#[test]
fn a_stopped_replay_ends_at_once() {
    let abort = Abort::default();
    abort.abort();
    let result = pollster::block_on(replay(&made(), MODEL, &mut agent(), &mut |_| {}, &abort));
    assert!(matches!(result, Err(ReplayError::Aborted)));
}

#[test]
fn every_strategy_is_replayed_to_the_same_weights_and_the_same_text() {
    let all = ["none", "summary", "retrieval", "tmem", "tmem_text", "cards"];
    for name in all {
        let mut settings = settings();
        settings.set(&format!("memory={name}")).unwrap();
        settings.rollout.question_aware = true;
        let agent = || Agent::new(Scripted::new(reply), settings.clone());
        let (silent, abort): (&mut dyn FnMut(Event), _) = (&mut |_| {}, Abort::default());
        let recipe = pollster::block_on(async {
            let mut agent = agent();
            agent.set_question(Some("Which dog?"));
            conversation(&mut agent).await.unwrap();
            agent.turn(&"and so on ".repeat(20), silent, &abort).await.unwrap();
            Recipe::of(&mut agent, model(), None).await.unwrap()
        });
        let recipe = Recipe::from_link(&recipe.to_fragment().unwrap()).unwrap();
        let run = |recipe: &Recipe| {
            pollster::block_on(replay(recipe, MODEL, &mut agent(), &mut |_| {}, &Abort::default())).unwrap()
        };
        let report = run(&recipe);
        let remembers_text = !matches!(name, "none" | "tmem");
        assert_eq!((report.outcome, report.memory), (ReplayOutcome::Match, remembers_text.then_some(true)), "{name}");
        // Without the last turn less is remembered.
        if remembers_text && name != "cards" {
            let mut shorter = recipe.clone();
            shorter.script.truncate(2);
            assert_eq!(run(&shorter).memory, Some(false), "{name}");
        }
    }
}

#[test]
fn a_recipe_from_before_there_were_other_strategies_is_still_read() {
    let mut tree: serde_json::Value = serde_json::from_str(&made().to_json().unwrap()).unwrap();
    let rollout = tree["settings"]["rollout"].as_object_mut().unwrap();
    let before =
        ["memory", "budget", "writer", "answer_tokens", "writer_tokens", "max_cards", "wordings", "system_prompt"];
    rollout.retain(|name, _| before.contains(&name.as_str()));
    let read = Recipe::from_json(&tree.to_string()).unwrap();
    assert_eq!(read, made());
    assert_eq!(replayed(&read).outcome, ReplayOutcome::Match);
}

fn deflated(bytes: &[u8]) -> String {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    BASE64_URL_SAFE_NO_PAD.encode(encoder.finish().unwrap())
}

#[test]
fn hostile_links_are_named_and_refused() {
    let error = |link: &str| Recipe::from_link(link).unwrap_err();
    assert!(matches!(error(""), RecipeError::Empty));
    assert!(matches!(error("https://example.org/#"), RecipeError::Empty));
    assert!(matches!(error("#recipe=a*b"), RecipeError::Encoding(_)));
    assert!(matches!(error("#recipe=____"), RecipeError::Compression(_)));
    assert!(matches!(error(&"A".repeat(MAX_LINK + 1)), RecipeError::LinkTooLong { .. }));
    // 20 MB of spaces in 20 kB.
    assert!(matches!(error(&deflated(&vec![b' '; 20 << 20])), RecipeError::TooLarge));
    assert!(matches!(error(&deflated(b"{}")), RecipeError::Json(_)));
    assert!(matches!(error(&deflated("[".repeat(100_000).as_bytes())), RecipeError::Json(_)));
    assert!(matches!(error(&deflated(br#"{"version": 2, "new": []}"#)), RecipeError::Version { found: 2 }));

    let json = made().to_json().unwrap();
    let broken = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        error(&deflated(json.replacen(from, to, 1).as_bytes()))
    };
    assert!(matches!(broken("\"script\"", "\"extra\": 1, \"script\""), RecipeError::Json(_)));
    assert!(matches!(broken("\"do\": \"write\"", "\"do\": \"explode\""), RecipeError::Json(_)));
    assert!(matches!(broken("\"do\": \"write\"", "\"do\": \"write\", \"x\": 1"), RecipeError::Json(_)));
    assert!(matches!(broken("\"rank\": 6", "\"rank\": 100000"), RecipeError::Settings(_)));
    let mut long = made();
    long.script = vec![Action::Clear {}; MAX_ACTIONS + 1];
    assert!(matches!(error(&deflated(&serde_json::to_vec(&long).unwrap())), RecipeError::TooManyActions { .. }));
    long.script = vec![Action::Turn { text: "x".repeat(MAX_JSON) }];
    assert!(matches!(long.to_fragment(), Err(RecipeError::TooLarge)));
}

fn action() -> impl Strategy<Value = Action> {
    let text = ".{0,30}";
    prop_oneof![
        text.prop_map(|text| Action::Turn { text }),
        (text, text).prop_map(|(text, answer)| Action::Feed { text, answer }),
        (text, any::<bool>()).prop_map(|(text, context)| Action::Ask { text, context }),
        proptest::option::of(text).prop_map(|question| Action::Purpose { question }),
        Just(Action::Write {}),
        Just(Action::Clear {}),
        (text, text).prop_map(|(q, a)| Action::Learn { cards: vec![card(&q, &a)] }),
        any::<u64>().prop_map(|id| Action::Forget { id }),
        (text, text, any::<u64>()).prop_map(|(q, a, id)| Action::Edit { card: Card { id, ..card(&q, &a) } }),
    ]
}

proptest! {
    #[test]
    fn every_script_survives_the_link(
        script in proptest::collection::vec(action(), 0..20),
        seed in any::<u64>(),
        b in proptest::collection::vec(-1.0f32..1.0, 0..50),
    ) {
        let mut settings = settings();
        settings.seed = seed;
        let expected = Expected { hash: "00".to_owned(), fingerprint: Fingerprint::of(&b), memory: None };
        let recipe = Recipe { version: VERSION, model: model(), preset: None, settings, script, expected };
        prop_assert_eq!(Recipe::from_link(&recipe.to_fragment().unwrap()).unwrap(), recipe);
    }

    #[test]
    fn any_link_is_survived(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Recipe::from_link(&text);
        let _ = Recipe::from_link(&BASE64_URL_SAFE_NO_PAD.encode(&bytes));
        let _ = Recipe::from_link(&deflated(&bytes));
    }

    #[test]
    fn a_link_with_one_wrong_character_is_refused_or_read_but_never_panics(at in 0usize..400, with in "[A-Za-z0-9_-]") {
        let mut fragment = made().to_fragment().unwrap();
        if at + 1 < fragment.len() && at >= KEY.len() {
            fragment.replace_range(at..=at, &with);
        }
        let _ = Recipe::from_link(&fragment);
    }
}
