//! From requests to sequences that are ready to decode: shared prefixes, the gate's decision, prefill.

use tmem_gpu::{GpuError, Sequence};

use super::kept::{Kept, Under};
use super::runner::{Active, MAX_SEQUENCES, Pass, common_prefix};
use super::{Engine, EngineError};
use crate::model::KvRange;
use crate::rollout::policy::{GateReading, Weights};

/// One prompt to be prefilled.
#[derive(Debug, Clone)]
pub(super) struct Prompt {
    pub(super) tokens: Vec<u32>,
    pub(super) weights: Weights,
}

/// A batch whose prompts are in the cache.
pub(super) struct Prepared {
    pub(super) active: Vec<Active>,
    pub(super) gates: Vec<Option<GateReading>>,
    /// Tokens of each prompt whose keys and values are there before it is run.
    known: usize,
    /// What of a prompt alone in its batch is kept afterwards.
    kept: Option<Kept>,
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
        let alone = prompts.len() == 1 && !(self.has_gate() && prompts[0].weights == Weights::Fast && self.adapts());
        let mut prepared = Prepared {
            active: Vec::new(),
            gates: vec![None; prompts.len()],
            known: shared,
            kept: None,
            prefixes: Vec::new(),
        };
        for prompt in prompts {
            let length = prompt.tokens.len() - shared + more;
            let (slot, scale) = match prompt.weights {
                Weights::Fast | Weights::FastUngated if self.adapts() => (1, 1.0),
                _ => (0, 0.0),
            };
            let tokens = prompt.tokens.clone();
            // Its last token is run again as the first that something follows.
            let kept_part = if alone { &tokens[..tokens.len() - 1] } else { &[] };
            let under = Under::new(slot, scale, &self.delta.hash);
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
        // A prefix computed under one scale of Δ is not that of another: one copy for each.
        let shared = prepared.active[0].prefix_length;
        let mut prefix_of: Vec<(u32, KvRange)> = Vec::new();
        if shared > 0 {
            for i in 0..prepared.active.len() {
                let bits = prepared.active[i].scale.to_bits();
                let known = prefix_of.iter().find(|(b, _)| *b == bits).map(|&(_, range)| range);
                let range = match known {
                    Some(range) => range,
                    None => {
                        let range = self.prefix(prepared, i)?;
                        prefix_of.push((bits, range));
                        range
                    }
                };
                prepared.active[i].prefix_start = range.start;
            }
        }
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
        let shared = prepared.active[0].prefix_length;
        if shared > 0 {
            let range = self.prefix(prepared, gated[0])?;
            for &i in gated {
                prepared.active[i].prefix_start = range.start;
            }
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
            let reading = self.gate.read(state);
            let active = &mut prepared.active[i];
            active.scale = reading.scale;
            if reading.scale == 0.0 {
                active.slot = 0;
            }
            prepared.gates[i] = Some(reading);
        }
        Ok(())
    }

    /// The shared prefix under the slot and scale of sequence `like`, computed as far as it is not kept from before.
    fn prefix(&mut self, prepared: &mut Prepared, like: usize) -> Result<KvRange, EngineError> {
        let like = &prepared.active[like];
        let under = Under::new(like.slot, like.scale, &self.delta.hash);
        let tokens = like.tokens[..like.prefix_length].to_vec();
        let slots = self.runner.cache.slots();
        let full = EngineError::CacheFull { tokens: tokens.len(), slots };
        let (range, known) = self.runner.begin(&under, &tokens, tokens.len())?.ok_or(full)?;
        let prefix = Active { prefix_length: 0, prefix_start: 0, range, ..like.clone() };
        let rows: Vec<_> = prefix.rows(0, known..tokens.len()).collect();
        self.runner.run(&rows, &[prefix.sequence()], Pass::Whole);
        prepared.prefixes.push(Kept { under, tokens, range });
        Ok(range)
    }

    /// Whether there is a Δ to apply.
    fn adapts(&self) -> bool {
        self.delta.version != 0 && self.adapter.is_some()
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

    /// Most copies of a shared prefix that a batch needs: under no Δ, under Δ, and for deciding the gates.
    fn prefix_copies(&self, batch: &[Prompt]) -> usize {
        let any = |wanted: &[Weights]| batch.iter().any(|prompt| wanted.contains(&prompt.weights));
        let adapted = self.adapts() && any(&[Weights::Fast, Weights::FastUngated]);
        let gated = adapted && self.has_gate() && any(&[Weights::Fast]);
        let frozen = !adapted || gated || any(&[Weights::Frozen]);
        usize::from(frozen) + usize::from(adapted) + usize::from(gated)
    }
}
