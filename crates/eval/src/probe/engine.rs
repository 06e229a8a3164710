//! The engine as a subject.

use tmem_core::engine::Engine;
use tmem_core::message::Message;
use tmem_core::rollout::policy::{PolicyError, Weights};
use tmem_core::settings::Settings;

use super::{Subject, Usage};

impl Subject for Engine {
    async fn kl_to_frozen(&mut self, prompts: &[Vec<Message>], weights: Weights) -> Result<Vec<f32>, PolicyError> {
        Ok(Engine::kl_to_frozen(self, prompts, weights).await?)
    }

    fn usage(&self) -> Usage {
        let statistics = self.statistics();
        Usage {
            tokens_read: statistics.tokens_read,
            tokens_generated: statistics.tokens_generated,
            peak_gpu_bytes: self.gpu().memory().peak(),
        }
    }

    async fn configure(&mut self, settings: &Settings) -> Result<(), PolicyError> {
        Ok(self.set_settings(settings).await?)
    }
}
