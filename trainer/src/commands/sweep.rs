//! `trainer sweep`: the paper's ablations, each value of a setting a run of its own, and a report over all.

use std::path::Path;

use anyhow::{Context, Result, bail};
use tmem_eval::sweep::{Ablation, Variant};

use super::report;
use crate::cli::{Common, SweepArguments};

/// Runs the command.
pub(crate) async fn run(common: &Common, arguments: &SweepArguments) -> Result<()> {
    let base = common.settings()?;
    let sweeps: Vec<(Ablation, Vec<Variant>)> =
        arguments.ablation.iter().map(|ablation| (*ablation, ablation.variants(&base))).collect();
    // Before hours of work on the first one.
    for (ablation, variants) in &sweeps {
        for variant in variants {
            variant.apply(&base).with_context(|| format!("ablation {ablation}, {}", variant.label))?;
        }
    }
    for (ablation, variants) in &sweeps {
        let out = arguments.out.join(ablation.name());
        let mut folders = Vec::new();
        for (index, variant) in variants.iter().enumerate() {
            eprintln!("{ablation}, {} of {}: {}", index + 1, variants.len(), variant.label);
            let folder = out.join(&variant.label);
            let mut common = common.clone();
            common.set.extend(variant.assignments.iter().cloned());
            evaluate(&common, arguments, &folder).await?;
            folders.push(folder);
        }
        report::write(&folders, &out)?;
    }
    Ok(())
}

/// One run of the sweep, as `trainer eval` would do it into this folder; it goes on where it was stopped.
async fn evaluate(_common: &Common, _arguments: &SweepArguments, folder: &Path) -> Result<()> {
    bail!("the runner is not part of this program yet: cannot make {}", folder.display())
}
