//! Seeded choices.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A source of choices. Its draws are defined here, on ChaCha's words alone, so that no new version of a library changes
/// what a seed generates.
#[derive(Debug, Clone)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// Choices of one part of the work; parts with different numbers draw independently of each other.
    pub(super) fn new(seed: u64, part: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(part);
        Self(rng)
    }

    /// A number below `end`; 0 where `end` is 0. The bias of the multiplication is below 2⁻³² for any list.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let product = u128::from(self.0.next_u64()) * (end as u128);
        (product >> 64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `percent` of a hundred cases.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the items; `None` where there is none.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// 128 random bits.
    pub(super) fn bits(&mut self) -> u128 {
        u128::from(self.0.next_u64()) << 64 | u128::from(self.0.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_draws_for_ever() {
        let mut dice = Dice::new(7, 0);
        let drawn: Vec<usize> = (0..8).map(|_| dice.below(1000)).collect();
        assert_eq!(drawn, Dice::new(7, 0).draws(8, 1000));
        assert_ne!(drawn, Dice::new(7, 1).draws(8, 1000));
        assert_ne!(drawn, Dice::new(8, 0).draws(8, 1000));
    }

    #[test]
    fn every_item_can_be_drawn_and_nothing_is_drawn_from_nothing() {
        let mut dice = Dice::new(0, 0);
        let mut seen = [false; 6];
        (0..200).for_each(|_| seen[dice.below(6)] = true);
        assert_eq!(seen, [true; 6]);
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.pick::<u8>(&[]), None);
        let mut items: Vec<usize> = (0..50).collect();
        dice.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }

    impl Dice {
        fn draws(mut self, n: usize, end: usize) -> Vec<usize> {
            (0..n).map(|_| self.below(end)).collect()
        }
    }
}
