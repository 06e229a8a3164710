//! The state of the fast weights: B, its hash and its size; the gate that goes with it.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::{Engine, EngineError};
use crate::card::Card;
use crate::fast::{DeltaId, Gate, Limits, Projection, SiteNorm, untold};
use crate::hash::hexadecimal;
use crate::rollout::policy::Snapshot;
use crate::settings::FastSettings;

/// An adapted site and the spectrum its A was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteInfo {
    /// Layer, counted from 0 at the input.
    pub layer: usize,
    /// Which projection.
    pub projection: Projection,
    /// σ_1..σ_r of the dequantised weight, largest first.
    pub singular_values: Vec<f32>,
    /// Largest entry of |V Vᵀ − I|.
    pub orthonormality_error: f32,
    /// Largest ‖WᵀW v − σ² v‖ / σ_1².
    pub residual: f32,
    /// ‖W‖_F.
    pub weight_norm: f32,
    /// A Aᵀ, [rank, rank]; with BᵀB it gives ‖B A‖_F.
    pub(super) gram_a: Vec<f32>,
}

/// `fast.gate_margin` of a gate that does not ask for one: no two cosines are further apart.
const GATE_MARGIN_OFF: f32 = -2.0;
/// Cards or prompts that are computed for the gate in one piece.
pub(super) const QUESTIONS_AT_ONCE: usize = 32;

impl Engine {
    /// ‖ΔW‖_F / ‖W‖_F per site from BᵀB per site: ‖B A‖² = Σ_ij (BᵀB)_ij (A Aᵀ)_ij.
    pub(super) fn relative_norms(&self, grams: &[f32]) -> Vec<f32> {
        let Some(adapter) = &self.adapter else { return Vec::new() };
        grams
            .chunks_exact(adapter.sites.rank * adapter.sites.rank)
            .zip(&self.sites)
            .map(|(gram_b, site)| relative_norm(gram_b, site))
            .collect()
    }

    /// ‖ΔW‖_F / ‖W‖_F of every site, from B itself, in site order.
    ///
    /// # Errors
    /// A failure of the GPU.
    pub async fn site_norms(&self) -> Result<Vec<SiteNorm>, EngineError> {
        let Some(adapter) = &self.adapter else { return Ok(Vec::new()) };
        let rank = adapter.sites.rank;
        let b = self.read_b().await?;
        let norms = adapter.sites.sites.iter().zip(&self.sites).map(|(site, info)| {
            let b = &b[site.b_offset..][..site.outputs * rank];
            let mut gram = vec![0.0; rank * rank];
            for row in b.chunks_exact(rank) {
                for (i, x) in row.iter().enumerate() {
                    for (j, y) in row.iter().enumerate() {
                        gram[i * rank + j] += x * y;
                    }
                }
            }
            SiteNorm {
                layer: site.layer,
                projection: site.projection.name().to_owned(),
                relative: relative_norm(&gram, info),
            }
        });
        Ok(norms.collect())
    }

    /// B of all sites in the slot that is trained, flat.
    pub(super) async fn read_b(&self) -> Result<Vec<f32>, EngineError> {
        match &self.adapter {
            Some(adapter) => Ok(self.gpu.read(&adapter.b, 0, adapter.sites.b_len).await?),
            None => Ok(Vec::new()),
        }
    }

    /// B ← 0 in the slot that is trained.
    pub(super) fn clear_b(&self) {
        if let Some(adapter) = &self.adapter {
            let mut commands = self.gpu.commands("clear B");
            commands.clear(&adapter.b, 0, adapter.sites.b_len as u64 * 4);
            commands.submit();
        }
    }

    /// Names the B in force as version `version`.
    pub(super) async fn read_delta(&self, version: u64) -> Result<DeltaId, EngineError> {
        Ok(delta_id(version, &self.read_b().await?))
    }

    /// Δ ← 0, no cards, no gate.
    pub(super) async fn forget_all(&mut self) -> Result<(), EngineError> {
        self.own_a().await?;
        self.clear_b();
        self.cards.clear();
        self.gate = Gate::default();
        self.delta = self.read_delta(0).await?;
        Ok(())
    }

    pub(super) async fn take_snapshot(&mut self) -> Result<Snapshot, EngineError> {
        let a = match &self.adapter {
            Some(adapter) if self.imported_a => Some(self.gpu.read(&adapter.a, 0, adapter.sites.a_len).await?),
            _ => None,
        };
        Ok(Snapshot { delta: self.delta.clone(), b: self.read_b().await?, a, cards: self.cards.clone() })
    }

    pub(super) async fn put_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), EngineError> {
        let wanted = self.adapter.as_ref().map_or(0, |a| a.sites.b_len);
        if snapshot.b.len() != wanted {
            return Err(EngineError::WrongState { found: snapshot.b.len(), wanted });
        }
        match &snapshot.a {
            Some(a) => self.set_imported_a(a)?,
            None => self.own_a().await?,
        }
        if let Some(adapter) = &self.adapter {
            self.gpu.write(&adapter.b, 0, &snapshot.b);
        }
        self.delta = delta_id(snapshot.delta.version, &snapshot.b);
        self.cards = snapshot.cards.clone();
        if let Some(gate) = self.slots.gate_of(snapshot) {
            self.gate = gate.clone();
        }
        self.rebuild_gate().await
    }

    /// Adds cards to those that Δ knows, by id.
    pub(super) fn remember(&mut self, cards: &[Card], replay: &[Card]) {
        let mut places: HashMap<u64, usize> = self.cards.iter().enumerate().map(|(at, card)| (card.id, at)).collect();
        for card in replay.iter().chain(cards) {
            match places.get(&card.id) {
                Some(&at) => self.cards[at].clone_from(card),
                None => {
                    places.insert(card.id, self.cards.len());
                    self.cards.push(card.clone());
                }
            }
        }
    }

    /// Whether prompts are gated. With every layer adapted there is nothing to decide by: what enters the lowest one is
    /// the same template token's embedding for every prompt.
    pub(super) fn has_gate(&self) -> bool {
        self.settings.fast.gate && self.runner.first_layer > 0
    }

    /// The gate for the cards that Δ knows. What it had of them stays; only new questions are computed.
    pub(super) async fn rebuild_gate(&mut self) -> Result<(), EngineError> {
        let (mut gate, cards) = (std::mem::take(&mut self.gate), std::mem::take(&mut self.cards));
        let done = self.fill_gate(&mut gate, &cards).await;
        (self.gate, self.cards) = (gate, cards);
        done
    }

    /// Makes `gate` the one for `cards`, keeping what it has of them.
    pub(super) async fn fill_gate(&mut self, gate: &mut Gate, cards: &[Card]) -> Result<(), EngineError> {
        if !self.has_gate() || cards.is_empty() {
            *gate = Gate::default();
            return Ok(());
        }
        let prefix = self.prompt_prefix()?;
        let asks_unknown = asks_for_unknown(&self.settings.fast);
        let background = self.background(&prefix, asks_unknown).await?;
        if !gate.is_among(&background) {
            *gate = Gate::among(background);
        }
        let known = gate.known();
        let is_new = |card: &&Card| card.questions().any(|question| !known.contains(question));
        let new: Vec<Card> = cards.iter().filter(is_new).cloned().collect();
        let states = self.question_states(&new, &prefix).await?;
        let limits = Limits { pass: self.settings.fast.gate_pass, margin: self.settings.fast.gate_margin };
        gate.set_questions(&questions_of(cards), &states, limits);
        gate.set_untold(if asks_unknown { untold(cards.iter()) } else { Vec::new() });
        Ok(())
    }

    /// The hidden state of every question of `cards`, by its text.
    pub(super) async fn question_states(
        &mut self,
        cards: &[Card],
        prefix: &[u32],
    ) -> Result<HashMap<String, Vec<f32>>, EngineError> {
        let mut all = HashMap::new();
        // By pieces, so that the store of hidden states need not hold all at once.
        for cards in cards.chunks(QUESTIONS_AT_ONCE) {
            let (mut texts, mut examples) = (Vec::new(), Vec::new());
            for card in cards {
                let answer = self.answer_tokens(card)?;
                for question in card.questions() {
                    if let Some(example) = self.card_example(question, &answer, prefix)? {
                        texts.push(question.to_owned());
                        examples.push(example);
                    }
                }
            }
            let states = self.last_states(prefix, &mut examples).await?;
            all.extend(texts.into_iter().zip(states));
        }
        Ok(all)
    }
}

/// Whether a gate compares with questions about things never told.
pub(super) fn asks_for_unknown(settings: &FastSettings) -> bool {
    settings.gate_margin > GATE_MARGIN_OFF
}

/// Every wording of every card, with the card's id.
pub(super) fn questions_of(cards: &[Card]) -> Vec<(u64, &str)> {
    cards.iter().flat_map(|card| card.questions().map(|question| (card.id, question))).collect()
}

/// A buffer's worth of B, named.
pub(super) fn delta_id(version: u64, b: &[f32]) -> DeltaId {
    let mut hash = Sha256::new();
    for value in b {
        // +0 and −0 are the same Δ.
        let value = if *value == 0.0 { 0.0f32 } else { *value };
        hash.update(value.to_le_bytes());
    }
    DeltaId { version, hash: hexadecimal(&hash.finalize()) }
}

fn relative_norm(gram_b: &[f32], site: &SiteInfo) -> f32 {
    let squared: f64 = gram_b.iter().zip(&site.gram_a).map(|(b, a)| f64::from(*b) * f64::from(*a)).sum();
    // Rounding may leave a tiny negative number where Δ is 0; not a number must stay one.
    let squared = if squared < 0.0 { 0.0 } else { squared };
    (squared.sqrt() / f64::from(site.weight_norm).max(f64::MIN_POSITIVE)) as f32
}
