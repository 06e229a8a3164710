use std::future::Future as _;

use super::*;
use crate::log::{Content, Entry};
use crate::protocol::{Action, Base, Command, ModelSource, Phase};
use tmem_core::rollout::policy::Finish;

fn report(run: u64, news: News) -> Report {
    Report { run, news }
}

fn turn(id: u64, question: &str) -> Entry {
    let content = Content::Turn { question: question.into(), answer: Answer::default(), twin: None };
    Entry { id, content }
}

fn ready() -> PageState {
    let mut state = PageState::default();
    let model =
        ModelInfo { name: "tiny".into(), sha256: "0".repeat(64), layers: 2, context_length: 64, sites: 6, base: None };
    state.apply(report(1, News::Ready(Box::new(model))));
    state
}

#[test]
fn loading_goes_from_choice_over_progress_to_ready() {
    let mut state = PageState::default();
    assert!(!state.can_speak());
    state.apply(report(1, News::NeedsDownload { name: "tiny".into(), bytes: 10 }));
    assert_eq!(state.stage, Stage::Choosing { name: "tiny".into(), bytes: 10 });
    let progress = Progress { phase: Phase::Download, done: 5, total: 10 };
    state.apply(report(2, News::Progress(progress)));
    assert_eq!(state.stage, Stage::Loading(progress));
    assert!(ready().can_speak());
}

#[test]
fn tokens_stream_into_their_own_turn() {
    let mut state = ready();
    state.sent(2);
    assert!(!state.can_speak());
    state.apply(report(2, News::Entry { entry: Box::new(turn(7, "hello")) }));
    for (twin, text) in [(false, "Hi"), (true, "Hey"), (false, " there")] {
        state.apply(report(2, News::Token { entry: 7, twin, text: text.into() }));
    }
    // A turn nobody knows is not an error.
    state.apply(report(2, News::Token { entry: 9, twin: false, text: "lost".into() }));
    let (question, answer, twin) = state.last_turn().unwrap();
    assert_eq!((question, answer.text.as_str(), answer.tokens), ("hello", "Hi there", 2));
    assert_eq!(twin.unwrap().text, "Hey");
    assert_eq!(answer.finish, None);

    state.apply(report(2, News::Finished));
    assert!(state.can_speak());
    assert_eq!(state.last_turn().unwrap().1.finish, Some(Finish::Aborted));
}

#[test]
fn a_failed_turn_leaves_the_page_usable_and_a_lost_device_does_not() {
    let mut state = ready();
    state.sent(2);
    let other = Failure { cause: Cause::Other, message: "too long".into() };
    state.apply(report(2, News::Failed(other.clone())));
    state.apply(report(2, News::Finished));
    assert_eq!(state.failure, Some(other));
    assert!(state.can_speak());

    state.sent(3);
    assert_eq!(state.failure, None, "a new run takes the old failure away");
    state.apply(report(3, News::Entry { entry: Box::new(turn(1, "still here?")) }));
    state.apply(report(3, News::Failed(Failure { cause: Cause::DeviceLost, message: "gone".into() })));
    state.apply(report(3, News::Finished));
    assert_eq!(state.stage, Stage::Down);
    assert!(!state.can_speak());
    assert_eq!(state.log.entries().len(), 1, "the conversation survives");
}

#[test]
fn a_failure_while_loading_stops_loading() {
    let mut state = PageState::default();
    state.apply(report(1, News::Progress(Progress { phase: Phase::Download, done: 1, total: 2 })));
    state.apply(report(1, News::Failed(Failure { cause: Cause::Model, message: "damaged".into() })));
    assert_eq!(state.stage, Stage::Down);
}

#[test]
fn a_new_training_starts_a_new_curve() {
    let mut state = ready();
    let step = StepReport { step: 0, steps: 2, loss: 3.0, kl: 0.0, learned: 0.0, norms: vec![] };
    state.apply(report(2, News::Doing { activity: Activity::Training }));
    state.apply(report(2, News::Step(step.clone())));
    state.apply(report(2, News::Finished));
    assert_eq!(state.steps.len(), 1, "the curve stays after the run");
    assert_eq!(state.activity, None);
    state.apply(report(3, News::Doing { activity: Activity::Training }));
    assert!(state.steps.is_empty());
}

#[test]
fn a_dead_worker_ends_everything_it_was_asked_for() {
    let mut state = ready();
    state.sent(2);
    state.sent(3);
    state.worker_died("it crashed");
    assert!(!state.busy());
    assert_eq!(state.stage, Stage::Down);
}

#[test]
fn wrong_kernels_are_named() {
    let mut state = PageState::default();
    let check = |name: &str, passed| Check { name: name.into(), error: 0.0, passed };
    state.apply(report(1, News::Checks { checks: vec![check("rope", true), check("matmul", false)] }));
    assert_eq!(state.wrong_kernels(), ["matmul"]);
}

#[test]
fn commands_and_reports_survive_the_journey() {
    let command = Command { run: 3, action: Action::Load { source: ModelSource::Server, base: Base::Published } };
    let text = serde_json::to_string(&command).unwrap();
    assert_eq!(text, r#"{"run":3,"action":{"kind":"load","source":"server","base":"published"}}"#);
    assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);

    let mut state = ready();
    state.apply(report(2, News::Entry { entry: Box::new(turn(1, "a \"quoted\" question\n")) }));
    for news in [
        News::Hello,
        News::Restored { log: state.log.clone() },
        News::Step(StepReport { step: 1, steps: 2, loss: 0.5, kl: 0.1, learned: 0.5, norms: vec![0.1] }),
        News::Failed(Failure { cause: Cause::Memory, message: "short".into() }),
        News::Finished,
    ] {
        let report = report(9, news);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}

#[test]
fn the_page_knows_a_share_link_by_its_key() {
    use tmem_core::recipe::{ModelIdentity, Recipe};
    use tmem_core::rollout::Agent;
    use tmem_core::rollout::scripted::Scripted;
    use tmem_core::settings::Settings;

    let mut agent = Agent::new(Scripted::new(|_| String::new()), Settings::small());
    let model = ModelIdentity { name: "tiny".into(), sha256: "0".repeat(64) };
    let recipe = Recipe::of(&mut agent, model, None);
    // The scripted policy never waits, so one poll is enough.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(recipe) = std::pin::pin!(recipe).poll(&mut context) else { panic!("it waited") };
    assert!(recipe.unwrap().to_fragment().unwrap().starts_with(crate::protocol::LINK_KEY));
}
