//! A run's folder, read back.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tmem_core::settings::MemoryKind;

use super::{ReportError, memory_name};
use crate::run::record::{FORMAT, ProbeLine, RunRecord, TimingLine, UnitLine, file};

/// What a run has left in its folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    /// The folder.
    pub folder: PathBuf,
    /// What the run is.
    pub run: RunRecord,
    /// The probes of finished units. Answers and gold answers are left out: a report does not need them, and they are
    /// most of the file.
    pub probes: Vec<ProbeLine>,
    /// The finished units.
    pub units: Vec<UnitLine>,
    /// Clock times of finished units; empty where there are none.
    pub timings: Vec<TimingLine>,
    /// Probes of a unit that is not finished; they are in no figure.
    pub unfinished: usize,
}

/// Identifies a unit within a run.
type UnitKey = (u64, &'static str, String);

fn unit_key(seed: u64, memory: MemoryKind, sample: &str) -> UnitKey {
    (seed, memory_name(memory), sample.to_owned())
}

impl RunFolder {
    /// Reads a folder that `trainer eval` wrote.
    ///
    /// # Errors
    /// [`ReportError`], naming the file, and the line and field where there is one.
    pub fn read(folder: &Path) -> Result<Self, ReportError> {
        let run = read_record(&folder.join(file::RUN))?;
        let units: Vec<UnitLine> = read_lines(&folder.join(file::UNITS), |_| {})?;
        let all: Vec<ProbeLine> = read_lines(&folder.join(file::PROBES), |line: &mut ProbeLine| {
            line.answer = String::new();
            line.gold = Vec::new();
        })?;
        let timings: Vec<TimingLine> = read_lines(&folder.join(file::TIMINGS), |_| {})?;
        if units.is_empty() {
            return Err(ReportError::NothingFinished { folder: folder.to_owned() });
        }
        let finished: BTreeSet<UnitKey> = units.iter().map(|u| unit_key(u.seed, u.memory, &u.sample)).collect();
        let count = all.len();
        let is_finished = |p: &ProbeLine| finished.contains(&unit_key(p.seed, p.memory, &p.sample));
        let probes: Vec<ProbeLine> = all.into_iter().filter(is_finished).collect();
        let unfinished = count - probes.len();
        Ok(Self { folder: folder.to_owned(), run, probes, units, timings, unfinished })
    }

    /// Takes another score for the headline.
    pub(super) fn show(&mut self, score: &str) -> Result<(), ReportError> {
        let known: BTreeSet<String> = self.probes.iter().flat_map(|probe| probe.scores.keys().cloned()).collect();
        if !known.contains(score) {
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            return Err(ReportError::Score { folder: self.folder.clone(), score: score.to_owned(), known });
        }
        self.probes.retain(|probe| probe.scores.contains_key(score));
        self.probes.iter_mut().for_each(|probe| score.clone_into(&mut probe.headline));
        Ok(())
    }

    /// The folder's name without its path: reports do not depend on where a run lies.
    pub fn name(&self) -> String {
        let whole = std::path::absolute(&self.folder).unwrap_or_else(|_| self.folder.clone());
        whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
    }
}

fn read_record(path: &Path) -> Result<RunRecord, ReportError> {
    let text = std::fs::read_to_string(path).map_err(|source| ReportError::Read { file: path.to_owned(), source })?;
    let fault = |reason: String| ReportError::Malformed { file: path.to_owned(), line: 1, reason };
    // The version first: a file of another version need not have the same fields.
    let tree: serde_json::Value = serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    match tree.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(FORMAT) => {}
        Some(version) => return Err(ReportError::Version { file: path.to_owned(), version }),
        None => return Err(fault("`version` is missing: this is not a run of `trainer eval`".to_owned())),
    }
    parse(&text).map_err(fault)
}

/// Reads JSON Lines. A missing file has no lines. A last line without its line feed is what a kill has cut off; it is
/// left out, as a resume would.
fn read_lines<T: DeserializeOwned>(path: &Path, mut shorten: impl FnMut(&mut T)) -> Result<Vec<T>, ReportError> {
    let failed = |source| ReportError::Read { file: path.to_owned(), source };
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let (mut lines, mut text, mut number) = (Vec::new(), Vec::new(), 0);
    loop {
        text.clear();
        number += 1;
        reader.read_until(b'\n', &mut text).map_err(failed)?;
        if text.last() != Some(&b'\n') {
            return Ok(lines);
        }
        let fault = |reason| ReportError::Malformed { file: path.to_owned(), line: number, reason };
        let line = std::str::from_utf8(&text).map_err(|error| fault(error.to_string()))?;
        let mut value = parse(line).map_err(fault)?;
        shorten(&mut value);
        lines.push(value);
    }
}

/// Parses JSON; a fault names its field.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut input = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut input).map_err(|error| match error.path().to_string().as_str() {
        "." => error.inner().to_string(),
        path => format!("at `{path}`: {}", error.inner()),
    })
}
