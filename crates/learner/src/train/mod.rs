//! One optimizer step after another: AdamW, clipping, a schedule, and a state that can be saved.

mod checkpoint;
mod optimizer;
mod schedule;
mod state;
mod step;
mod write;

pub use optimizer::AdamWSettings;
pub use schedule::Schedule;
pub use step::{GradientSum, Part, StepGradients, StepReport, TrainSettings, TrainStep};
pub use write::{WriteSettings, simulate_write};
