//! Data sets, probes, scorers and reports for tmem. It knows no GPU: it talks to a policy and its rollout.

pub mod data;
pub mod probe;
pub mod score;
pub mod synthetic;
