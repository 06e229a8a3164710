//! The learning curve of reinforcement runs: one curve for each, and what they come to together.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tmem_eval::report::plot::{Series, curves};
use tmem_eval::run::{Disk, Storage};
use tmem_eval::stats::MeanSd;
use tmem_learner::rl::Evaluation;

use super::rl::EVALUATIONS;

/// Whether a folder holds a reinforcement run.
pub(super) fn is_run(folder: &Path) -> bool {
    folder.join(EVALUATIONS).exists()
}

/// Writes `curve.svg` and `curve.md` into a folder and prints the latter.
pub(super) fn write(folders: &[PathBuf], out: &Path) -> Result<()> {
    let mut runs = Vec::with_capacity(folders.len());
    for folder in folders {
        let name =
            folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned());
        runs.push((name, read(&folder.join(EVALUATIONS))?));
    }
    let table = table(&runs)?;
    let points = |evaluations: &[Evaluation]| evaluations.iter().map(|e| (e.step as f64, e.reward)).collect();
    let series =
        |(name, evaluations): &(String, Vec<Evaluation>)| Series { name: name.clone(), points: points(evaluations) };
    let lines = runs.iter().map(series).collect();
    let subtitle = "on tasks that are not trained on";
    let plot = curves("curve", "Reward over a reinforcement run", subtitle, ["steps", "mean reward"], lines);
    let mut disk = Disk::new(out);
    disk.replace(&plot.name, plot.svg.as_bytes())?;
    disk.replace("curve.md", table.as_bytes())?;
    eprintln!("wrote {} and curve.md", disk.path(&plot.name).display());
    print!("{table}");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Evaluation>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let evaluations = text.lines().enumerate().map(|(number, line)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), number + 1))
    });
    let evaluations = evaluations.collect::<Result<Vec<Evaluation>>>()?;
    ensure!(!evaluations.is_empty(), "{} has no evaluation", path.display());
    Ok(evaluations)
}

fn table(runs: &[(String, Vec<Evaluation>)]) -> Result<String> {
    let mut table = String::from(
        "| run | steps | reward before | after | F1 before | after | leak before | after |\n|---|---|---|---|---|---|---|---|\n",
    );
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (name, evaluations) in runs {
        let (Some(first), Some(last)) = (evaluations.first(), evaluations.last()) else { continue };
        before.push(first.reward);
        after.push(last.reward);
        table.push_str(&format!(
            "| {name} | {} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} |\n",
            last.step,
            first.reward,
            last.reward,
            first.outcome.f1,
            last.outcome.f1,
            first.outcome.leak,
            last.outcome.leak
        ));
    }
    let gains: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    let (before, after, gain) = (
        MeanSd::of(&before).context("no run")?,
        MeanSd::of(&after).context("no run")?,
        MeanSd::of(&gains).context("no run")?,
    );
    let spread = |of: MeanSd| of.sd.map_or_else(String::new, |sd| format!(" ± {sd:.3}"));
    table.push_str(&format!(
        "\nReward {:.3}{} before, {:.3}{} after; gain {:.3}{} (mean ± s.d. over {} run(s)).\n",
        before.mean,
        spread(before),
        after.mean,
        spread(after),
        gain.mean,
        spread(gain),
        gain.n
    ));
    Ok(table)
}
