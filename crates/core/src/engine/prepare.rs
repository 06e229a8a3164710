//! From requests to sequences that are ready to decode: shared prefixes, the gate's decision, prefill.

use tmem_gpu::{GpuError, Sequence};

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
    prefixes: Vec<KvRange>,
}

/// Prompts share a prefix only where at least this many tokens are saved by it.
const SHORTEST_SHARED_PREFIX: usize = 8;

impl Engine {
    /// Prefills `prompts` with room for `more` further tokens each. The caller releases the result.
    pub(super) async fn prepare(&mut self, prompts: &[Prompt], more: usize) -> Result<Prepared, EngineError> {
        let shared = self.shared_prefix(prompts);
        let mut prepared = Prepared { active: Vec::new(), gates: vec![None; prompts.len()], prefixes: Vec::new() };
        for prompt in prompts {
            let length = prompt.tokens.len() - shared + more;
            let Some(range) = self.runner.cache.take(length) else {
                self.release(prepared);
                return Err(EngineError::CacheFull { tokens: length, slots: self.runner.cache.slots() });
            };
            let (slot, scale) = match prompt.weights {
                Weights::Frozen => (0, 0.0),
                _ if self.delta.version == 0 || self.adapter.is_none() => (0, 0.0),
                Weights::Fast | Weights::FastUngated => (1, 1.0),
            };
            let tokens = prompt.tokens.clone();
            prepared.active.push(Active { tokens, prefix_length: shared, prefix_start: 0, range, slot, scale });
        }
        let done = self.fill(&mut prepared, prompts).await;
        match done {
            Ok(()) => Ok(prepared),
            Err(error) => {
                self.release(prepared);
                Err(error)
            }
        }
    }

    /// Gives the cache slots of a batch back.
    pub(super) fn release(&mut self, prepared: Prepared) {
        for range in prepared.active.iter().map(|a| a.range).chain(prepared.prefixes) {
            self.runner.cache.release(range);
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
                        let range = self.take_prefix(prepared, shared)?;
                        self.run_prefix(&prepared.active[i], range);
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
                    active.rows(i, active.prefix_length..active.tokens.len())
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
            let range = self.take_prefix(prepared, shared)?;
            self.run_prefix(&prepared.active[gated[0]], range);
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

    fn take_prefix(&mut self, prepared: &mut Prepared, length: usize) -> Result<KvRange, EngineError> {
        let slots = self.runner.cache.slots();
        let range = self.runner.cache.take(length).ok_or(EngineError::CacheFull { tokens: length, slots })?;
        prepared.prefixes.push(range);
        Ok(range)
    }

    /// Computes the shared prefix of `like` under its slot and scale.
    fn run_prefix(&mut self, like: &Active, range: KvRange) {
        let prefix = Active { prefix_length: 0, prefix_start: 0, range, ..like.clone() };
        let rows: Vec<_> = prefix.rows(0, 0..like.prefix_length).collect();
        self.runner.run(&rows, &[prefix.sequence()], Pass::Whole);
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
        let adapted = self.delta.version != 0 && self.adapter.is_some() && any(&[Weights::Fast, Weights::FastUngated]);
        let gated = adapted && self.has_gate() && any(&[Weights::Fast]);
        let frozen = !adapted || gated || any(&[Weights::Frozen]);
        usize::from(frozen) + usize::from(adapted) + usize::from(gated)
    }
}
