//! The write operator T (METHOD §3): mini-batches of cards, replayed cards and anchor prompts; steps on B; guards.

use std::borrow::Cow;
use std::collections::VecDeque;

use tmem_gpu::{AdapterKind, Buffer, ReadBack};

use super::anchors::Anchors;
use super::examples::{CardExamples, Example};
use super::{Engine, EngineError};
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::{
    Adapter, Deck, LossKind, LossRows, Optimizer, Packed, Run, Shuffled, StepReport, TrainPlan, TrainSize,
    WriteOutcome, WriteReport, pack, push_losses, unknown_cards,
};
use crate::settings::FastSettings;

/// Training batches: sixteen short pairs, a system prompt, a few unknown questions and anchors fit.
pub(super) const TRAIN_SIZE: TrainSize = TrainSize { rows: 768, sequences: 256, loss_chunk: 64 };
/// Questions about things never told that one write draws from, for each in a batch.
const UNKNOWN_POOL: usize = 6;
/// Loss rows of one batch.
pub(super) const MAX_LOSS_ROWS: usize = 512;

/// What a write needs besides the model; made at the first write.
pub(super) struct Trainer {
    pub(super) plan: TrainPlan,
    pub(super) optimizer: Optimizer,
    /// Losses of one step, and behind them its target probabilities.
    pub(super) results: Buffer,
}

/// The examples of one write.
struct Material<'a> {
    prefix: &'a [u32],
    fresh: &'a CardExamples,
    old: &'a CardExamples,
    /// Questions about things never told.
    unknown: &'a CardExamples,
    anchors: Option<&'a Anchors>,
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

impl Trainer {
    pub(super) fn new(engine: &Engine, adapter: &Adapter) -> Result<Self, EngineError> {
        let plan = TrainPlan::new(&engine.shared(), adapter, TRAIN_SIZE, engine.settings.fast.loss_threshold)?;
        let optimizer = Optimizer::new(&engine.gpu, adapter, &plan.gradient)?;
        let results = engine.gpu.storage("step results", 2 * MAX_LOSS_ROWS)?;
        Ok(Self { plan, optimizer, results })
    }
}

impl Engine {
    /// Trains Δ on `cards`, mixing in `replay`.
    pub(super) async fn learn_cards(
        &mut self,
        cards: &[Card],
        replay: &[Card],
        observe: &mut dyn FnMut(&StepReport),
        abort: &Abort,
    ) -> Result<WriteReport, EngineError> {
        let prefix = self.prompt_prefix()?;
        let mut fresh = self.card_examples(cards, &prefix)?;
        // What no batch has room for need not be at hand.
        let replayed = replayed(&self.settings.fast, &fresh, replay, self.stream(5));
        let mut old = self.card_examples(&replayed, &prefix)?;
        let mut unknown = CardExamples::default();
        if self.settings.fast.unknown_cards > 0 {
            let pool = unknown_cards(self.cards.iter().chain(cards).chain(replay));
            // Each of them costs the frozen layers once; a few are as good as all.
            let mut order = Shuffled::new(pool.len(), self.settings.seed.wrapping_add(self.delta.version));
            let pairs = (fresh.examples.len() + old.examples.len()).min(self.settings.fast.batch);
            let wanted = (UNKNOWN_POOL * unknown_pairs(&self.settings.fast, pairs)).min(pool.len());
            let chosen: Vec<Card> = (0..wanted).filter_map(|_| order.next()).map(|i| pool[i].clone()).collect();
            unknown = self.card_examples(&chosen, &prefix)?;
        }
        let longest =
            fresh.examples.iter().chain(&old.examples).map(|e| prefix.len() + e.inputs.len()).max().unwrap_or(0);
        if longest > TRAIN_SIZE.rows {
            return Err(EngineError::CardTooLong { tokens: longest, limit: TRAIN_SIZE.rows });
        }
        let adapter = self.adapter.clone().ok_or(EngineError::NoSites)?;
        if fresh.examples.is_empty() {
            return self.report(WriteOutcome::Nothing, Vec::new(), 0, 0).await;
        }
        let trainer = match self.trainer.take() {
            Some(trainer) => trainer,
            None => Trainer::new(self, &adapter)?,
        };
        let examples = [&mut fresh, &mut old, &mut unknown];
        let done = self.write(&trainer, &adapter, &prefix, cards, examples, observe, abort).await;
        self.trainer = Some(trainer);
        let (outcome, steps, hits) = done?;
        if !matches!(outcome, WriteOutcome::RolledBack { .. }) {
            self.delta = self.read_delta(self.delta.version + 1).await?;
            self.remember(cards, replay);
        }
        self.rebuild_gate().await?;
        self.report(outcome, steps, fresh.examples.len() + old.examples.len(), hits).await
    }

    /// Seed of random stream number `n` of the next write.
    fn stream(&self, n: u64) -> u64 {
        self.settings.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(self.delta.version * 8 + n)
    }

    async fn report(
        &self,
        outcome: WriteOutcome,
        steps: Vec<StepReport>,
        pairs: usize,
        hits: usize,
    ) -> Result<WriteReport, EngineError> {
        let norms = self.site_norms().await?;
        Ok(WriteReport { outcome, steps, norms, delta: self.delta.clone(), pairs, trust_region_hits: hits })
    }

    #[allow(clippy::too_many_arguments)]
    async fn write(
        &mut self,
        trainer: &Trainer,
        adapter: &Adapter,
        prefix: &[u32],
        cards: &[Card],
        [fresh, old, unknown]: [&mut CardExamples; 3],
        observe: &mut dyn FnMut(&StepReport),
        abort: &Abort,
    ) -> Result<(WriteOutcome, Vec<StepReport>, usize), EngineError> {
        let mut anchors = self.take_anchors(prefix, trainer, abort).await?;
        if anchors.is_some() {
            // Where they stand for the neutral prompts, their hidden states are not computed a second time.
            self.anchors = anchors;
            let near = self.near_anchors(cards, prefix).await;
            anchors = self.anchors.take();
            if let Some(anchors) = &mut anchors {
                anchors.near = near?;
            }
        }
        // One call for all, so that none of them is dropped from the store by a later one.
        let mut all = Vec::new();
        for examples in [&*fresh, &*old, &*unknown] {
            all.extend(examples.examples.iter().cloned());
        }
        if let Some(anchors) = &anchors {
            all.extend(anchors.examples.iter().cloned());
        }
        self.store_hidden(prefix, &mut all)?;
        let mut stored = all.into_iter();
        for examples in [&mut *fresh, &mut *old, &mut *unknown] {
            examples.examples.iter_mut().zip(&mut stored).for_each(|(example, stored)| *example = stored);
        }
        if let Some(anchors) = &mut anchors {
            anchors.examples.iter_mut().zip(&mut stored).for_each(|(example, stored)| *example = stored);
        }
        let before = self.gpu.storage("B before the write", adapter.sites.b_len)?;
        self.copy_buffer(&adapter.b, &before, adapter.sites.b_len);
        let material = Material { prefix, fresh, old, unknown, anchors: anchors.as_ref() };
        let done = self.steps(trainer, &material, observe, abort).await;
        self.anchors = anchors;
        let (outcome, steps, hits) = done?;
        if matches!(outcome, WriteOutcome::RolledBack { .. }) {
            self.copy_buffer(&before, &adapter.b, adapter.sites.b_len);
        }
        Ok((outcome, steps, hits))
    }

    async fn steps(
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

    /// Runs a packed batch, whose hidden states are in the store, through the adapted layers; says how many rows it has.
    pub(super) fn forward_packed(&self, plan: &TrainPlan, packed: &Packed) -> usize {
        plan.set_batch(&packed.batch);
        let mut commands = self.gpu.commands("copy hidden states");
        for &(from, to, n) in &packed.copies {
            plan.copy_input(&mut commands, &self.store.buffer, from, to, n);
        }
        commands.submit();
        let rows = packed.batch.rows.len();
        plan.forward(rows);
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
        let rows = self.forward_packed(plan, &batch.packed);
        plan.clear();
        let (ce, kl) = (&batch.cross_entropy, &batch.kl);
        plan.loss.run(LossKind::CrossEntropy, ce, None, &trainer.results, 0, true);
        plan.loss.run(LossKind::Kl, kl, material.anchors.map(|a| &a.base), &trainer.results, ce.len(), true);
        plan.backward(rows);
        trainer.optimizer.step(&self.gpu, &self.settings.fast, step);
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

/// Questions about things never told beside `pairs` pairs of a batch: in proportion, so that few cards do not drown in them.
fn unknown_pairs(settings: &FastSettings, pairs: usize) -> usize {
    (pairs * settings.unknown_cards).div_ceil(settings.batch.max(1))
}

/// Most steps of a write, of which `per_pass` go once through the pairs.
fn most_steps(settings: &FastSettings, per_pass: usize) -> usize {
    if settings.steps > 0 { settings.steps } else { settings.epochs * per_pass }
}

/// Most replayed pairs of one batch.
fn most_old_pairs(settings: &FastSettings) -> usize {
    if settings.replay <= 0.0 {
        return 0;
    }
    let share = settings.replay / (1.0 + settings.replay);
    ((settings.batch as f32 * share).round() as usize).clamp(1, settings.batch.max(2) - 1)
}

/// The earlier cards that a write can replay at all: all of them, or a seeded choice of as many as it has room for. What
/// a write costs does not grow with what was ever learned.
fn replayed<'a>(settings: &FastSettings, fresh: &CardExamples, earlier: &'a [Card], seed: u64) -> Cow<'a, [Card]> {
    let old = most_old_pairs(settings);
    let fresh = Deck::new(&fresh.wordings, 0);
    let per_pass = fresh.examples().div_ceil(fresh.batch(settings.batch.saturating_sub(old).max(1)).max(1));
    let room = most_steps(settings, per_pass) * old;
    if earlier.len() <= room {
        return Cow::Borrowed(earlier);
    }
    let mut order = Shuffled::new(earlier.len(), seed);
    let mut chosen: Vec<usize> = (0..room).filter_map(|_| order.next()).collect();
    chosen.sort_unstable();
    // Each is drawn once, so one wording of it will do.
    let once = |at: usize| {
        let card = &earlier[at];
        let wording = seed.wrapping_add(at as u64) % (1 + card.wordings.len() as u64);
        let question = card.questions().nth(wording as usize).unwrap_or(&card.question).to_owned();
        Card { question, wordings: Vec::new(), ..card.clone() }
    };
    chosen.into_iter().map(once).collect()
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
