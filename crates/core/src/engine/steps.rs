//! The steps of a write: batches drawn from its examples, one after the other through forward pass, loss, backward pass and
//! optimizer.

use std::collections::VecDeque;

use tmem_gpu::{AdapterKind, Commands, ReadBack};

use super::anchors::Anchors;
use super::examples::{CardExamples, Example};
use super::learn::{MAX_LOSS_ROWS, TRAIN_SIZE, Trainer, most_old_pairs, most_steps, unknown_pairs};
use super::{Engine, EngineError};
use crate::abort::Abort;
use crate::fast::{
    Deck, Loss, LossRows, Packed, Run, Shuffled, StepReport, TrainPlan, WriteOutcome, pack, push_losses,
};
use crate::settings::FastSettings;

/// The examples of one write.
pub(super) struct Material<'a> {
    pub(super) prefix: &'a [u32],
    pub(super) fresh: &'a CardExamples,
    pub(super) old: &'a CardExamples,
    /// Questions about things never told.
    pub(super) unknown: &'a CardExamples,
    pub(super) anchors: Option<&'a Anchors>,
}

/// One mini-batch, ready to run.
struct MiniBatch {
    packed: Packed,
    cross_entropy: LossRows,
    kl: LossRows,
}

/// A step on its way, and what it will tell.
struct Running {
    step: usize,
    /// Losses of the targets, then those of the anchors' rows; target probabilities in the second half.
    results: ReadBack,
    health: ReadBack,
    /// Rows with a target.
    targets: usize,
    /// What the rows of the anchors weigh.
    kl_weights: Vec<f32>,
}

/// The order in which fresh pairs, old pairs and anchors are drawn.
struct Order {
    fresh: Deck,
    old: Deck,
    unknown: Deck,
    /// Half of the anchors of a batch come from all of them …
    anchors: Shuffled,
    /// … and half from those nearest to the learned questions, which the gate might let through.
    near_anchors: Shuffled,
}

impl Engine {
    /// Takes the steps of a write; says how it ended, what each step told and how often the trust region held a site back.
    pub(super) async fn steps(
        &mut self,
        trainer: &Trainer,
        material: &Material<'_>,
        observe: &mut dyn FnMut(&StepReport),
        abort: &Abort,
    ) -> Result<(WriteOutcome, Vec<StepReport>, usize), EngineError> {
        let settings = self.settings.fast.clone();
        let mut order = Order::new(material, |n| self.stream(n));
        let per_pass = order.fresh.examples().div_ceil(order.fresh_pairs(&settings));
        let total = most_steps(&settings, per_pass);
        let gram_a: Vec<f32> = self.sites.iter().flat_map(|site| &site.gram_a).copied().collect();
        let weight_norms: Vec<f32> = self.sites.iter().map(|site| site.weight_norm).collect();
        trainer.optimizer.begin(&self.gpu, &gram_a, &weight_norms);
        let mut reports: Vec<StepReport> = Vec::new();
        let mut hits = 0;
        let ahead = self.steps_ahead(&settings);
        let mut running: VecDeque<Running> = VecDeque::new();
        let mut begun = 0;
        loop {
            while begun < total && running.len() <= ahead && !abort.is_aborted() {
                let batch = mini_batch(&settings, material, &mut order);
                running.push_back(self.begin_step(trainer, material, &batch, begun)?);
                begun += 1;
            }
            let Some(oldest) = running.pop_front() else { break };
            let mut report = self.finish_step(trainer, oldest, total).await?;
            if !(report.loss.is_finite() && report.kl.is_finite() && report.norms.iter().all(|n| n.is_finite())) {
                let reason = format!(
                    "step {} of {total} was not finite (loss {}, KL {}): use a smaller learning rate",
                    report.step + 1,
                    report.loss,
                    report.kl
                );
                return Ok((WriteOutcome::RolledBack { reason }, reports, hits));
            }
            if settings.trust_region > 0.0 {
                for norm in report.norms.iter_mut().filter(|norm| **norm > settings.trust_region) {
                    *norm = settings.trust_region;
                    hits += 1;
                }
            }
            observe(&report);
            self.statistics.steps += 1;
            reports.push(report);
            let pass = &reports[reports.len().saturating_sub(per_pass)..];
            let mean = pass.iter().map(|r| r.loss).sum::<f32>() / pass.len() as f32;
            // With a loss threshold (MemFT) a pass without loss has nothing left to teach.
            let learned = settings.loss_threshold < 1.0 && mean == 0.0;
            if pass.len() == per_pass && (mean < settings.early_stop_loss || learned) {
                return Ok((WriteOutcome::StoppedEarly, reports, hits));
            }
        }
        let outcome = if reports.len() < total { WriteOutcome::Aborted } else { WriteOutcome::Completed };
        Ok((outcome, reports, hits))
    }

    /// Records a packed batch, whose hidden states are in the store, going through the adapted layers; says how many rows it
    /// has.
    pub(super) fn forward_packed(&self, commands: &mut Commands<'_>, plan: &TrainPlan, packed: &Packed) -> usize {
        plan.set_batch(&packed.batch);
        for &(from, to, n) in &packed.copies {
            plan.copy_input(commands, &self.store.buffer, from, to, n);
        }
        let rows = packed.batch.rows.len();
        plan.forward(commands, rows);
        rows
    }

    /// How many steps are begun before what one tells has been read. On GPUs the next one runs meanwhile, unless the one
    /// before may say that there should be none; emulated adapters gain nothing and could be stopped less promptly.
    fn steps_ahead(&self, settings: &FastSettings) -> usize {
        let may_stop_early = settings.early_stop_loss > 0.0 || settings.loss_threshold < 1.0;
        usize::from(self.gpu.kind() == AdapterKind::Gpu && !may_stop_early)
    }

    /// Forward, loss, backward, optimizer; starts reading what the step tells.
    fn begin_step(
        &self,
        trainer: &Trainer,
        material: &Material<'_>,
        batch: &MiniBatch,
        step: usize,
    ) -> Result<Running, EngineError> {
        let plan = &trainer.plan;
        let mut commands = self.gpu.commands("training step");
        let rows = self.forward_packed(&mut commands, plan, &batch.packed);
        plan.clear(&mut commands);
        let (ce, kl) = (&batch.cross_entropy, &batch.kl);
        plan.loss.run(&mut commands, Loss::CrossEntropy, ce, &trainer.results, 0);
        if let Some(anchors) = material.anchors {
            plan.loss.run(&mut commands, Loss::Kl(&anchors.base), kl, &trainer.results, ce.len());
        }
        plan.backward(&mut commands, rows);
        trainer.optimizer.step(&self.gpu, &mut commands, &self.settings.fast, step);
        commands.submit();
        let results = self.gpu.start_read(&trainer.results, 0, 2 * MAX_LOSS_ROWS)?;
        let health = trainer.optimizer.start_read(&self.gpu)?;
        Ok(Running { step, results, health, targets: ce.len(), kl_weights: kl.weights.clone() })
    }

    /// Waits for what a step of `steps` tells.
    async fn finish_step(&self, trainer: &Trainer, run: Running, steps: usize) -> Result<StepReport, EngineError> {
        let results: Vec<f32> = run.results.finish().await?;
        let health = run.health.finish::<f32>().await?;
        let health = trainer.optimizer.health(&health);
        let norms = if health.not_finite > 0.0 { vec![f32::NAN] } else { self.relative_norms(health.grams) };
        let (losses, probabilities) = results.split_at(MAX_LOSS_ROWS);
        let (cross_entropy, kl) = losses.split_at(run.targets);
        let kl_weight = run.kl_weights.iter().sum::<f32>();
        let kl_sum = kl[..run.kl_weights.len()].iter().sum::<f32>();
        let learned = probabilities[..run.targets].iter().filter(|&&p| p > 0.5).count();
        Ok(StepReport {
            step: run.step,
            steps,
            loss: cross_entropy.iter().sum(),
            kl: if kl_weight > 0.0 { kl_sum / kl_weight } else { 0.0 },
            learned: learned as f32 / run.targets.max(1) as f32,
            norms,
        })
    }
}

impl Order {
    fn new(material: &Material<'_>, stream: impl Fn(u64) -> u64) -> Self {
        Self {
            fresh: Deck::new(&material.fresh.wordings, stream(0)),
            old: Deck::new(&material.old.wordings, stream(1)),
            unknown: Deck::new(&material.unknown.wordings, stream(2)),
            anchors: Shuffled::new(material.anchors.map_or(0, |a| a.examples.len()), stream(3)),
            near_anchors: Shuffled::new(material.anchors.map_or(0, |a| a.near.len()), stream(4)),
        }
    }

    /// Replayed pairs of one batch.
    fn old_pairs(&self, settings: &FastSettings) -> usize {
        if self.old.examples() == 0 { 0 } else { self.old.batch(most_old_pairs(settings)) }
    }

    /// Fresh pairs of one batch.
    fn fresh_pairs(&self, settings: &FastSettings) -> usize {
        self.fresh.batch(settings.batch.saturating_sub(self.old_pairs(settings)).max(1))
    }
}

/// Draws pairs, replayed pairs and anchors, and packs them.
fn mini_batch(settings: &FastSettings, material: &Material<'_>, order: &mut Order) -> MiniBatch {
    let mut chosen: Vec<&Example> = Vec::new();
    let (fresh, old) = (order.fresh_pairs(settings), order.old_pairs(settings));
    chosen.extend((0..fresh).filter_map(|_| order.fresh.next()).map(|i| &material.fresh.examples[i]));
    chosen.extend((0..old).filter_map(|_| order.old.next()).map(|i| &material.old.examples[i]));
    let unknown = (0..unknown_pairs(settings, chosen.len())).filter_map(|_| order.unknown.next());
    chosen.extend(unknown.map(|i| &material.unknown.examples[i]));
    let pairs = chosen.len();
    let mut base_rows = Vec::new();
    if let Some(anchors) = material.anchors.filter(|_| settings.kl_weight > 0.0) {
        for i in 0..settings.kl_prompts.min(anchors.examples.len()) {
            let near = (i % 2 == 1).then(|| order.near_anchors.next()).flatten().map(|k| anchors.near[k]);
            let Some(index) = near.or_else(|| order.anchors.next()) else { break };
            // The same prompt twice in a batch would be counted twice.
            if !base_rows.contains(&anchors.first[index]) {
                chosen.push(&anchors.examples[index]);
                base_rows.push(anchors.first[index]);
            }
        }
    }
    let runs: Vec<_> = chosen.iter().map(|e| Run { inputs: &e.inputs, stored: e.stored }).collect();
    let packed = pack(material.prefix, &runs, 1, 1.0, TRAIN_SIZE.rows);
    let (mut cross_entropy, mut kl) = (LossRows::default(), LossRows::default());
    for (i, (&start, example)) in packed.first_rows.iter().zip(&chosen).enumerate() {
        let losses = example.targets.len();
        if cross_entropy.len() + kl.len() + losses > MAX_LOSS_ROWS {
            break;
        }
        if i < pairs {
            push_losses(&mut cross_entropy, start, example.first_loss, &example.targets, 1.0);
        } else {
            let first = base_rows[i - pairs];
            let rows: Vec<u32> = (first..first + losses as u32).collect();
            push_losses(&mut kl, start, example.first_loss, &rows, 1.0);
        }
    }
    cross_entropy.weigh(1.0);
    kl.weigh(settings.kl_weight);
    MiniBatch { packed, cross_entropy, kl }
}
