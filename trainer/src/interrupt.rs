//! Ctrl-C stops the current work, not the program.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use tmem_core::abort::Abort;

/// The person stopped the work.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

/// The program's one switch: a sweep opens session after session, and Ctrl-C can be listened to only once.
static SWITCH: OnceLock<Abort> = OnceLock::new();

/// A switch that Ctrl-C turns. Turned a second time before the work has looked at it, the program ends.
pub(crate) fn on_interrupt() -> Result<Abort> {
    if let Some(switch) = SWITCH.get() {
        return Ok(switch.clone());
    }
    let switch = SWITCH.get_or_init(Abort::default).clone();
    let turned = switch.clone();
    ctrlc::set_handler(move || {
        if turned.is_aborted() {
            std::process::exit(i32::from(crate::STOPPED));
        }
        turned.abort();
    })
    .context("cannot listen to Ctrl-C")?;
    Ok(switch)
}
