//! The write operator T (TMEM, arXiv 2606.04536): cards, replayed cards and anchor prompts become examples, and Δ learns them in
//! the steps of `steps`; what was not finite is rolled back.

use std::borrow::Cow;

use tmem_gpu::Buffer;

use super::examples::CardExamples;
use super::steps::Material;
use super::{Engine, EngineError};
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::{
    Adapter, Deck, Optimizer, Shuffled, StepReport, TrainPlan, TrainSize, WriteOutcome, WriteReport, unknown_cards,
};
use crate::settings::FastSettings;

/// Training batches: sixteen short pairs, a system prompt, a few unknown questions and anchors fit.
pub(super) const TRAIN_SIZE: TrainSize = TrainSize { rows: 768, sequences: 256, losses: MAX_LOSS_ROWS, loss_chunk: 64 };
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
    pub(super) fn stream(&self, n: u64) -> u64 {
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
}

/// Questions about things never told beside `pairs` pairs of a batch: in proportion, so that few cards do not drown in them.
pub(super) fn unknown_pairs(settings: &FastSettings, pairs: usize) -> usize {
    (pairs * settings.unknown_cards).div_ceil(settings.batch.max(1))
}

/// Most steps of a write, of which `per_pass` go once through the pairs.
pub(super) fn most_steps(settings: &FastSettings, per_pass: usize) -> usize {
    if settings.steps > 0 { settings.steps } else { settings.epochs * per_pass }
}

/// Most replayed pairs of one batch.
pub(super) fn most_old_pairs(settings: &FastSettings) -> usize {
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
