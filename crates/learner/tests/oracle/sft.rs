//! The supervised warm start on a tiny model: a simulated write learns, a run repeats itself and survives a stop.

use tmem_core::fast::Projection;
use tmem_core::fast::peft::{PeftAdapter, PeftSite};
use tmem_core::model::{HostModel, ModelConfig};
use tmem_core::settings::RolloutSettings;
use tmem_learner::LearnError;
use tmem_learner::model::{Model, SlowAdapter, SlowSettings};
use tmem_learner::sft::{
    Asked, Conversations, EpisodeSettings, EpisodeTexts, Exchange, Sft, SftReport, SftSettings, Texts, Transcript,
};
use tmem_learner::train::{Schedule, TrainSettings, WriteSettings};

use crate::support::{device, host, numbers, tiny};

/// A pet with a name and a hobby on a day; no horse.
struct Lives;

impl Conversations for Lives {
    fn texts(&self, number: u64) -> Result<EpisodeTexts, LearnError> {
        let pick = |of: [&str; 3]| of[number as usize % 3].to_owned();
        let (name, day) = (pick(["Rex", "Ada", "Bo"]), pick(["Monday", "Friday", "Sunday"]));
        let asked = |wordings: [&str; 2], held_out: &str, answer: String| Asked {
            wordings: wordings.map(str::to_owned).to_vec(),
            held_out: vec![held_out.to_owned()],
            answer,
            not_known: Some("Your dog is not known to me.".to_owned()),
        };
        let known = vec![
            asked(["My dog's name?", "What is my dog called?"], "Who is my dog?", format!("Your dog is {name}.")),
            asked(["When is choir?", "My choir's day?"], "Which day do I sing?", format!("Choir is on {day}.")),
        ];
        let unknown = asked(["My horse's name?", "Who is my horse?"], "Have I a horse?", "Not known to me.".into());
        let told = Exchange { user: format!("My dog is {name}."), assistant: "What a name.".into() };
        let cards = vec![("My dog's name?".to_owned(), format!("Your dog is {name}."))];
        let transcripts = vec![Transcript { turns: vec![told], cards }];
        Ok(EpisodeTexts { known, unknown: vec![unknown], transcripts })
    }
}

fn settings() -> SftSettings {
    SftSettings {
        seed: 11,
        episodes: 2,
        episodes_at_once: 1,
        episode: EpisodeSettings { cards: 2, wordings: 2, write_unknown: 1, ..Default::default() },
        write: WriteSettings { learning_rate: 1e-2, steps: 4, ..WriteSettings::default() },
        train: TrainSettings {
            schedule: Schedule { learning_rate: 1e-3, ..Schedule::default() },
            ..TrainSettings::default()
        },
        row_tokens: 256,
    }
}

/// Fast weights on the feed-forward blocks of the last two layers.
fn start(config: &ModelConfig) -> PeftAdapter {
    let projections = [Projection::GateProj, Projection::UpProj, Projection::DownProj];
    let sites = (1..config.layers).flat_map(|layer| projections.map(|projection| (layer, projection)));
    let site = |((layer, projection), seed): ((usize, Projection), u64)| {
        let (inputs, outputs) = projection.shape(config);
        PeftSite { layer, projection, a: numbers(4 * inputs, 0.5, seed), b: vec![0.0; 4 * outputs], inputs, outputs }
    };
    PeftAdapter { rank: 4, sites: sites.zip(50..).map(site).collect() }
}

fn run<'a>(file: &'a HostModel, rollout: &'a RolloutSettings) -> Sft<'a> {
    run_with(file, rollout, settings())
}

fn run_with<'a>(file: &'a HostModel, rollout: &'a RolloutSettings, settings: SftSettings) -> Sft<'a> {
    let slow = SlowSettings { r: 4, ..SlowSettings::default() };
    let adapter = SlowAdapter::new(&file.config, &slow, &device()).unwrap();
    let model = Model::new(file, &device()).with_slow_adapter(adapter);
    let ordinary = vec![Exchange { user: "Name a colour.".into(), assistant: "Blue.".into() }];
    Sft::new(model, Texts::new(file, rollout), &Lives, start(&file.config), ordinary, settings).unwrap()
}

#[test]
fn a_run_writes_asks_and_goes_on_after_a_stop_as_if_unbroken() {
    let (file, rollout) = (host(tiny("tiny_a", "f32")), RolloutSettings::default());
    let mut unbroken = run(&file, &rollout);
    let reports: Vec<SftReport> = (0..3).map(|_| unbroken.step().unwrap()).collect();
    for report in &reports {
        assert!(report.write_ends < report.write_begins, "a write learns: {report:?}");
        assert!(report.step.objective > 0.0 && report.step.targets > 10, "{report:?}");
    }
    assert!(reports[0].step.anchors.abs() < 1e-6, "at first nothing has left the base model");
    assert!(reports[2].step.anchors > 0.0);

    let folder = tempfile::tempdir().unwrap();
    let mut stopped = run(&file, &rollout);
    assert!(!stopped.resume(folder.path()).unwrap(), "there is nothing yet");
    assert_eq!(stopped.step().unwrap(), reports[0]);
    stopped.save(folder.path(), 2).unwrap();
    drop(stopped);
    let mut resumed = run(&file, &rollout);
    assert!(resumed.resume(folder.path()).unwrap());
    assert_eq!([resumed.step().unwrap(), resumed.step().unwrap()], reports[1..]);
    assert!(resumed.state().save().unwrap() == unbroken.state().save().unwrap());
}

#[test]
fn episodes_side_by_side_give_the_same_bits() {
    let (file, rollout) = (host(tiny("tiny_a", "f32")), RolloutSettings::default());
    let settings = |episodes_at_once| SftSettings { episodes: 5, episodes_at_once, row_tokens: 24, ..settings() };
    let mut alone = run_with(&file, &rollout, settings(1));
    let mut together = run_with(&file, &rollout, settings(3));
    for _ in 0..6 {
        assert_eq!(alone.step().unwrap(), together.step().unwrap());
    }
    assert!(alone.state().save().unwrap() == together.state().save().unwrap());
    let evaluation = alone.evaluate(2).unwrap();
    assert_eq!(evaluation, together.evaluate(2).unwrap());
    assert!(evaluation.reading > 0.0 && evaluation.unknown > 0.0 && evaluation.held_out > 0.0, "{evaluation:?}");
    let refused = |settings| {
        Sft::new(
            Model::new(&file, &device()),
            Texts::new(&file, &rollout),
            &Lives,
            start(&file.config),
            Vec::new(),
            settings,
        )
    };
    assert!(refused(settings(0)).err().unwrap().to_string().contains("episodes_at_once"));
}
