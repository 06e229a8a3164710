//! From requests to sequences that are ready to decode: shared prefixes, the gate's decision, prefill.

use std::collections::BTreeSet;
use std::ops::Range;

use tmem_gpu::{GpuError, Sequence};

use super::kept::{Kept, Under};
use super::runner::{Active, MAX_SEQUENCES, Pass, common_prefix};
use super::{Engine, EngineError};
use crate::rollout::policy::{GateReading, Weights};

/// One prompt to be prefilled.
#[derive(Debug, Clone)]
pub(super) struct Prompt {
    pub(super) tokens: Vec<u32>,
    pub(super) weights: Weights,
    /// Slot of the Δ it runs under where its weights are not the frozen ones; 0 where there is none.
    pub(super) slot: u32,
}

impl Prompt {
    /// The slot whose Δ applies before a gate has decided.
    fn adapted_by(&self) -> u32 {
        if self.weights == Weights::Frozen { 0 } else { self.slot }
    }
}

/// A batch whose prompts are in the cache.
pub(super) struct Prepared {
    pub(super) active: Vec<Active>,
    pub(super) gates: Vec<Option<GateReading>>,
    /// Tokens of each prompt whose keys and values are there before it is run.
    known: usize,
    /// What of a prompt alone in its batch is kept afterwards.
    kept: Option<Kept>,
    /// Shared prefixes that are computed, one for each Δ and scale.
    prefixes: Vec<Kept>,
}

/// Prompts share a prefix only where at least this many tokens are saved by it.
const SHORTEST_SHARED_PREFIX: usize = 8;

impl Engine {
    /// Prefills `prompts` with room for `more` further tokens each. The caller releases the result.
    pub(super) async fn prepare(&mut self, prompts: &[Prompt], more: usize) -> Result<Prepared, EngineError> {
        match self.try_prepare(prompts, more).await {
            // What was kept lay in the way, so that the slots are there but not in one piece.
            Err(EngineError::CacheFull { .. }) => {
                self.runner.forget_kept();
                self.try_prepare(prompts, more).await
            }
            done => done,
        }
    }

    async fn try_prepare(&mut self, prompts: &[Prompt], more: usize) -> Result<Prepared, EngineError> {
        let shared = self.shared_prefix(prompts);
        // A prompt alone may go on where an earlier one ended. Where a gate decides, it does so on the whole prompt.
        let alone =
            prompts.len() == 1 && !(self.has_gate() && prompts[0].weights == Weights::Fast && prompts[0].slot != 0);
        let mut prepared = Prepared {
            active: Vec::new(),
            gates: vec![None; prompts.len()],
            known: shared,
            kept: None,
            prefixes: Vec::new(),
        };
        for prompt in prompts {
            let length = prompt.tokens.len() - shared + more;
            let slot = prompt.adapted_by();
            let scale = if slot == 0 { 0.0 } else { 1.0 };
            let tokens = prompt.tokens.clone();
            // Its last token is run again as the first that something follows.
            let kept_part = if alone { &tokens[..tokens.len() - 1] } else { &[] };
            let under = self.under(slot, scale);
            let full = EngineError::CacheFull { tokens: length, slots: self.runner.cache.slots() };
            let begun = self.runner.begin(&under, kept_part, length).map_err(EngineError::from);
            let (range, known) = match begun.and_then(|begun| begun.ok_or(full)) {
                Ok(begun) => begun,
                Err(error) => {
                    self.release(prepared);
                    return Err(error);
                }
            };
            if alone {
                prepared.known = known;
                prepared.kept = Some(Kept { under, tokens: kept_part.to_vec(), range });
            }
            prepared.active.push(Active { tokens, prefix_length: shared, prefix_start: 0, range, slot, scale });
        }
        let done = self.fill(&mut prepared, prompts).await;
        match done {
            Ok(()) => Ok(prepared),
            Err(error) => {
                prepared.kept = None;
                self.release(prepared);
                Err(error)
            }
        }
    }

    /// Gives the cache slots of a batch back, or keeps what lies in them for the next.
    pub(super) fn release(&mut self, prepared: Prepared) {
        let kept = prepared.kept;
        for range in prepared.active.iter().map(|active| active.range) {
            if kept.as_ref().is_none_or(|kept| kept.range != range) {
                self.runner.cache.release(range);
            }
        }
        for kept in prepared.prefixes.into_iter().chain(kept) {
            self.runner.keep(kept);
        }
    }

    fn shared_prefix(&self, prompts: &[Prompt]) -> usize {
        let shortest = prompts.iter().map(|p| p.tokens.len()).min().unwrap_or(0);
        let common = common_prefix(prompts.iter().map(|p| p.tokens.as_slice())).min(shortest.saturating_sub(1));
        if prompts.len() > 1 && common >= SHORTEST_SHARED_PREFIX { common } else { 0 }
    }

    async fn fill(&mut self, prepared: &mut Prepared, prompts: &[Prompt]) -> Result<(), EngineError> {
        let adapted = |i: usize| prompts[i].weights == Weights::Fast && prepared.active[i].slot != 0;
        let gated: Vec<usize> = (0..prompts.len()).filter(|&i| self.has_gate() && adapted(i)).collect();
        if !gated.is_empty() {
            self.decide_gates(prepared, &gated).await?;
        }
        self.share_prefixes(prepared, 0..prompts.len())?;
        let sequences: Vec<Sequence> = prepared.active.iter().map(Active::sequence).collect();
        let rows = |indices: &mut dyn Iterator<Item = usize>| -> Vec<_> {
            indices
                .flat_map(|i| {
                    let active = &prepared.active[i];
                    active.rows(i, prepared.known..active.tokens.len())
                })
                .collect()
        };
        let upper = rows(&mut gated.iter().copied());
        let whole = rows(&mut (0..prompts.len()).filter(|i| !gated.contains(i)));
        self.runner.run(&upper, &sequences, Pass::Upper);
        self.runner.run(&whole, &sequences, Pass::Whole);
        self.runner_check()
    }

    /// Runs the gated prompts up to the lowest adapted layer and decides their scales from what comes out.
    async fn decide_gates(&mut self, prepared: &mut Prepared, gated: &[usize]) -> Result<(), EngineError> {
        // Below the adapted layers any Δ's prefix is that of all.
        let (shared, first) = (prepared.active[0].prefix_length, gated[0]);
        self.share_prefixes(prepared, first..first + 1)?;
        for &i in gated {
            prepared.active[i].prefix_start = prepared.active[first].prefix_start;
        }
        let sequences: Vec<Sequence> = prepared.active.iter().map(Active::sequence).collect();
        let (mut rows, mut last) = (Vec::new(), Vec::new());
        for &i in gated {
            let active = &prepared.active[i];
            rows.extend(active.rows(i, shared..active.tokens.len()));
            last.push(rows.len() - 1);
        }
        self.runner.run(&rows, &sequences, Pass::Lower);
        for (state, &i) in self.runner.read_hidden(&last).await?.iter().zip(gated) {
            let active = &mut prepared.active[i];
            let reading = self.gate_in(active.slot).read(state);
            active.scale = reading.scale;
            if reading.scale == 0.0 {
                active.slot = 0;
            }
            prepared.gates[i] = Some(reading);
        }
        Ok(())
    }

    /// Gives sequences their shared prefix under their Δ and scale: one copy for each, all of them computed in one pass as
    /// far as they are neither there nor kept from before.
    fn share_prefixes(&mut self, prepared: &mut Prepared, of: Range<usize>) -> Result<(), EngineError> {
        let shared = prepared.active[0].prefix_length;
        if shared == 0 {
            return Ok(());
        }
        let (mut new, mut rows, mut sequences) = (Vec::<Kept>::new(), Vec::new(), Vec::new());
        for like in &prepared.active[of.clone()] {
            let under = self.under(like.slot, like.scale);
            if prepared.prefixes.iter().chain(&new).any(|prefix| prefix.under == under) {
                continue;
            }
            let tokens = like.tokens[..shared].to_vec();
            let full = EngineError::CacheFull { tokens: shared, slots: self.runner.cache.slots() };
            let begun = self.runner.begin(&under, &tokens, shared).map_err(EngineError::from);
            let (range, known) = match begun.and_then(|begun| begun.ok_or(full)) {
                Ok(begun) => begun,
                Err(error) => {
                    // Nothing was computed there.
                    new.iter().for_each(|prefix| self.runner.cache.release(prefix.range));
                    return Err(error);
                }
            };
            let prefix = Active { prefix_length: 0, prefix_start: 0, range, ..like.clone() };
            rows.extend(prefix.rows(sequences.len(), known..shared));
            sequences.push(prefix.sequence());
            new.push(Kept { under, tokens, range });
        }
        self.runner.run(&rows, &sequences, Pass::Whole);
        prepared.prefixes.append(&mut new);
        for i in of {
            let under = self.under(prepared.active[i].slot, prepared.active[i].scale);
            if let Some(prefix) = prepared.prefixes.iter().find(|prefix| prefix.under == under) {
                prepared.active[i].prefix_start = prefix.range.start;
            }
        }
        Ok(())
    }

    /// What the keys and values of a sequence depend on.
    fn under(&self, slot: u32, scale: f32) -> Under {
        if slot == 0 { Under::frozen() } else { Under::new(scale, self.hash_in(slot)) }
    }

    fn runner_check(&self) -> Result<(), EngineError> {
        self.gpu.check().map_err(GpuError::into)
    }

    /// How many of `prompts`, from the front, fit one batch with room for `more` tokens each. Questions about one long
    /// context share it, so it counts as often as there may be copies of it and not once a question.
    pub(super) fn batch_size(&self, prompts: &[Prompt], more: usize, most: usize) -> usize {
        let (slots, capacity) = (self.runner.cache.slots(), self.runner.capacity());
        let most = most.min(MAX_SEQUENCES / 2).min(prompts.len());
        let fits = |size: usize| {
            let batch = &prompts[..size];
            let shared = self.shared_prefix(batch);
            let own: usize = batch.iter().map(|prompt| prompt.tokens.len() - shared).sum();
            own + size * more + self.prefix_copies(batch) * shared <= slots && own <= capacity
        };
        // A single prompt that does not fit is told of by whoever runs it.
        (2..=most).take_while(|&size| fits(size)).last().unwrap_or(most.min(1))
    }

    /// Most copies of a shared prefix that a batch needs: one under no Δ, and one under each.
    fn prefix_copies(&self, batch: &[Prompt]) -> usize {
        let frozen = |prompt: &Prompt| prompt.adapted_by() == 0 || (self.has_gate() && prompt.weights == Weights::Fast);
        let adapted: BTreeSet<u32> = batch.iter().map(Prompt::adapted_by).filter(|&slot| slot != 0).collect();
        usize::from(batch.iter().any(frozen)) + adapted.len()
    }
}
