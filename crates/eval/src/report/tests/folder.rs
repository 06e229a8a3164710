//! A run's folder, made by hand.

use std::path::Path;

use serde::Serialize;
use tmem_core::fast::DeltaId;
use tmem_core::settings::{MemoryKind, Settings};

use crate::bench::BenchmarkKind;
use crate::bench::FeedOptions;
use crate::bench::locomo::CATEGORIES;
use crate::bench::ocrr::{Division, RunOptions};
use crate::bench::search::EpisodeOptions;
use crate::probe::CardSource;
use crate::run::record::{
    FORMAT, FileRecord, Mode, ModelRecord, OracleWrites, ProbeLine, PromptKind, RunRecord, SearchRecord, TimelinePoint,
    TimingLine, UnitLine, file,
};

/// What to make.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) bench: BenchmarkKind,
    pub(super) memories: Vec<MemoryKind>,
    pub(super) seeds: Vec<u64>,
    pub(super) samples: usize,
    /// Probes of each sample.
    pub(super) probes: usize,
    pub(super) budget: usize,
}

impl Run {
    /// Two conversations with ten questions each, two seeds, three strategies.
    pub(super) fn locomo() -> Self {
        Self {
            bench: BenchmarkKind::Locomo,
            memories: vec![MemoryKind::None, MemoryKind::Retrieval, MemoryKind::Tmem],
            seeds: vec![1, 2],
            samples: 2,
            probes: 10,
            budget: 512,
        }
    }

    /// Writes the folder `run` in a temporary one.
    pub(super) fn write(&self) -> Folder {
        let folder = Folder { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(folder.path()).unwrap();
        let record = serde_json::to_string_pretty(&self.record()).unwrap();
        std::fs::write(folder.path().join(file::RUN), record).unwrap();
        let (mut probes, mut units, mut timings) = (String::new(), String::new(), String::new());
        for &seed in &self.seeds {
            for &memory in &self.memories {
                for sample in 0..self.samples {
                    (0..self.probes).for_each(|probe| line(&mut probes, &answered(seed, memory, sample, probe)));
                    line(&mut units, &unit(seed, memory, sample));
                    line(&mut timings, &timing(seed, memory, sample));
                }
            }
        }
        for (name, text) in [(file::PROBES, probes), (file::UNITS, units), (file::TIMINGS, timings)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn record(&self) -> RunRecord {
        let file = |name: &str| FileRecord { file: name.to_owned(), sha256: "00".repeat(32) };
        let mut settings = Settings::small();
        settings.rollout.budget = self.budget;
        RunRecord {
            version: FORMAT,
            bench: self.bench,
            data: vec![file("two people.json")],
            gold: Some(file("audit.json")),
            corpus: Vec::new(),
            controls: Some(file("controls.json")),
            model: ModelRecord { name: "tiny".to_owned(), sha256: "0123456789abcdef".repeat(4) },
            adapter: "test adapter".to_owned(),
            mode: Mode::Blind,
            prompt: PromptKind::Official,
            cards: CardSource::Own,
            oracle_writes: OracleWrites::Once,
            memories: self.memories.clone(),
            seeds: self.seeds.clone(),
            limit: None,
            probes: Some(self.probes),
            batch: 8,
            settings,
            feed: FeedOptions { max_bytes: Some(self.budget), ..FeedOptions::default() },
            search: SearchRecord { objectives: 2, action_tokens: 256, episode: EpisodeOptions::default() },
            division: Division::default(),
            corrections: RunOptions::default(),
            source: None,
            judge: "none".to_owned(),
            program: "trainer 0.1.0".to_owned(),
        }
    }
}

/// A temporary folder with a run in it.
pub(super) struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    pub(super) fn path(&self) -> std::path::PathBuf {
        Path::join(self.root.path(), "run")
    }
}

fn line(text: &mut String, value: &impl Serialize) {
    *text += &serde_json::to_string(value).unwrap();
    text.push('\n');
}

/// Of eight answers `none` has two right, retrieval four, tmem five and more with the second seed.
fn answered(seed: u64, memory: MemoryKind, sample: usize, probe: usize) -> ProbeLine {
    let right = match memory {
        MemoryKind::None => 2,
        MemoryKind::Retrieval => 4,
        _ => 4 + seed as usize,
    };
    let score = f64::from((probe * 3 + sample) % 8 < right);
    let category = CATEGORIES[(probe + 1) % CATEGORIES.len()];
    ProbeLine {
        seed,
        memory,
        sample: format!("conv-{sample}"),
        probe: format!("q{probe}"),
        category: category.to_owned(),
        age: (category != "adversarial").then_some(probe),
        prompt_sha256: "11".repeat(32),
        question: "What is the dog called?".to_owned(),
        answer: "Rex".to_owned(),
        gold: vec!["Rex".to_owned()],
        scores: [("locomo", score), ("f1", score * 0.5)].map(|(name, score)| (name.to_owned(), score)).into(),
        headline: "locomo".to_owned(),
        cards: Vec::new(),
        gate: None,
        tokens_read: 100,
        tokens_generated: 5,
    }
}

fn unit(seed: u64, memory: MemoryKind, sample: usize) -> UnitLine {
    let trains = memory == MemoryKind::Tmem;
    let point = |write: usize| TimelinePoint {
        exchanges: 20 * write,
        context_tokens: 500,
        delta_norm: if trains { 0.01 * write as f32 } else { 0.0 },
        knowledge_kept: Some(if trains { 1.0 - 0.05 * write as f32 } else { 1.0 }),
    };
    UnitLine {
        seed,
        memory,
        sample: format!("conv-{sample}"),
        exchanges: 60,
        writes: if trains { 3 } else { 0 },
        cards: if trains { 40 + sample } else { 0 },
        dropped_cards: 2,
        dropped_turns: if memory == MemoryKind::None { 30 } else { 0 },
        tokens_read: if trains { 9_000 } else { 4_000 },
        tokens_generated: 700,
        delta: DeltaId { version: 3, hash: "22".repeat(32) },
        timeline: (1..=3).map(point).collect(),
    }
}

fn timing(seed: u64, memory: MemoryKind, sample: usize) -> TimingLine {
    let training = if memory == MemoryKind::Tmem { 12.5 } else { 0.0 };
    TimingLine {
        seed,
        memory,
        sample: format!("conv-{sample}"),
        reading: 1.5,
        writing: 3.0,
        training,
        answering: 2.0,
        peak_gpu_bytes: 600 << 20,
    }
}
