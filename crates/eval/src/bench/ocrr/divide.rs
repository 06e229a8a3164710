//! Labelled rows as a stream of corrections.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{CorrectionStream, Example};
use crate::bench::BenchError;

/// How labelled rows are divided. Everything is drawn by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Division {
    /// Share of the classes that are new; at least one is, and at least one is not.
    pub novel_classes: f64,
    /// Examples of each original class that are told at the start.
    pub known_per_class: usize,
    /// Examples of each class in the stream.
    pub stream_per_class: usize,
    /// Examples of each class at the checkpoints.
    pub asked_per_class: usize,
    /// The seed.
    pub seed: u64,
}

impl Default for Division {
    fn default() -> Self {
        Self { novel_classes: 0.2, known_per_class: 4, stream_per_class: 8, asked_per_class: 4, seed: 0 }
    }
}

impl Division {
    /// Divides rows.
    ///
    /// # Errors
    /// [`BenchError::Options`] where there are fewer than two classes, or a class has too few rows.
    pub fn divide(&self, name: &str, rows: Vec<Example>) -> Result<CorrectionStream, BenchError> {
        let mut classes: BTreeMap<String, Vec<Example>> = BTreeMap::new();
        for row in rows {
            classes.entry(row.label.clone()).or_default().push(row);
        }
        if classes.len() < 2 {
            return Err(BenchError::Options(format!("{name}: a stream of corrections needs two classes at least")));
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let novel_count = (classes.len() as f64 * self.novel_classes).round() as usize;
        let novel_count = novel_count.clamp(1, classes.len() - 1);
        let mut classes: Vec<(String, Vec<Example>)> = classes.into_iter().collect();
        classes.shuffle(&mut random);
        let mut stream = CorrectionStream {
            name: name.to_owned(),
            known: Vec::new(),
            stream: Vec::new(),
            novel: Vec::new(),
            original: Vec::new(),
        };
        for (index, (label, mut rows)) in classes.into_iter().enumerate() {
            let novel = index < novel_count;
            let known = if novel { 0 } else { self.known_per_class.max(1) };
            let needed = known + self.asked_per_class.max(1) + 1;
            if rows.len() < needed {
                let found = rows.len();
                return Err(BenchError::Options(format!(
                    "{name}: the class `{label}` has {found} rows of {needed} needed"
                )));
            }
            rows.shuffle(&mut random);
            let mut rows = rows.into_iter();
            stream.known.extend(rows.by_ref().take(known));
            let asked = if novel { &mut stream.novel } else { &mut stream.original };
            asked.extend(rows.by_ref().take(self.asked_per_class.max(1)));
            stream.stream.extend(rows.take(self.stream_per_class.max(1)));
        }
        stream.known.shuffle(&mut random);
        stream.stream.shuffle(&mut random);
        Ok(stream)
    }
}
