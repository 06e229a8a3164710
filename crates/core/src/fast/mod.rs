//! The fast weights Δ = B A: sites, training, guard and gate (arXiv 2606.04536).

mod adapter;
mod background;
mod batches;
mod gate;
mod loss_plan;
mod neutral;
mod optimizer;
pub mod peft;
mod report;
mod site;
pub mod svd;
mod train_layer;
mod train_plan;
mod unknown;

pub(crate) use adapter::{Adapter, RowsOf};
pub(crate) use background::Background;
pub(crate) use batches::{Deck, Packed, Run, Shuffled, pack, push_losses};
pub(crate) use gate::{Gate, Limits};
pub(crate) use loss_plan::{Loss, LossRows};
pub use neutral::NEUTRAL_PROMPTS;
pub(crate) use optimizer::Optimizer;
pub use report::{DeltaId, SiteNorm, StepReport, WriteOutcome, WriteReport};
pub use site::{Group, Projection, Site, SiteError, Sites};
pub(crate) use train_plan::{TrainPlan, TrainSize};
pub use unknown::unknown_cards;
pub(crate) use unknown::{unknown_questions, untold};
