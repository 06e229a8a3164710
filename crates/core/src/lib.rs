//! Parametric memory for language-model agents, natively and in the browser.
//!
//! An agent pauses when its context passes a budget, writes question-answer cards from it, trains them into a small
//! low-rank adapter (the fast weights Δ), clears the context and goes on as a slightly different model
//! (arXiv 2606.04536). This crate holds the model, the fast weights, the rollout and the recipe that replays one. It
//! names no command line, no page and no data set.

pub mod abort;
pub mod card;
pub mod engine;
pub mod fast;
pub mod hash;
pub mod message;
pub mod model;
pub mod recipe;
pub mod retrieval;
pub mod rollout;
pub mod settings;
