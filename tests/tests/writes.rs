//! Steps of a write on the tiny model: which of them are taken, and where the trust region keeps Δ.

use tmem_core::abort::Abort;
use tmem_core::engine::Engine;
use tmem_core::fast::{WriteOutcome, WriteReport};
use tmem_core::rollout::policy::Policy;
use tmem_core::settings::Settings;
use tmem_gpu::{AdapterKind, Gpu};
use tmem_tests::{ferry_card, fixture, load_model, open_gpu_as};

fn settings() -> Settings {
    let mut settings = Settings::small();
    settings.fast.layers = 1;
    settings.fast.steps = 6;
    settings.fast.kl_prompts = 0;
    settings
}

/// Learns one card anew; after `stop_after` steps have been reported it is stopped from outside.
fn write(gpu: &Gpu, settings: &Settings, stop_after: usize) -> (WriteReport, Engine) {
    let model = load_model(gpu, &fixture("tiny_a.q4_1.gguf"));
    let mut engine = pollster::block_on(Engine::new(gpu, model, settings)).unwrap();
    let abort = Abort::default();
    let mut seen = 0;
    let mut observe = |_: &_| {
        seen += 1;
        if seen == stop_after {
            abort.abort();
        }
    };
    let report = pollster::block_on(engine.learn(&[ferry_card()], &[], &mut observe, &abort)).unwrap();
    (report, engine)
}

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

#[test]
fn a_step_is_the_same_whether_the_one_before_was_waited_for_or_not() {
    for kind in KINDS {
        let gpu = open_gpu_as(kind);
        let (ahead, _) = write(&gpu, &settings(), usize::MAX);
        // A write that may stop early waits for every step; this one never does.
        let mut waiting = settings();
        waiting.fast.early_stop_loss = f32::MIN_POSITIVE;
        let (waited, _) = write(&gpu, &waiting, usize::MAX);
        assert_eq!(ahead.outcome, WriteOutcome::Completed);
        assert_eq!(ahead.steps.len(), 6);
        assert_eq!(ahead.steps, waited.steps, "{kind:?}");
        assert_eq!(ahead.delta, waited.delta);
    }
}

#[test]
fn a_write_that_is_stopped_has_taken_the_steps_that_it_reports_and_no_other() {
    for kind in KINDS {
        let gpu = open_gpu_as(kind);
        let (stopped, _) = write(&gpu, &settings(), 2);
        assert_eq!(stopped.outcome, WriteOutcome::Aborted);
        // On a GPU the third step was on its way when the second one was reported.
        assert!((2..=3).contains(&stopped.steps.len()), "{} steps", stopped.steps.len());
        let mut shorter = settings();
        shorter.fast.steps = stopped.steps.len();
        assert_eq!(stopped.delta, write(&gpu, &shorter, usize::MAX).0.delta, "{kind:?}");
    }
}

#[test]
fn a_write_that_has_learned_enough_takes_no_further_step() {
    for kind in KINDS {
        let gpu = open_gpu_as(kind);
        let (whole, _) = write(&gpu, &settings(), usize::MAX);
        let mut enough = settings();
        enough.fast.early_stop_loss = (whole.steps[2].loss + whole.steps[3].loss) / 2.0;
        let (early, _) = write(&gpu, &enough, usize::MAX);
        assert_eq!(early.outcome, WriteOutcome::StoppedEarly);
        assert_eq!(early.steps.len(), 4);
        let mut shorter = settings();
        shorter.fast.steps = 4;
        assert_eq!(early.delta, write(&gpu, &shorter, usize::MAX).0.delta, "{kind:?}");
    }
}

#[test]
fn no_site_leaves_the_trust_region() {
    for kind in KINDS {
        let gpu = open_gpu_as(kind);
        let largest = |engine: &Engine| {
            let norms = pollster::block_on(engine.site_norms()).unwrap();
            norms.iter().map(|site| site.relative).fold(0.0, f32::max)
        };
        let (free, engine) = write(&gpu, &settings(), usize::MAX);
        assert_eq!(free.trust_region_hits, 0);
        let mut bounded = settings();
        bounded.fast.trust_region = largest(&engine) / 2.0;
        let (report, engine) = write(&gpu, &bounded, usize::MAX);
        assert!(report.trust_region_hits > 0);
        let reached = largest(&engine);
        assert!((reached / bounded.fast.trust_region - 1.0).abs() < 1e-4, "{reached} of {}", bounded.fast.trust_region);
        let told = report.steps.last().unwrap().norms.iter().copied().fold(0.0, f32::max);
        assert_eq!(told, bounded.fast.trust_region);
    }
}
