//! Which examples make up each mini-batch of a write: seeded, reproducible, and packed into rows.

use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tmem_gpu::{Row, Sequence};

use super::loss_plan::LossRows;
use super::train_plan::PackedBatch;

/// Hands out indices below `len` in a seeded random order, reshuffled after every pass.
#[derive(Debug)]
pub(crate) struct Shuffled {
    order: Vec<usize>,
    at: usize,
    rng: ChaCha8Rng,
}

impl Shuffled {
    pub(crate) fn new(len: usize, seed: u64) -> Self {
        let mut shuffled = Self { order: (0..len).collect(), at: 0, rng: ChaCha8Rng::seed_from_u64(seed) };
        shuffled.order.shuffle(&mut shuffled.rng);
        shuffled
    }

    /// The next index; `None` where there is nothing to choose from.
    pub(crate) fn next(&mut self) -> Option<usize> {
        if self.at == self.order.len() {
            self.order.shuffle(&mut self.rng);
            self.at = 0;
        }
        let index = self.order.get(self.at).copied();
        self.at += 1;
        index
    }
}

/// Draws examples card by card: the cards in a seeded random order, every card once before any a second time, and each
/// card's wordings in turn. A batch so drawn shows every card as often as any other.
#[derive(Debug)]
pub(crate) struct Deck {
    cards: Shuffled,
    /// Examples of each card.
    wordings: Vec<Range<usize>>,
    /// The wording that each card shows next.
    turn: Vec<usize>,
}

impl Deck {
    /// A deck of cards whose examples stand one behind the other, `wordings[i]` of them for card i.
    pub(crate) fn new(wordings: &[usize], seed: u64) -> Self {
        let mut at = 0;
        let wordings: Vec<_> = wordings
            .iter()
            .filter(|&&n| n > 0)
            .map(|&n| {
                at += n;
                at - n..at
            })
            .collect();
        Self { cards: Shuffled::new(wordings.len(), seed), turn: vec![0; wordings.len()], wordings }
    }

    /// Cards in the deck.
    pub(crate) fn cards(&self) -> usize {
        self.wordings.len()
    }

    /// Examples in the deck.
    pub(crate) fn examples(&self) -> usize {
        self.wordings.last().map_or(0, |last| last.end)
    }

    /// Index of the next example; `None` where there is none.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let card = self.cards.next()?;
        let wordings = &self.wordings[card];
        let example = wordings.start + self.turn[card] % wordings.len();
        self.turn[card] += 1;
        Some(example)
    }

    /// How many examples a batch of up to `most` takes: whole rounds of all cards where they fit.
    pub(crate) fn batch(&self, most: usize) -> usize {
        let rounds = most.checked_div(self.cards()).unwrap_or(0);
        if rounds == 0 { most.min(self.cards()) } else { (rounds * self.cards()).min(self.examples()) }
    }
}

/// A run of rows to be packed: its input tokens and the slot and scale it is computed under.
pub(crate) struct Run<'a> {
    pub(crate) inputs: &'a [u32],
    /// First row of its hidden states in the store.
    pub(crate) stored: usize,
}

/// A packed batch and, for each run, its first row.
pub(crate) struct Packed {
    pub(crate) batch: PackedBatch,
    pub(crate) first_rows: Vec<usize>,
    /// (row in the store, row in the batch, rows) to be copied.
    pub(crate) copies: Vec<(usize, usize, usize)>,
}

/// Packs the prefix (whose hidden states stand in row 0 of the store) and `runs` behind it, as many as fit `max_rows`.
pub(crate) fn pack(prefix: &[u32], runs: &[Run<'_>], slot: u32, scale: f32, max_rows: usize) -> Packed {
    let mut batch = PackedBatch::default();
    let (mut first_rows, mut copies) = (Vec::new(), Vec::new());
    let p = prefix.len();
    batch.sequences.push(Sequence { prefix_start: 0, prefix_length: 0, start: 0, gate: scale });
    for (position, &token) in prefix.iter().enumerate() {
        batch.rows.push(Row { token, position: position as u32, sequence: 0, slot });
    }
    if p > 0 {
        copies.push((0, 0, p));
    }
    for run in runs {
        let start = batch.rows.len();
        if start + run.inputs.len() > max_rows {
            break;
        }
        let sequence = batch.sequences.len() as u32;
        batch.sequences.push(Sequence { prefix_start: 0, prefix_length: p as u32, start: start as u32, gate: scale });
        for (i, &token) in run.inputs.iter().enumerate() {
            batch.rows.push(Row { token, position: (p + i) as u32, sequence, slot });
        }
        first_rows.push(start);
        copies.push((run.stored, start, run.inputs.len()));
    }
    let total = batch.rows.len() as u32;
    batch.query_end = vec![total; p];
    for (run, &start) in runs.iter().zip(&first_rows) {
        batch.query_end.extend(std::iter::repeat_n((start + run.inputs.len()) as u32, run.inputs.len()));
    }
    Packed { batch, first_rows, copies }
}

/// The loss rows of a run that begins at batch row `start`: one for each target.
pub(crate) fn push_losses(losses: &mut LossRows, start: usize, first_loss: usize, targets: &[u32], weight: f32) {
    for (i, &target) in targets.iter().enumerate() {
        losses.push(start + first_loss + i, target, weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_hands_out_each_index_once_and_the_same_seed_the_same_order() {
        let mut shuffled = Shuffled::new(5, 7);
        let pass: Vec<_> = (0..5).filter_map(|_| shuffled.next()).collect();
        let mut sorted = pass.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4]);
        let mut again = Shuffled::new(5, 7);
        assert_eq!(pass, (0..5).filter_map(|_| again.next()).collect::<Vec<_>>());
        assert_eq!(Shuffled::new(0, 7).next(), None);
    }

    #[test]
    fn every_card_comes_once_a_round_with_its_wordings_in_turn() {
        let mut deck = Deck::new(&[3, 1, 2], 1);
        assert_eq!((deck.cards(), deck.examples()), (3, 6));
        let card_of = |example: usize| [0, 0, 0, 1, 2, 2][example];
        let mut seen = [const { Vec::new() }; 3];
        for _ in 0..3 {
            let mut round: Vec<_> = (0..3).filter_map(|_| deck.next()).collect();
            round.iter().for_each(|&e| seen[card_of(e)].push(e));
            round.sort_unstable_by_key(|&e| card_of(e));
            assert_eq!(round.iter().map(|&e| card_of(e)).collect::<Vec<_>>(), [0, 1, 2]);
        }
        assert_eq!(seen, [vec![0, 1, 2], vec![3, 3, 3], vec![4, 5, 4]]);
        assert_eq!([2, 3, 5, 16].map(|most| deck.batch(most)), [2, 3, 3, 6]);
    }

    #[test]
    fn packed_runs_see_the_prefix_and_themselves() {
        let runs = [Run { inputs: &[7, 8], stored: 3 }, Run { inputs: &[9], stored: 5 }];
        let packed = pack(&[1, 2, 3], &runs, 1, 1.0, 16);
        assert_eq!(packed.first_rows, [3, 5]);
        assert_eq!(packed.batch.query_end, [6, 6, 6, 5, 5, 6]);
        assert_eq!(packed.copies, [(0, 0, 3), (3, 3, 2), (5, 5, 1)]);
        let last = packed.batch.rows[5];
        assert_eq!((last.position, last.sequence, last.slot), (3, 2, 1));
        let sequence = packed.batch.sequences[2];
        assert_eq!([0, 2, 3].map(|p| sequence.kv_index(p)), [0, 2, 5], "the cache of a packed batch is its rows");
    }

    #[test]
    fn a_run_that_does_not_fit_is_left_out() {
        let runs = [Run { inputs: &[7, 8], stored: 0 }, Run { inputs: &[9, 9, 9], stored: 0 }];
        let packed = pack(&[1], &runs, 1, 1.0, 5);
        assert_eq!(packed.first_rows, [1]);
        assert_eq!(packed.batch.rows.len(), 3);
    }
}
