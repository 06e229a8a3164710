//! From an answer to its line.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tmem_core::hash::hexadecimal;
use tmem_core::rollout::Answer;

use super::error::RunError;
use super::record::ProbeLine;
use super::unit::Unit;
use crate::bench::Probe;
use crate::judge::{Judge, LocalJudge};
use crate::metrics::scores;

/// Who says which score the table shows. Every line has every score that needs no judge.
pub enum Referee {
    /// One of those.
    Local(LocalJudge),
    /// A judging model's verdict, `judge`.
    Model(Box<dyn Judge>),
}

impl std::fmt::Debug for Referee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Referee").field(&self.name()).finish()
    }
}

impl Referee {
    /// Its name for the record.
    pub fn name(&self) -> String {
        match self {
            Self::Local(judge) => judge.name().to_owned(),
            Self::Model(judge) => format!("endpoint {}", judge.name()),
        }
    }

    /// Which of MEM1's scores a table of search tasks shows. A judging model has none.
    pub(super) fn search_headline(&self) -> &'static str {
        match self {
            Self::Local(LocalJudge::F1) => "f1",
            Self::Local(_) | Self::Model(_) => "em",
        }
    }

    /// The line of an answered probe.
    pub(super) fn line(
        &self,
        unit: &Unit,
        probe: &Probe,
        age: Option<usize>,
        answer: &Answer,
    ) -> Result<ProbeLine, RunError> {
        let mut named: BTreeMap<String, f64> =
            scores(probe, &answer.text).into_iter().map(|(name, score)| (name.to_owned(), score)).collect();
        let headline = match self {
            Self::Local(LocalJudge::Official) => probe.headline(),
            Self::Local(LocalJudge::Exact) => "exact_match",
            Self::Local(LocalJudge::F1) => "f1",
            Self::Local(LocalJudge::Contains) => "contains",
            Self::Model(judge) => {
                named.insert("judge".to_owned(), judge.judge(probe, &answer.text)?.score);
                "judge"
            }
        };
        let nearest = answer.gate.as_ref().and_then(|gate| gate.nearest_card);
        Ok(ProbeLine {
            seed: unit.seed,
            memory: unit.memory,
            sample: unit.sample.clone(),
            probe: probe.id.clone(),
            category: probe.category.clone(),
            age,
            prompt_sha256: prompt_hash(&probe.prompt),
            question: probe.question.clone(),
            answer: answer.text.clone(),
            gold: probe.gold.clone(),
            scores: named,
            headline: headline.to_owned(),
            cards: answer.recalled.card.or(nearest).into_iter().collect(),
            gate: answer.gate.as_ref().map(|gate| gate.scale),
            tokens_read: answer.prompt_tokens as u64,
            tokens_generated: answer.tokens as u64,
        })
    }
}

/// Sha-256 of a prompt, in hexadecimal.
pub(super) fn prompt_hash(prompt: &str) -> String {
    hexadecimal(&Sha256::digest(prompt.as_bytes()))
}
