//! The folder of a training run: what the run is, and lines for its steps.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tmem_eval::run::{Disk, Storage};
use toml::{Table, Value};

use crate::folder_lock::FolderLock;

/// What a run is; in its folder once it has begun.
pub(super) const CONFIG: &str = "config.json";
/// What is trained, as a PEFT adapter.
pub(super) const ADAPTER: &str = "adapter";
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// The adapter that did best where it was not trained.
pub(super) const BEST: &str = "best";
/// A line for each step.
pub(super) const METRICS: &str = "metrics.jsonl";
/// Figures for TensorBoard.
pub(super) const TENSORBOARD: &str = "tensorboard";

/// Reads a run's file; assignments such as `rl.beta=0.04` take the place of what it says.
pub(super) fn read_config<T: DeserializeOwned>(path: &Path, assignments: &[String]) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut table: Table = toml::from_str(&text).with_context(|| format!("{} is not a run", path.display()))?;
    for assignment in assignments {
        assign(&mut table, assignment).with_context(|| format!("cannot set {assignment}"))?;
    }
    T::deserialize(table).with_context(|| format!("{} is not a run", path.display()))
}

/// Sets `table.name=value`; a value that is none of TOML's is a text.
fn assign(table: &mut Table, assignment: &str) -> Result<()> {
    let (name, value) = assignment.split_once('=').context("it is not of the form name=value")?;
    let value = value.trim();
    let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    let mut parts: Vec<&str> = name.trim().split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut inner = table;
    for part in parts {
        let entry = inner.entry(part).or_insert_with(|| Value::Table(Table::new()));
        inner = entry.as_table_mut().with_context(|| format!("{part} is no table"))?;
    }
    inner.insert(last.to_owned(), value);
    Ok(())
}

/// Makes the folder, or goes on with one that has the same run; it is this process's while the lock is held.
pub(super) fn begin(folder: &Path, config: &impl Serialize) -> Result<FolderLock> {
    let lock = FolderLock::take(folder)?;
    let path = folder.join(CONFIG);
    let text = serde_json::to_string_pretty(config)? + "\n";
    match fs::read_to_string(&path) {
        Ok(begun) => ensure!(
            begun == text,
            "{} holds a run with other settings ({CONFIG}): give another --out, or the settings it began with",
            folder.display()
        ),
        Err(_) => Disk::new(folder).replace(CONFIG, text.as_bytes())?,
    }
    Ok(lock)
}

/// A file with a line for each of something that a run does in a fixed order.
pub(super) struct Lines {
    disk: Disk,
    name: &'static str,
}

impl Lines {
    /// Keeps the first `count` lines, which are returned: what was done after the checkpoint is done again.
    pub(super) fn open<T: DeserializeOwned>(folder: &Path, name: &'static str, count: usize) -> Result<(Self, Vec<T>)> {
        let mut disk = Disk::new(folder);
        let lines = disk.read(name)?.unwrap_or_default();
        let kept: Vec<&[u8]> = lines.split_inclusive(|&byte| byte == b'\n').take(count).collect();
        ensure!(kept.len() == count, "{name} lacks lines that the checkpoint has: use another --out");
        let read = |line: &&[u8]| serde_json::from_slice(line).with_context(|| format!("{name} is damaged"));
        let read = kept.iter().map(read).collect::<Result<Vec<T>>>()?;
        disk.replace(name, &kept.concat())?;
        Ok((Self { disk, name }, read))
    }

    pub(super) fn put(&mut self, value: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(value)? + "\n";
        Ok(self.disk.append(self.name, line.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_reach_into_tables_and_keep_their_types() {
        let mut table: Table = "steps = 3\n[rl]\nbeta = 0.0".parse().unwrap();
        for assignment in
            ["steps=4", "rl.beta = 0.5", "rl.train.max_grad_norm=2.0", "tasks.kind=codes", "names=[\"a\"]"]
        {
            assign(&mut table, assignment).unwrap();
        }
        let expected =
            "steps = 4\nnames = [\"a\"]\n[rl]\nbeta = 0.5\n[rl.train]\nmax_grad_norm = 2.0\n[tasks]\nkind = \"codes\"";
        assert_eq!(table, expected.parse().unwrap());
        assert!(assign(&mut table, "steps.more=1").unwrap_err().to_string().contains("steps is no table"));
        assert!(assign(&mut table, "steps").unwrap_err().to_string().contains("name=value"));
    }
}
