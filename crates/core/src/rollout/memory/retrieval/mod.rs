//! Turns kept whole, with notes of the model's own, and brought back where they fit the question (the shape of A-MEM,
//! arXiv 2502.12110).
//!
//! At a trigger every turn becomes an entry: what was said, its embedding, and by setting a note with keywords and
//! links to earlier entries. For a question the entries are ranked by words and by similarity; the best go into the
//! prompt, in the order they were said. A-MEM also lets the model choose the links and rewrite old notes, one
//! generation for each neighbour; here links are the nearest earlier entries, and notes stay as written.

mod note;
mod rank;

use serde::{Deserialize, Serialize};

pub use note::Note;

use super::{CardUse, MemoryStrategy, Passage, RecallInput, Recalled, text_tokens, transcript};
use crate::abort::Abort;
use crate::retrieval::Bm25;
use crate::rollout::event::Event;
use crate::rollout::policy::{Policy, PolicyError, base64_f32};
use crate::rollout::state::Turn;
use crate::rollout::writer::{WriterInput, WriterOutput};
use crate::settings::RolloutSettings;

/// What stands before the entries in the system message.
const HEADER: &str = "Parts of the earlier conversation that may help:";
/// Tokens of that with its line break, at most.
const HEADER_TOKENS: usize = 16;
/// Earlier entries that a note is linked with, at most.
const LINKS: usize = 2;

/// The entries, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retrieval {
    entries: Vec<Entry>,
}

/// A turn that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    turn: usize,
    user: String,
    assistant: String,
    /// Tokens of [`Entry::shown`] with its line break.
    tokens: usize,
    note: Option<Note>,
    /// Direction of [`Entry::searched`]; empty where nothing was embedded.
    #[serde(with = "base64_f32")]
    embedding: Vec<f32>,
}

impl Entry {
    fn new(turn: &Turn, note: Option<Note>) -> Self {
        let (user, assistant) = (turn.user.clone(), turn.assistant.clone());
        Self { turn: turn.index, user, assistant, tokens: 0, note, embedding: Vec::new() }
    }

    /// What the prompt shows.
    fn shown(&self) -> String {
        let said = transcript(&self.user, &self.assistant);
        match &self.note {
            Some(note) => format!("[turn {}: {}]\n{said}", self.turn + 1, note.text),
            None => format!("[turn {}]\n{said}", self.turn + 1),
        }
    }

    /// What it is found by.
    fn searched(&self) -> String {
        let note = self.note.as_ref().map_or_else(String::new, Note::searched);
        format!("{}\n{}\n{note}", self.user, self.assistant)
    }
}

impl MemoryStrategy for Retrieval {
    fn card_use(&self) -> CardUse {
        CardUse::None
    }

    fn reserve(&self, settings: &RolloutSettings) -> usize {
        match self.entries.iter().map(|entry| entry.tokens).sum::<usize>() {
            0 => 0,
            all => (HEADER_TOKENS + all).min(settings.retrieval_tokens),
        }
    }

    fn passages(&self) -> Vec<Passage> {
        let passage = |entry: &Entry| Passage {
            turn: Some(entry.turn),
            text: entry.note.as_ref().map_or_else(|| transcript(&entry.user, &entry.assistant), |n| n.text.clone()),
            keywords: entry.note.as_ref().map(|note| note.keywords.clone()).unwrap_or_default(),
        };
        self.entries.iter().map(passage).collect()
    }

    async fn recall<P: Policy>(&self, policy: &mut P, input: &RecallInput<'_>) -> Result<Vec<Recalled>, PolicyError> {
        if self.entries.is_empty() {
            return Ok(vec![Recalled::default(); input.queries.len()]);
        }
        let rankings = self.rankings(policy, input).await?;
        let rollout = &input.settings.rollout;
        let mut all = Vec::with_capacity(rankings.len());
        for (query, order) in input.queries.iter().zip(rankings) {
            let limit = rollout.retrieval_tokens.min(query.room).saturating_sub(HEADER_TOKENS);
            all.push(self.bring_back(policy, &order, query.before, limit, rollout.retrieval_turns)?);
        }
        Ok(all)
    }

    async fn write<P: Policy>(
        &mut self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        let rollout = &input.settings.rollout;
        let mut notes = vec![None; input.turns.len()];
        if rollout.notes {
            match note::write(policy, input, observe, abort).await? {
                Some(written) => notes = written,
                None => return Ok(WriterOutput { aborted: true, ..WriterOutput::default() }),
            }
        }
        let mut new: Vec<Entry> = input.turns.iter().zip(notes).map(|(turn, note)| Entry::new(turn, note)).collect();
        if rollout.retrieval_dense > 0.0 && !new.is_empty() {
            let texts: Vec<String> = new.iter().map(Entry::searched).collect();
            for (entry, embedding) in new.iter_mut().zip(policy.embed(&texts).await?) {
                entry.embedding = embedding;
            }
        }
        let mut index = Bm25::new(self.entries.iter().map(Entry::searched));
        for mut entry in new {
            entry.tokens = text_tokens(policy, &format!("\n{}", entry.shown()))?;
            if let Some(note) = &mut entry.note {
                let near = index.search(&note.searched(), LINKS);
                note.links = near.into_iter().map(|hit| self.entries[hit.document].turn).collect();
            }
            index.add(&entry.searched());
            self.entries.push(entry);
        }
        Ok(WriterOutput::default())
    }
}
