//! `trainer report`: tables and plots of runs that `trainer eval` or `trainer rl` left.

use std::path::Path;

use anyhow::{Result, bail};
use tmem_eval::report::Report;

use super::learning_curve;
use crate::cli::ReportArguments;

/// Runs the command.
pub(crate) fn run(arguments: &ReportArguments) -> Result<()> {
    let out = match (&arguments.out, arguments.folders.as_slice()) {
        (Some(out), _) => out,
        (None, [only]) => only,
        (None, _) => bail!("a report of several runs belongs to none of their folders: give --out FOLDER"),
    };
    if arguments.folders.iter().all(|folder| learning_curve::is_run(folder)) {
        return learning_curve::write(&arguments.folders, out);
    }
    write_score(&arguments.folders, arguments.score.as_deref(), out)
}

/// Reports some runs into a folder, and says what it says there.
pub(super) fn write<P: AsRef<Path>>(folders: &[P], out: &Path) -> Result<()> {
    write_score(folders, None, out)
}

fn write_score<P: AsRef<Path>>(folders: &[P], score: Option<&str>, out: &Path) -> Result<()> {
    let report = Report::of_score(folders, score)?;
    for file in report.write(out)? {
        eprintln!("wrote {}", file.display());
    }
    print!("{}", report.markdown(&[]));
    Ok(())
}
