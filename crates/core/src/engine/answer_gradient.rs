//! The loss of given answers and its gradient by every B, without a step: what another implementation of the model is
//! held against.

use super::examples::{Example, example};
use super::learn::{MAX_LOSS_ROWS, TRAIN_SIZE, Trainer};
use super::runner::common_prefix;
use super::{Engine, EngineError};
use crate::fast::{Loss, LossRows, Run, pack, push_losses};

/// A prompt and the answer that follows it, as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredPrompt {
    /// What is read.
    pub prompt: Vec<u32>,
    /// What has a loss.
    pub answer: Vec<u32>,
}

/// Cross entropy and its gradient at the B in force.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerGradient {
    /// Mean of −log p over all answer tokens, in nats.
    pub loss: f32,
    /// ∂loss/∂B of every site, \[outputs, rank\] each, in the order of [`Engine::sites`].
    pub sites: Vec<Vec<f32>>,
}

impl Engine {
    /// The mean cross entropy of the answers' tokens, each answer under Δ in full, and its gradient by every B. Changes
    /// nothing.
    ///
    /// # Errors
    /// Settings without sites; prompts that do not begin with the same token, an empty answer, or more than one
    /// training batch holds; a failure of the GPU.
    pub async fn answer_gradient(&mut self, pairs: &[AnsweredPrompt]) -> Result<AnswerGradient, EngineError> {
        let adapter = self.adapter.clone().ok_or(EngineError::NoSites)?;
        let shared = common_prefix(pairs.iter().map(|pair| pair.prompt.as_slice()));
        let shortest = pairs.iter().map(|pair| pair.prompt.len()).min().unwrap_or(0);
        let prefix = pairs.first().map(|pair| &pair.prompt[..shared.min(shortest.saturating_sub(1))]);
        let prefix = prefix.filter(|prefix| !prefix.is_empty()).ok_or(EngineError::NoSharedPrefix)?;
        let examples = pairs.iter().map(|pair| example(&pair.prompt, &pair.answer, prefix));
        let mut examples: Vec<Example> = examples.collect::<Option<_>>().ok_or(EngineError::NoSharedPrefix)?;
        let rows = prefix.len() + examples.iter().map(|e| e.inputs.len()).sum::<usize>();
        let losses: usize = examples.iter().map(|e| e.targets.len()).sum();
        if rows > TRAIN_SIZE.rows || losses > MAX_LOSS_ROWS || pairs.len() >= TRAIN_SIZE.sequences {
            return Err(EngineError::CardTooLong { tokens: rows, limit: TRAIN_SIZE.rows });
        }
        let trainer = match self.trainer.take() {
            Some(trainer) => trainer,
            None => Trainer::new(self, &adapter)?,
        };
        let stored = self.store_hidden(prefix, &mut examples);
        let read = match stored {
            Ok(()) => self.loss_and_gradient(&trainer, prefix, &examples).await,
            Err(error) => Err(error),
        };
        self.trainer = Some(trainer);
        let (loss, gradient) = read?;
        let sites = adapter.sites.sites.iter().map(|site| {
            let length = site.outputs * adapter.sites.rank;
            gradient[site.b_offset..site.b_offset + length].to_vec()
        });
        Ok(AnswerGradient { loss, sites: sites.collect() })
    }

    async fn loss_and_gradient(
        &self,
        trainer: &Trainer,
        prefix: &[u32],
        examples: &[Example],
    ) -> Result<(f32, Vec<f32>), EngineError> {
        let runs: Vec<_> = examples.iter().map(|e| Run { inputs: &e.inputs, stored: e.stored }).collect();
        let packed = pack(prefix, &runs, 1, 1.0, TRAIN_SIZE.rows);
        let mut losses = LossRows::default();
        for (&start, example) in packed.first_rows.iter().zip(examples) {
            push_losses(&mut losses, start, example.first_loss, &example.targets, 1.0);
        }
        losses.weigh(1.0);
        let plan = &trainer.plan;
        let mut commands = self.gpu.commands("gradient of answers");
        let rows = self.forward_packed(&mut commands, plan, &packed);
        plan.clear(&mut commands);
        plan.loss.run(&mut commands, Loss::CrossEntropy, &losses, &trainer.results, 0);
        plan.backward(&mut commands, rows);
        commands.submit();
        let each: Vec<f32> = self.gpu.read(&trainer.results, 0, losses.len()).await?;
        let gradient = self.gpu.read(&plan.gradient, 0, plan.gradient.words()).await?;
        Ok((each.iter().sum(), gradient))
    }
}
