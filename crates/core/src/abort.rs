//! Stopping long work from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A switch that long work looks at between tokens and between training steps. Clones share the switch.
#[derive(Debug, Clone, Default)]
pub struct Abort(Arc<AtomicBool>);

impl Abort {
    /// Asks the work to stop at its next safe point.
    pub fn abort(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Makes the switch usable for the next piece of work.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether stopping was asked for.
    pub fn is_aborted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
