//! Ctrl-C stops the current work, not the program.

use anyhow::{Context, Result};
use tmem_core::abort::Abort;

/// The person stopped the work.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

/// A switch that Ctrl-C turns. Turned a second time before the work has looked at it, the program ends.
pub(crate) fn on_interrupt() -> Result<Abort> {
    let abort = Abort::default();
    let switch = abort.clone();
    ctrlc::set_handler(move || {
        if switch.is_aborted() {
            std::process::exit(i32::from(crate::STOPPED));
        }
        switch.abort();
    })
    .context("cannot listen to Ctrl-C")?;
    Ok(abort)
}
