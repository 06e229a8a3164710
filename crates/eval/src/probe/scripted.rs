//! The policy without a model as a subject, for tests of what works with subjects.

use tmem_core::message::Message;
use tmem_core::rollout::policy::{PolicyError, Weights};
use tmem_core::rollout::scripted::Scripted;
use tmem_core::settings::Settings;

use super::{Subject, Usage};

impl Subject for Scripted {
    /// It has no probabilities: 0 for every prompt.
    async fn kl_to_frozen(&mut self, prompts: &[Vec<Message>], _weights: Weights) -> Result<Vec<f32>, PolicyError> {
        Ok(vec![0.0; prompts.len()])
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    async fn configure(&mut self, _settings: &Settings) -> Result<(), PolicyError> {
        Ok(())
    }
}
