//! A run's folder: lines are appended a batch at a time, and a resume finds the place where a kill cut them off.
//!
//! The line of a unit in `units.jsonl` is what finishes it. Everything behind the last finished unit is provisional: the
//! state of the unit in progress says how many lines of `probes.jsonl` stood before it, and the unit itself how many of
//! those behind are whole batches. The state is saved before the first line of a unit is written.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tmem_core::rollout::AgentSnapshot;

use super::error::RunError;
use super::record::{ProbeLine, RunRecord, TimingLine, UnitLine, file};
use super::storage::Storage;
use super::tally::Tally;

/// The state of the unit in progress.
const STATE: &str = "state/unit.json";

/// The unit in progress as it is saved; `D` is its place within the unit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved<D> {
    /// Number of the unit in the run.
    pub(super) unit: usize,
    /// Lines of `probes.jsonl` before the unit.
    pub(super) first_line: usize,
    /// Counts so far.
    pub(super) tally: Tally,
    /// The agent; a strategy-free place has none.
    pub(super) agent: AgentSnapshot,
    /// Where in the unit it is.
    pub(super) place: D,
}

/// The part of [`Saved`] that can be read without knowing the benchmark.
#[derive(Deserialize)]
struct Head {
    unit: usize,
    first_line: usize,
}

/// The folder of a run in progress.
pub(super) struct Folder<'a> {
    storage: &'a mut dyn Storage,
    /// Where each line of `probes.jsonl` ends.
    ends: Vec<u64>,
    finished: Vec<UnitLine>,
    /// The unit in progress, as a kill left it.
    head: Option<Head>,
}

impl<'a> Folder<'a> {
    /// Begins or resumes a run.
    pub(super) fn open(storage: &'a mut dyn Storage, record: &RunRecord) -> Result<Self, RunError> {
        let ours = to_json(record)?;
        let bytes = storage.read(file::RUN).map_err(|source| failed(storage, file::RUN, source))?;
        match bytes {
            Some(bytes) => {
                // Read as a record where it is one: decimals then mean the numbers that they were written from.
                let theirs = match serde_json::from_slice::<RunRecord>(&bytes) {
                    Ok(theirs) => to_json(&theirs)?,
                    Err(_) => {
                        serde_json::from_slice(&bytes).map_err(|error| damaged(file::RUN, error.line(), &error))?
                    }
                };
                compare(&theirs, &ours)?;
            }
            None => {
                let mut bytes = serde_json::to_vec_pretty(&ours).map_err(|error| damaged(file::RUN, 1, &error))?;
                bytes.push(b'\n');
                storage.replace(file::RUN, &bytes).map_err(|source| failed(storage, file::RUN, source))?;
            }
        }
        let (finished, _) = lines::<UnitLine>(storage, file::UNITS, None)?;
        // The time is written before the unit, so a kill between the two leaves one line too many.
        lines::<TimingLine>(storage, file::TIMINGS, Some(finished.len()))?;
        let (_, ends) = lines::<ProbeLine>(storage, file::PROBES, None)?;
        let mut folder = Self { storage, ends, finished, head: None };
        folder.head = match folder.read(STATE)? {
            None => None,
            Some(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| damaged(STATE, error.line(), &error))?),
        };
        match &folder.head {
            // A finished unit's state that a kill left behind.
            Some(head) if head.unit < folder.finished.len() => folder.remove_state()?,
            Some(head) if head.unit > folder.finished.len() || head.first_line > folder.ends.len() => {
                return Err(damaged(STATE, 1, &"it is ahead of the finished units"));
            }
            _ => {}
        }
        Ok(folder)
    }

    /// The units that are finished.
    pub(super) fn finished(&self) -> &[UnitLine] {
        &self.finished
    }

    /// Lines of `probes.jsonl`.
    pub(super) fn lines(&self) -> usize {
        self.ends.len()
    }

    /// The saved state of a unit, where it was in progress.
    pub(super) fn saved<D: DeserializeOwned>(&mut self, unit: usize) -> Result<Option<Saved<D>>, RunError> {
        if self.head.take().is_none_or(|head| head.unit != unit) {
            return Ok(None);
        }
        let Some(bytes) = self.read(STATE)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(STATE, error.line(), &error))
    }

    /// Saves the unit in progress.
    pub(super) fn save<D: Serialize>(&mut self, saved: &Saved<D>) -> Result<(), RunError> {
        let bytes = serde_json::to_vec(saved).map_err(|error| damaged(STATE, 1, &error))?;
        self.storage.replace(STATE, &bytes).map_err(|source| failed(self.storage, STATE, source))
    }

    /// Keeps the first `count` lines of `probes.jsonl`; the rest is done again.
    pub(super) fn keep(&mut self, count: usize) -> Result<(), RunError> {
        if count < self.ends.len() {
            let end = count.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
            self.storage.truncate(file::PROBES, end).map_err(|source| failed(self.storage, file::PROBES, source))?;
            self.ends.truncate(count);
        }
        Ok(())
    }

    /// Appends a batch of answers.
    pub(super) fn append(&mut self, batch: &[ProbeLine]) -> Result<(), RunError> {
        let mut bytes = Vec::new();
        let mut end = self.ends.last().copied().unwrap_or(0);
        let mut ends = Vec::with_capacity(batch.len());
        for line in batch {
            let line = json_line(line, file::PROBES)?;
            end += line.len() as u64;
            ends.push(end);
            bytes.extend(line);
        }
        self.storage.append(file::PROBES, &bytes).map_err(|source| failed(self.storage, file::PROBES, source))?;
        self.ends.extend(ends);
        Ok(())
    }

    /// The lines of `probes.jsonl` from one on.
    pub(super) fn since(&mut self, first: usize) -> Result<Vec<ProbeLine>, RunError> {
        let bytes = self.read(file::PROBES)?.unwrap_or_default();
        let from = first.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        let text = bytes.get(from as usize..).unwrap_or_default();
        parse(text, file::PROBES, first)
    }

    /// Finishes a unit.
    pub(super) fn finish(&mut self, unit: UnitLine, timing: &TimingLine) -> Result<(), RunError> {
        for (name, line) in
            [(file::TIMINGS, json_line(timing, file::TIMINGS)?), (file::UNITS, json_line(&unit, file::UNITS)?)]
        {
            self.storage.append(name, &line).map_err(|source| failed(self.storage, name, source))?;
        }
        self.finished.push(unit);
        self.remove_state()
    }

    fn remove_state(&mut self) -> Result<(), RunError> {
        self.head = None;
        self.storage.remove(STATE).map_err(|source| failed(self.storage, STATE, source))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, RunError> {
        self.storage.read(name).map_err(|source| failed(self.storage, name, source))
    }
}

/// The whole lines of a file and where each ends. What a kill left of a line, and lines beyond `most`, are cut off.
fn lines<T: DeserializeOwned>(
    storage: &mut dyn Storage,
    name: &'static str,
    most: Option<usize>,
) -> Result<(Vec<T>, Vec<u64>), RunError> {
    let bytes = storage.read(name).map_err(|source| failed(storage, name, source))?.unwrap_or_default();
    let mut ends: Vec<u64> =
        bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at as u64 + 1).collect();
    ends.truncate(most.unwrap_or(usize::MAX));
    let whole = ends.last().copied().unwrap_or(0);
    let parsed = parse(&bytes[..whole as usize], name, 0)?;
    if whole < bytes.len() as u64 {
        storage.truncate(name, whole).map_err(|source| failed(storage, name, source))?;
    }
    Ok((parsed, ends))
}

/// Parses lines; `first` of them stand before these in the file.
fn parse<T: DeserializeOwned>(bytes: &[u8], name: &'static str, first: usize) -> Result<Vec<T>, RunError> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    lines
        .map(|(at, line)| serde_json::from_slice(line).map_err(|error| damaged(name, first + at + 1, &error)))
        .collect()
}

fn json_line<T: Serialize>(line: &T, name: &'static str) -> Result<Vec<u8>, RunError> {
    let mut bytes = serde_json::to_vec(line).map_err(|error| damaged(name, 1, &error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn to_json(record: &RunRecord) -> Result<serde_json::Value, RunError> {
    serde_json::to_value(record).map_err(|error| damaged(file::RUN, 1, &error))
}

/// The first field in which two runs differ is an error.
fn compare(theirs: &serde_json::Value, ours: &serde_json::Value) -> Result<(), RunError> {
    match first_difference(theirs, ours, "") {
        None => Ok(()),
        Some((field, theirs, ours)) => Err(RunError::OtherRun { field, theirs, ours }),
    }
}

fn first_difference(
    theirs: &serde_json::Value,
    ours: &serde_json::Value,
    path: &str,
) -> Option<(String, String, String)> {
    use serde_json::Value::Object;
    if theirs == ours {
        return None;
    }
    if let (Object(a), Object(b)) = (theirs, ours) {
        let null = serde_json::Value::Null;
        let below = |name: &String| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            first_difference(a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null), &path)
        };
        // Both sides' fields: a file of another version may have more or fewer.
        return b.keys().chain(a.keys()).find_map(below);
    }
    Some((path.to_owned(), theirs.to_string(), ours.to_string()))
}

fn failed(storage: &dyn Storage, name: &str, source: std::io::Error) -> RunError {
    RunError::File { file: storage.path(name), source }
}

fn damaged(file: &'static str, line: usize, reason: &dyn std::fmt::Display) -> RunError {
    RunError::Damaged { file, line, reason: reason.to_string() }
}
