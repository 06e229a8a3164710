//! What a write trains on: cards and anchor prompts as token runs, and the hidden states that enter the adapted layers.

use std::collections::HashMap;

use tmem_gpu::{Buffer, GpuError, Row, Sequence};

use super::runner::{Active, Pass, common_prefix};
use super::{Engine, EngineError};
use crate::card::Card;
use crate::message::Message;
use crate::model::KvRange;

/// One run of tokens with the positions that have a loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Example {
    /// Inputs after the shared prefix; the last target is not among them.
    pub(crate) inputs: Vec<u32>,
    /// Position in `inputs` whose next token is the first target.
    pub(crate) first_loss: usize,
    /// Targets from there on, one for each following input.
    pub(crate) targets: Vec<u32>,
    /// First row of the example's hidden states in the store.
    pub(crate) stored: usize,
}

/// The examples of some cards, one behind the other, and how many each card has.
#[derive(Debug, Clone, Default)]
pub(crate) struct CardExamples {
    pub(crate) examples: Vec<Example>,
    pub(crate) wordings: Vec<usize>,
}

/// Hidden states that enter the lowest adapted layer, kept across writes: they depend on the frozen layers alone.
pub(crate) struct HiddenStore {
    pub(crate) buffer: Buffer,
    rows: usize,
    used: usize,
    width: usize,
    /// The shared prefix, in the first rows of the store.
    pub(crate) prefix: Vec<u32>,
    known: HashMap<Vec<u32>, usize>,
}

impl HiddenStore {
    pub(crate) fn new(gpu: &tmem_gpu::Gpu, width: usize, rows: usize) -> Result<Self, GpuError> {
        let buffer = gpu.storage("stored hidden states", rows * width)?;
        Ok(Self { buffer, rows, used: 0, width, prefix: Vec::new(), known: HashMap::new() })
    }

    /// Rows that these examples and their prefix would add.
    fn missing(&self, prefix: &[u32], examples: &[Example]) -> usize {
        let unknown = examples.iter().filter(|example| !self.known.contains_key(&example.inputs));
        let prefix = if self.prefix == prefix { 0 } else { prefix.len() };
        prefix + unknown.map(|example| example.inputs.len()).sum::<usize>()
    }

    fn forget(&mut self) {
        self.used = 0;
        self.known.clear();
        self.prefix.clear();
    }
}

impl Engine {
    /// The tokens that every one-question prompt begins with: the system prompt and what the template puts before the
    /// user's words.
    pub(super) fn prompt_prefix(&self) -> Result<Vec<u32>, EngineError> {
        let a = self.encode_prompt(&self.question("A"), "")?;
        let b = self.encode_prompt(&self.question("7 zebras?"), "")?;
        let shared = common_prefix([a.as_slice(), b.as_slice()].into_iter());
        Ok(a[..shared].to_vec())
    }

    /// A conversation of one question.
    pub(super) fn question(&self, text: &str) -> Vec<Message> {
        let system = &self.settings.rollout.system_prompt;
        let mut messages = Vec::new();
        if !system.is_empty() {
            messages.push(Message::system(system.clone()));
        }
        messages.push(Message::user(text));
        messages
    }

    /// One example for every wording of every card; loss on the answer's tokens and the end of the turn.
    pub(super) fn card_examples(&self, cards: &[Card], prefix: &[u32]) -> Result<CardExamples, EngineError> {
        let mut all = CardExamples::default();
        for card in cards {
            let before = all.examples.len();
            let answer = self.answer_tokens(card)?;
            for question in card.questions() {
                all.examples.extend(self.card_example(question, &answer, prefix)?);
            }
            all.wordings.push(all.examples.len() - before);
        }
        Ok(all)
    }

    /// A card's answer and the end of the turn.
    pub(super) fn answer_tokens(&self, card: &Card) -> Result<Vec<u32>, EngineError> {
        let mut answer = self.encode_literal(card.answer.trim())?;
        answer.push(self.model.tokenizer.end_of_turn());
        Ok(answer)
    }

    /// The example of one wording; `None` as [`example`].
    pub(super) fn card_example(
        &self,
        question: &str,
        answer: &[u32],
        prefix: &[u32],
    ) -> Result<Option<Example>, EngineError> {
        let prompt = self.encode_prompt(&self.question(question), "")?;
        Ok(example(&prompt, answer, prefix))
    }

    /// Puts the hidden states of `examples` into the store, computing those that are not there yet.
    pub(super) fn store_hidden(&mut self, prefix: &[u32], examples: &mut [Example]) -> Result<(), EngineError> {
        if self.store.prefix != prefix {
            self.store.forget();
        }
        if self.store.used + self.store.missing(prefix, examples) > self.store.rows {
            self.store.forget();
            let all = self.store.missing(prefix, examples);
            if all > self.store.rows {
                let rows = all.next_power_of_two();
                self.store = HiddenStore::new(&self.gpu, self.store.width, rows)?;
            }
        }
        // In one piece, since a batch is as large as the slots allow.
        self.runner.forget_kept();
        let slots = self.runner.cache.slots();
        let full = |tokens| EngineError::CacheFull { tokens, slots };
        let prefix_range = self.runner.take(prefix.len().max(1)).ok_or_else(|| full(prefix.len()))?;
        let done = self.capture_all(prefix, prefix_range, examples);
        self.runner.cache.release(prefix_range);
        done
    }

    fn capture_all(
        &mut self,
        prefix: &[u32],
        prefix_range: KvRange,
        examples: &mut [Example],
    ) -> Result<(), EngineError> {
        let own = |tokens: &[u32], range| Active {
            tokens: tokens.to_vec(),
            prefix_length: 0,
            prefix_start: 0,
            range,
            slot: 0,
            scale: 0.0,
        };
        // The prefix is computed anew each time: its keys and values are what the others need.
        let first = own(prefix, prefix_range);
        let rows: Vec<Row> = first.rows(0, 0..prefix.len()).collect();
        self.runner.run(&rows, &[first.sequence()], Pass::Lower);
        if self.store.prefix != prefix {
            self.keep(prefix.len());
            self.store.prefix = prefix.to_vec();
        }
        let mut i = 0;
        while i < examples.len() {
            let (mut rows, mut sequences, mut ranges) = (Vec::new(), Vec::<Sequence>::new(), Vec::new());
            let batch_start = i;
            while i < examples.len() && sequences.len() < super::runner::MAX_SEQUENCES {
                let inputs = &examples[i].inputs;
                if !self.store.known.contains_key(inputs) {
                    let fits = rows.len() + inputs.len() <= self.runner.capacity();
                    let Some(range) = fits.then(|| self.runner.take(inputs.len())).flatten() else { break };
                    let mut tokens = prefix.to_vec();
                    tokens.extend(inputs);
                    let active =
                        Active { prefix_length: prefix.len(), prefix_start: prefix_range.start, ..own(&tokens, range) };
                    rows.extend(active.rows(sequences.len(), prefix.len()..tokens.len()));
                    sequences.push(active.sequence());
                    ranges.push(range);
                    self.store.known.insert(inputs.clone(), self.store.used + rows.len() - inputs.len());
                }
                i += 1;
            }
            if i == batch_start {
                let tokens = examples[i].inputs.len();
                return Err(EngineError::CacheFull { tokens, slots: self.runner.cache.slots() });
            }
            self.runner.run(&rows, &sequences, Pass::Lower);
            self.keep(rows.len());
            for range in ranges {
                self.runner.cache.release(range);
            }
        }
        for example in examples {
            example.stored = self.store.known.get(&example.inputs).copied().unwrap_or_default();
        }
        Ok(self.gpu.check()?)
    }

    /// Appends the first `rows` rows of the runner's hidden states to the store.
    fn keep(&mut self, rows: usize) {
        let width = self.store.width as u64 * 4;
        let mut commands = self.gpu.commands("keep hidden states");
        commands.copy(&self.runner.hidden, 0, &self.store.buffer, self.store.used as u64 * width, rows as u64 * width);
        commands.submit();
        self.store.used += rows;
    }
}

/// The example of one prompt and answer; `None` where the prompt does not begin with the prefix or is nothing but it.
pub(super) fn example(prompt: &[u32], answer: &[u32], prefix: &[u32]) -> Option<Example> {
    let own = prompt.strip_prefix(prefix)?;
    if own.is_empty() || answer.is_empty() {
        return None;
    }
    let mut inputs = own.to_vec();
    inputs.extend(&answer[..answer.len() - 1]);
    Some(Example { inputs, first_loss: own.len() - 1, targets: answer.to_vec(), stored: 0 })
}
