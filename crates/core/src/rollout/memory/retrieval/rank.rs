//! Which entries a question brings back, and how many of them a prompt holds.

use super::{Entry, HEADER, Retrieval};
use crate::retrieval::{Bm25, cosine, fuse};
use crate::rollout::memory::{RecallInput, Recalled, text_tokens};
use crate::rollout::policy::{Policy, PolicyError};

impl Retrieval {
    /// The entries in the order of their nearness to each question.
    pub(super) async fn rankings<P: Policy>(
        &self,
        policy: &mut P,
        input: &RecallInput<'_>,
    ) -> Result<Vec<Vec<usize>>, PolicyError> {
        let dense = input.settings.rollout.retrieval_dense;
        let index = Bm25::new(self.entries.iter().map(Entry::searched));
        let directions = if dense > 0.0 {
            let texts: Vec<String> = input.queries.iter().map(|query| query.text.to_owned()).collect();
            policy.embed(&texts).await?
        } else {
            vec![Vec::new(); input.queries.len()]
        };
        let mean = self.mean();
        let centred: Vec<Vec<f32>> = self.entries.iter().map(|entry| less(&entry.embedding, &mean)).collect();
        let rank = |text: &str, direction: &[f32]| {
            let query = less(direction, &mean);
            let similarity =
                |entry: &Vec<f32>| (!entry.is_empty() && entry.len() == query.len()).then(|| cosine(entry, &query));
            let similarities: Vec<Option<f32>> = centred.iter().map(similarity).collect();
            fuse(&index.search(text, usize::MAX), &similarities, dense)
        };
        Ok(input.queries.iter().zip(&directions).map(|(query, direction)| rank(query.text, direction)).collect())
    }

    /// The mean of the embeddings. Mean-pooled states of a language model lie in a narrow cone, and what all of them
    /// share says nothing about which is near. One entry alone has nothing to be compared with: its mean is 0.
    fn mean(&self) -> Vec<f32> {
        let width = self.entries.first().map_or(0, |entry| entry.embedding.len());
        let embedded: Vec<_> = self.entries.iter().map(|e| &e.embedding).filter(|e| e.len() == width).collect();
        let mut mean = vec![0.0; width];
        if embedded.len() > 1 {
            for embedding in &embedded {
                for (sum, value) in mean.iter_mut().zip(*embedding) {
                    *sum += value / embedded.len() as f32;
                }
            }
        }
        mean
    }

    /// The best entries of a ranking as text for the prompt: at most `most` of them, then what they are linked with, as
    /// far as `limit` tokens reach; without turns from `before` on, which the prompt has anyway. An entry that does not
    /// fit makes room for the next, but where none fits the best is cut.
    pub(super) fn bring_back<P: Policy>(
        &self,
        policy: &P,
        order: &[usize],
        before: usize,
        limit: usize,
        most: usize,
    ) -> Result<Recalled, PolicyError> {
        let ranked: Vec<usize> = order.iter().copied().filter(|&at| self.entries[at].turn < before).collect();
        let (mut picked, mut left) = (Vec::<usize>::new(), limit);
        let take = |picked: &mut Vec<usize>, left: &mut usize, at: usize| {
            let entry = &self.entries[at];
            if entry.turn < before && entry.tokens <= *left && !picked.contains(&at) {
                *left -= entry.tokens;
                picked.push(at);
            }
        };
        for &at in &ranked {
            if picked.len() == most {
                break;
            }
            take(&mut picked, &mut left, at);
        }
        for at in picked.clone() {
            for turn in self.entries[at].note.iter().flat_map(|note| &note.links) {
                if let Ok(linked) = self.entries.binary_search_by_key(turn, |entry| entry.turn) {
                    take(&mut picked, &mut left, linked);
                }
            }
        }
        picked.sort_unstable();
        let mut shown: Vec<String> = picked.iter().map(|&at| self.entries[at].shown()).collect();
        if let (true, Some(&best)) = (picked.is_empty(), ranked.first())
            && let Some(cut) = cut_to_fit(policy, &self.entries[best].shown(), limit)?
        {
            picked.push(best);
            shown.push(cut);
        }
        if shown.is_empty() {
            return Ok(Recalled::default());
        }
        let turns = picked.iter().map(|&at| self.entries[at].turn).collect();
        Ok(Recalled { text: Some(format!("{HEADER}\n{}", shown.join("\n"))), turns, ..Recalled::default() })
    }
}

/// `vector` less `mean`; as it is where the two have different lengths.
fn less(vector: &[f32], mean: &[f32]) -> Vec<f32> {
    if vector.len() != mean.len() {
        return vector.to_vec();
    }
    vector.iter().zip(mean).map(|(v, m)| v - m).collect()
}

/// The longest beginning of `text` in whole words that has at most `limit` tokens; `None` where that is no more than
/// its heading.
fn cut_to_fit<P: Policy>(policy: &P, text: &str, limit: usize) -> Result<Option<String>, PolicyError> {
    let ends: Vec<usize> = text.match_indices(char::is_whitespace).map(|(at, _)| at).collect();
    let (mut fits, mut too_long) = (0, ends.len());
    while too_long - fits > 1 {
        let middle = (fits + too_long) / 2;
        let within = text_tokens(policy, &format!("\n{} …", &text[..ends[middle]]))? <= limit;
        (fits, too_long) = if within { (middle, too_long) } else { (fits, middle) };
    }
    // The first words are "[turn n]" and "User:".
    Ok((fits > 2).then(|| format!("{} …", text[..ends[fits]].trim_end())))
}
