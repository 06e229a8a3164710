//! The whole way on the real model: facts are told, memory is written, the context is cleared; the fast weights answer
//! and the frozen twin does not. The recipe of it leads to the same bits, and a reset back to the base model.

use tmem_core::abort::Abort;
use tmem_core::engine::Engine;
use tmem_core::fast::WriteOutcome;
use tmem_core::recipe::{ModelIdentity, Recipe, ReplayOutcome, replay};
use tmem_core::rollout::policy::{Policy, Weights};
use tmem_core::rollout::{Agent, AskOptions};
use tmem_core::settings::Settings;
use tmem_eval::score::contains_key;
use tmem_tests::{load_model, open_gpu, smollm2_path};

/// What is told, a question about it in words that no card has, and the key of its answer.
const FACTS: [(&str, &str, &str); 2] = [
    ("My dog is called Biscuit.", "What is the name of my dog?", "Biscuit"),
    ("I live in Ghent.", "Where do I live?", "Ghent"),
];

/// The small preset with as little work as two facts need, so that the test is bearable without a GPU.
fn settings() -> Settings {
    let mut settings = Settings::small();
    settings.rollout.answer_tokens = 16;
    settings.rollout.wordings = 2;
    settings.fast.layers = 4;
    settings.fast.steps = 14;
    settings.fast.batch = 6;
    settings.fast.learning_rate = 2e-3;
    settings.fast.kl_prompts = 2;
    settings
}

/// Logits after a prompt that has to do with the facts, under the weights in force.
async fn logits(agent: &mut Agent<Engine>) -> Vec<u32> {
    let prompt: Vec<u32> = (100..120).collect();
    let logits = agent.policy_mut().next_logits(&[prompt], Weights::FastUngated).await.unwrap();
    logits[0].iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn facts_are_learned_recalled_without_context_replayed_and_reset() {
    pollster::block_on(async {
        let gpu = open_gpu();
        let model = load_model(&gpu, &smollm2_path());
        let identity = ModelIdentity { name: model.name.clone(), sha256: model.sha256.clone() };
        let sha256 = identity.sha256.clone();
        let engine = Engine::new(&gpu, model, &settings()).await.unwrap();
        let mut agent = Agent::new(engine, settings());
        let abort = Abort::default();
        let (untouched, base) = (agent.policy().delta(), logits(&mut agent).await);

        for (told, ..) in FACTS {
            agent.feed(told, "Thanks for telling me.", &mut |_| {}, &abort).await.unwrap();
        }
        let written = agent.write_now(&mut |_| {}, &abort).await.unwrap();
        agent.clear_context(&mut |_| {});
        let report = written.report.expect("both facts give cards");
        assert_eq!(report.outcome, WriteOutcome::Completed);
        assert_eq!(written.cards.iter().map(|card| card.source_turn).collect::<Vec<_>>(), [Some(0), Some(1)]);
        let (first, last) = (report.steps[0].loss, report.steps[report.steps.len() - 1].loss);
        assert!(last < first / 2.0, "the loss went from {first} to {last}");
        assert!(report.norms.iter().all(|site| site.relative > 0.0), "{:?}", report.norms);
        let learned = agent.policy().delta();
        assert_ne!(learned.hash, untouched.hash);
        assert_ne!(logits(&mut agent).await, base);

        assert_eq!(agent.context_tokens().unwrap(), 0, "nothing is left in the context");
        let questions: Vec<String> = FACTS.iter().map(|(_, question, _)| (*question).to_owned()).collect();
        let options = AskOptions { context: false, twin: true };
        let answers = agent.ask_all(&questions, options, &mut |_| {}, &abort).await.unwrap();
        for ((_, question, key), answer) in FACTS.iter().zip(answers) {
            let twin = answer.twin.expect("the twin was asked");
            assert!(contains_key(&answer.text, &[key]), "{question} {} ({:?})", answer.text, answer.gate);
            assert!(!contains_key(&twin.text, &[key]), "the frozen twin cannot know: {}", twin.text);
        }

        let recipe = Recipe::of(&mut agent, identity, Some("small".to_owned())).await.unwrap();
        let recipe = Recipe::from_link(&recipe.to_fragment().unwrap()).unwrap();
        let again = replay(&recipe, &sha256, &mut agent, &mut |_| {}, &abort).await.unwrap();
        assert_eq!(again.outcome, ReplayOutcome::Match, "{} is not {}", again.delta.hash, learned.hash);
        assert_eq!((again.delta.hash, again.skipped), (learned.hash, 0));

        agent.reset(&mut |_| {}).await.unwrap();
        assert_eq!(agent.policy().delta(), untouched);
        assert_eq!(logits(&mut agent).await, base, "a reset brings the base model back bit for bit");
        assert!(agent.cards().is_empty());
    });
}
