//! Keys and values that stay in the cache after a batch, for the next prompts that begin with the same tokens: the
//! next turn of a conversation, further questions about one context, the examples before every question of a writer.
//!
//! What is kept was computed by the prefill plan, each row by itself and in the same order of sums as anew: a prompt
//! has the same bits with and without it. It takes cache slots only as long as nothing else needs them.

use tmem_gpu::{Buffer, Gpu, GpuError};

use super::runner::common_prefix;
use crate::model::{KvCache, KvRange};

/// Prompts kept at most where there is one Δ: those of the fast weights, of the frozen twin, and of a writer in between.
const MOST: usize = 4;
/// Fewer tokens are not worth their slots.
const SHORTEST: usize = 8;
/// Tokens copied at a time.
const COPIED: usize = 512;

/// What keys and values depend on besides the tokens. The slot that Δ lies in is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Under {
    scale: u32,
    /// Hash of Δ; empty where it does not apply.
    delta: String,
}

impl Under {
    /// The scale of the Δ with this hash.
    pub(crate) fn new(scale: f32, delta: &str) -> Self {
        Self { scale: scale.to_bits(), delta: delta.to_owned() }
    }

    /// No Δ.
    pub(crate) fn frozen() -> Self {
        Self { scale: 0f32.to_bits(), delta: String::new() }
    }
}

/// A run of tokens whose keys and values lie from the start of a range on.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) under: Under,
    pub(crate) tokens: Vec<u32>,
    pub(crate) range: KvRange,
}

/// What is kept, the latest last.
#[derive(Debug, Default)]
pub(crate) struct KeptPrefixes {
    all: Vec<Kept>,
    /// Δ besides the one in force; as many prompts more are kept.
    held: usize,
    /// A buffer cannot be copied onto itself.
    between: Option<Buffer>,
}

impl KeptPrefixes {
    /// Keeps one prompt more for each of `held` Δ besides the one in force.
    pub(crate) fn set_held(&mut self, held: usize) {
        self.held = held;
    }

    /// Keeps a run. Those that hold little else than its beginning, and the oldest beyond a few, give their slots back.
    pub(crate) fn keep(&mut self, cache: &mut KvCache, new: Kept) {
        if new.tokens.len() < SHORTEST {
            cache.release(new.range);
            return;
        }
        let repeated = |old: &Kept| old.under == new.under && shared(old, &new.tokens) * 4 >= old.tokens.len() * 3;
        let (gone, stay): (Vec<_>, Vec<_>) = self.all.drain(..).partition(repeated);
        self.all = stay;
        gone.into_iter().for_each(|old| cache.release(old.range));
        self.all.push(new);
        if self.all.len() > MOST + self.held {
            self.evict(cache);
        }
    }

    /// Takes slots, those of what is kept where there are no others.
    pub(crate) fn take(&mut self, cache: &mut KvCache, length: usize) -> Option<KvRange> {
        loop {
            match cache.take(length) {
                Some(range) => return Some(range),
                None if !self.evict(cache) => return None,
                None => {}
            }
        }
    }

    /// Takes `length` slots, and puts there what is kept of the beginning of `tokens`. Says how many tokens that is.
    ///
    /// # Errors
    /// A failure of the device.
    pub(crate) fn begin(
        &mut self,
        gpu: &Gpu,
        cache: &mut KvCache,
        under: &Under,
        tokens: &[u32],
        length: usize,
    ) -> Result<Option<(KvRange, usize)>, GpuError> {
        let shares = self.all.iter().map(|kept| if kept.under == *under { shared(kept, tokens) } else { 0 });
        let best = shares.enumerate().max_by_key(|&(_, shared)| shared).filter(|&(_, shared)| shared >= SHORTEST);
        let Some((at, known)) = best else { return Ok(self.take(cache, length).map(|range| (range, 0))) };
        let kept = self.all.remove(at);
        // In place, where little else is lost by it.
        if known * 4 >= kept.tokens.len() * 3
            && let Some(range) = cache.resize(kept.range, length)
        {
            return Ok(Some((range, known)));
        }
        let range = self.take(cache, length);
        if let Some(range) = range {
            self.copy(gpu, cache, kept.range.start, range.start, known)?;
        }
        self.all.push(kept);
        match range {
            Some(range) => Ok(Some((range, known))),
            // Only without it is there room.
            None => Ok(self.take(cache, length).map(|range| (range, 0))),
        }
    }

    /// Copies keys and values of `count` tokens between slots.
    fn copy(&mut self, gpu: &Gpu, cache: &KvCache, from: usize, to: usize, count: usize) -> Result<(), GpuError> {
        let width = cache.width() as u64 * 4;
        let between = match &self.between {
            Some(buffer) => buffer,
            None => self.between.insert(gpu.storage("keys and values on their way", COPIED * cache.width())?),
        };
        let mut commands = gpu.commands("reuse keys and values");
        for layer in &cache.layers {
            for at in (0..count).step_by(COPIED) {
                let size = COPIED.min(count - at) as u64 * width;
                commands.copy(layer, (from + at) as u64 * width, between, 0, size);
                commands.copy(between, 0, layer, (to + at) as u64 * width, size);
            }
        }
        commands.submit();
        Ok(())
    }

    /// Gives all slots back.
    pub(crate) fn clear(&mut self, cache: &mut KvCache) {
        while self.evict(cache) {}
    }

    /// Gives the slots of the oldest back; says whether there was one.
    fn evict(&mut self, cache: &mut KvCache) -> bool {
        if self.all.is_empty() {
            return false;
        }
        cache.release(self.all.remove(0).range);
        true
    }
}

/// How many tokens both begin with.
fn shared(kept: &Kept, tokens: &[u32]) -> usize {
    common_prefix([kept.tokens.as_slice(), tokens].into_iter())
}
