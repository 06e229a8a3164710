//! `trainer sweep`: the paper's ablations, each value of a setting a run of its own, and a report over all.

use anyhow::{Context, Result};
use tmem_eval::sweep::{Ablation, Variant};

use super::{eval, report};
use crate::cli::{Common, EvalArguments, SweepArguments};

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
        let out = arguments.eval.out.join(ablation.name());
        let mut folders = Vec::new();
        for (index, variant) in variants.iter().enumerate() {
            eprintln!("{ablation}, {} of {}: {}", index + 1, variants.len(), variant.label);
            let folder = out.join(&variant.label);
            let mut common = common.clone();
            common.set.extend(variant.assignments.iter().cloned());
            eval::run(&common, &EvalArguments { out: folder.clone(), ..arguments.eval.clone() }).await?;
            folders.push(folder);
        }
        report::write(&folders, &out)?;
    }
    Ok(())
}
