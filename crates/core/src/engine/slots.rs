//! Several Δ at once. Slot 1 of B holds the Δ in force, which is trained; the slots behind it hold others, so that every
//! prompt of a batch can run under a Δ of its own. Slot 0 is the frozen model.
//!
//! Who asks gives a saved Δ beside each request. What is in a slot stays there until another Δ needs it, so that asking
//! again under the same Δ uploads nothing. Slots are made when they are first asked for: an engine with one Δ has one.

use tmem_gpu::GpuError;

use super::decoder::Decoders;
use super::state::delta_id;
use super::{Engine, EngineError};
use crate::abort::Abort;
use crate::card::Card;
use crate::fast::{Adapter, DeltaId, Gate};
use crate::message::Message;
use crate::rollout::policy::{GenerateRequest, Generation, Score, ScoreRequest, Snapshot, Weights};

/// Slot of the Δ in force.
pub(super) const IN_FORCE: u32 = 1;
/// Most Δ beside the one in force: a batch has no more sequences.
const MOST_HELD: usize = 64;

/// A request, and the Δ that it runs under where its weights are not the frozen ones.
#[derive(Debug, Clone, Copy)]
pub struct UnderDelta<'a, R> {
    /// The Δ, as [`Policy::snapshot`](crate::rollout::policy::Policy::snapshot) gave it.
    pub delta: &'a Snapshot,
    /// What is asked.
    pub request: &'a R,
}

/// What lies in the slots behind the one that is trained.
#[derive(Default)]
pub(super) struct Slots {
    /// From slot 2 on.
    held: Vec<Option<Held>>,
    /// Counts calls of [`Engine::hold`].
    clock: u64,
}

/// A Δ in its slot.
struct Held {
    delta: DeltaId,
    cards: Vec<Card>,
    gate: Gate,
    /// When it was last asked for.
    used: u64,
}

/// Where a Δ that is asked for lies.
enum Place {
    /// In this slot already.
    Slot(u32),
    /// It is this one of those that need a slot.
    Other(usize),
}

impl Held {
    fn is(&self, snapshot: &Snapshot) -> bool {
        self.delta == snapshot.delta && self.cards == snapshot.cards
    }
}

impl Slots {
    /// Forgets what is held.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    /// The gate that goes with a Δ, where that is held.
    pub(super) fn gate_of(&self, snapshot: &Snapshot) -> Option<&Gate> {
        self.held.iter().flatten().find(|held| held.is(snapshot)).map(|held| &held.gate)
    }

    fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.held.iter().flatten().map(|held| &held.gate)
    }

    fn in_slot(&self, slot: u32) -> Option<&Held> {
        self.held.get((slot as usize).checked_sub(2)?)?.as_ref()
    }

    /// The place of the Δ that was not asked for the longest; empty ones first, none of those asked for now.
    fn oldest(&self) -> Option<usize> {
        let used = |at: &usize| self.held[*at].as_ref().map_or(0, |held| held.used);
        (0..self.held.len()).filter(|at| used(at) < self.clock).min_by_key(used)
    }
}

/// Slots besides the one in force that an engine has once `asked` Δ were asked for in one batch.
pub(super) fn slots_for(asked: usize) -> usize {
    if asked == 0 { 0 } else { asked.next_power_of_two().min(MOST_HELD) }
}

impl Engine {
    /// Generates each request under its Δ, in batches as large as the cache allows, whatever Δ are in them. A text has the
    /// same bits as under [`restore`](crate::rollout::policy::Policy::restore) and alone. The Δ in force stays what it is.
    ///
    /// # Errors
    /// A prompt that is too long, a Δ that does not fit these settings, or a failure of the GPU.
    pub async fn generate_under(
        &mut self,
        requests: &[UnderDelta<'_, GenerateRequest>],
        observe: &mut dyn FnMut(usize, &str),
        abort: &Abort,
    ) -> Result<Vec<Generation>, EngineError> {
        let wanted: Vec<_> = requests.iter().map(|asked| wanted(asked.delta, asked.request.weights)).collect();
        let mut all = Vec::with_capacity(requests.len());
        while all.len() < requests.len() {
            let first = all.len();
            let slots = self.hold(&wanted[first..]).await?;
            let now: Vec<_> = requests[first..].iter().zip(&slots).map(|(asked, _)| asked.request).collect();
            let mut told = |at: usize, text: &str| observe(first + at, text);
            let done = self.generate_in(&now, &slots, &mut told, abort).await?;
            let named = done.into_iter().zip(&requests[first..]);
            all.extend(named.map(|(done, asked)| Generation { delta: asked.delta.delta.clone(), ..done }));
        }
        Ok(all)
    }

    /// Scores each continuation under its Δ, as [`generate_under`](Self::generate_under) generates.
    ///
    /// # Errors
    /// As there.
    pub async fn score_under(&mut self, requests: &[UnderDelta<'_, ScoreRequest>]) -> Result<Vec<Score>, EngineError> {
        let wanted: Vec<_> = requests.iter().map(|asked| wanted(asked.delta, asked.request.weights)).collect();
        let mut all = Vec::with_capacity(requests.len());
        while all.len() < requests.len() {
            let first = all.len();
            let slots = self.hold(&wanted[first..]).await?;
            let now: Vec<_> = requests[first..].iter().zip(&slots).map(|(asked, _)| asked.request).collect();
            all.extend(self.score_in(&now, &slots).await?);
        }
        Ok(all)
    }

    /// Logits after the last token of each prompt under its Δ, one row of the vocabulary a prompt.
    ///
    /// # Errors
    /// As [`generate_under`](Self::generate_under).
    pub async fn next_logits_under(
        &mut self,
        prompts: &[UnderDelta<'_, Vec<u32>>],
        weights: Weights,
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let wanted: Vec<_> = prompts.iter().map(|asked| wanted(asked.delta, weights)).collect();
        let mut all = Vec::with_capacity(prompts.len());
        while all.len() < prompts.len() {
            let first = all.len();
            let slots = self.hold(&wanted[first..]).await?;
            let now: Vec<_> = prompts[first..].iter().zip(&slots).map(|(asked, _)| asked.request).collect();
            all.extend(self.next_logits_in(&now, weights, &slots).await?);
        }
        Ok(all)
    }

    /// KL(frozen ‖ θ0 + Δ) of the next token after each conversation under its Δ, in nats.
    ///
    /// # Errors
    /// As [`generate_under`](Self::generate_under).
    pub async fn kl_to_frozen_under(
        &mut self,
        prompts: &[UnderDelta<'_, Vec<Message>>],
        weights: Weights,
    ) -> Result<Vec<f32>, EngineError> {
        // Many Δ are measured on the same few prompts: the frozen model reads each of them once.
        let mut different: Vec<Vec<u32>> = Vec::new();
        let mut places = Vec::with_capacity(prompts.len());
        for asked in prompts {
            let tokens = self.encode_prompt(asked.request, "")?;
            places.push(different.iter().position(|other| *other == tokens).unwrap_or(different.len()));
            if places.last() == Some(&different.len()) {
                different.push(tokens);
            }
        }
        let frozen = self.next_logits(&different, Weights::Frozen).await?;
        let mut all = Vec::with_capacity(prompts.len());
        // By pieces: the logits of all prompts under all Δ need not lie in memory at once.
        for (prompts, places) in prompts.chunks(self.largest_batch()).zip(places.chunks(self.largest_batch())) {
            let tokens = places.iter().map(|&at| &different[at]);
            let asked = prompts.iter().zip(tokens).map(|(asked, request)| UnderDelta { delta: asked.delta, request });
            let asked: Vec<_> = asked.collect();
            let fast = self.next_logits_under(&asked, weights).await?;
            for (&at, fast) in places.iter().zip(&fast) {
                all.push(super::score::kl(&frozen[at], fast)?);
            }
        }
        Ok(all)
    }

    /// Puts Δ into slots, from the front as many as there is room for, at least one, and tells the slot of each. `None` is
    /// no Δ.
    async fn hold(&mut self, wanted: &[Option<&Snapshot>]) -> Result<Vec<u32>, EngineError> {
        self.slots.clock += 1;
        let (mut others, mut places) = (Vec::<&Snapshot>::new(), Vec::with_capacity(wanted.len()));
        for snapshot in wanted {
            places.push(match snapshot.filter(|snapshot| snapshot.delta.version != 0 && self.adapter.is_some()) {
                None => Place::Slot(0),
                Some(snapshot) if self.is_in_force(snapshot) => Place::Slot(IN_FORCE),
                Some(snapshot) => match others.iter().position(|other| is_same(other, snapshot)) {
                    Some(at) => Place::Other(at),
                    None => {
                        others.push(snapshot);
                        Place::Other(others.len() - 1)
                    }
                },
            });
        }
        let room = if others.is_empty() { 0 } else { self.make_slots(others.len())? };
        others.truncate(room);
        let mut slots = vec![0u32; others.len()];
        for (snapshot, slot) in others.iter().zip(&mut slots) {
            if let Some(at) = self.slots.held.iter().position(|held| held.as_ref().is_some_and(|h| h.is(snapshot))) {
                *slot = at as u32 + 2;
                if let Some(held) = &mut self.slots.held[at] {
                    held.used = self.slots.clock;
                }
            }
        }
        for (snapshot, slot) in others.iter().zip(&mut slots) {
            if *slot == 0 {
                *slot = self.put(snapshot).await?;
            }
        }
        let slot = |place| match place {
            Place::Slot(slot) => Some(slot),
            Place::Other(at) => slots.get(at).copied(),
        };
        Ok(places.into_iter().map_while(slot).collect())
    }

    /// Puts a Δ into a free slot or that of the oldest.
    async fn put(&mut self, snapshot: &Snapshot) -> Result<u32, EngineError> {
        let adapter = self.adapter.clone().ok_or(EngineError::NoSites)?;
        if snapshot.a.is_some() || self.imported_a {
            return Err(EngineError::OtherA);
        }
        if snapshot.b.len() != adapter.sites.b_len {
            return Err(EngineError::WrongState { found: snapshot.b.len(), wanted: adapter.sites.b_len });
        }
        // From here on the hash stands for B.
        if delta_id(snapshot.delta.version, &snapshot.b) != snapshot.delta {
            return Err(EngineError::WrongHash(snapshot.delta.hash.clone()));
        }
        let mut gate = self.nearest_gate(&snapshot.cards);
        self.fill_gate(&mut gate, &snapshot.cards).await?;
        let at = self.slots.oldest().ok_or_else(|| self.no_slot(&adapter))?;
        let slot = at as u32 + 2;
        self.gpu.write(&adapter.b, adapter.slot_offset(slot), &snapshot.b);
        let (delta, cards, used) = (snapshot.delta.clone(), snapshot.cards.clone(), self.slots.clock);
        self.slots.held[at] = Some(Held { delta, cards, gate, used });
        Ok(slot)
    }

    /// Whether a saved Δ is the one in force, cards and A included.
    fn is_in_force(&self, snapshot: &Snapshot) -> bool {
        snapshot.delta == self.delta && snapshot.cards == self.cards && snapshot.a.is_none() && !self.imported_a
    }

    /// Of the gates at hand the one that has the most of these cards' questions, to begin from.
    fn nearest_gate(&self, cards: &[Card]) -> Gate {
        let shared = |gate: &Gate| {
            let known = gate.known();
            cards.iter().flat_map(Card::questions).filter(|question| known.contains(question)).count()
        };
        let gates = std::iter::once(&self.gate).chain(self.slots.gates());
        gates.max_by_key(|gate| shared(gate)).cloned().unwrap_or_default()
    }

    /// Makes room for `asked` Δ beside the one in force, or for as many as the device allows. Says for how many there is
    /// room: at least one.
    pub(super) fn make_slots(&mut self, asked: usize) -> Result<usize, EngineError> {
        let adapter = self.adapter.clone().ok_or(EngineError::NoSites)?;
        let most = adapter.most_slots(&self.gpu).saturating_sub(1);
        if most == 0 {
            return Err(self.no_slot(&adapter));
        }
        let mut held = slots_for(asked).min(most);
        while adapter.slots < held + 1 {
            match self.rebind(&adapter, held + 1) {
                Ok(()) => break,
                // What there is will do: it only takes more batches.
                Err(EngineError::Gpu(GpuError::OutOfMemory(_))) if held > 1 => held /= 2,
                Err(error) => return Err(error),
            }
        }
        let held = self.adapter.as_ref().map_or(0, |adapter| adapter.slots - 1);
        self.slots.held.resize_with(held, || None);
        self.runner.set_held(held);
        Ok(held)
    }

    fn no_slot(&self, adapter: &Adapter) -> EngineError {
        let limit = self.gpu.largest_binding();
        EngineError::NoSlot { needed: 2 * adapter.sites.b_len as u64 * 4, limit }
    }

    /// Binds every plan to a B with `slots` slots. What lies in the slots stays.
    fn rebind(&mut self, adapter: &Adapter, slots: usize) -> Result<(), EngineError> {
        // Made anew when they are needed; until then their memory is free.
        (self.decoders, self.trainer) = (Decoders::default(), None);
        let adapter = adapter.with_slots(&self.gpu, slots)?;
        self.runner.rebind(&self.model, &adapter)?;
        self.adapter = Some(adapter);
        Ok(())
    }

    /// The hash of the Δ in a slot from 1 on.
    pub(super) fn hash_in(&self, slot: u32) -> &str {
        self.slots.in_slot(slot).map_or(&self.delta.hash, |held| &held.delta.hash)
    }

    /// The gate of the Δ in a slot from 1 on.
    pub(super) fn gate_in(&self, slot: u32) -> &Gate {
        self.slots.in_slot(slot).map_or(&self.gate, |held| &held.gate)
    }

    /// The slots of `count` prompts under the Δ in force.
    pub(super) fn in_force(&self, count: usize) -> Vec<u32> {
        let adapts = self.delta.version != 0 && self.adapter.is_some();
        vec![if adapts { IN_FORCE } else { 0 }; count]
    }
}

/// The Δ that is needed for a request with these weights.
fn wanted(delta: &Snapshot, weights: Weights) -> Option<&Snapshot> {
    (weights != Weights::Frozen).then_some(delta)
}

fn is_same(a: &Snapshot, b: &Snapshot) -> bool {
    std::ptr::eq(a, b) || (a.delta == b.delta && a.cards == b.cards)
}
