//! Reinforcement learning of θ0 (arXiv 2606.04536): the agent lives through episodes, is rewarded for what it remembers at
//! their end, and every token that it sampled, of answers and of memory writing alike, is made more or less probable
//! under the Δ that was in force.
//!
//! ∇J = E[ Σ Adv(τ) ∇_{θ0} log π_{θ0+sg(Δ_t)}(a_t | c_t) ]. No gradient goes through the write operator T.
//!
//! A step: episodes of several tasks, several of each, in step on the engine ([`rollouts`]); advantages within a task's
//! episodes ([`advantages`]); the sampled tokens computed again by the learner, which must agree with the engine; a step
//! of the optimizer ([`Rl`]).

mod advantage;
mod codes;
mod learn;
mod lockstep;
mod policy_gradient;
mod reward;
mod rollout;
mod rule_books;
mod run;
mod settings;
mod task;

pub use advantage::{Estimator, ScaleRewards, advantages};
pub use codes::Codes;
pub use policy_gradient::PolicyGradient;
pub use reward::{Outcome, RewardSettings};
pub use rollout::{Episode, RolloutError, Rollouts, Sampled, Sampler, check_agent, rollouts};
pub use rule_books::RuleBookSettings;
pub use run::{Evaluation, Rl, RlError, RlReport};
pub use settings::{LossType, RlSettings};
pub use task::{ConversationSettings, Task, TaskQuestion, TaskSettings, Tasks};
