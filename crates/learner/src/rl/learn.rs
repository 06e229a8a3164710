//! From episodes to what the learner computes: every sampled token as a target, under the Δ it was sampled under.

use std::collections::BTreeMap;

use tmem_core::fast::peft::PeftAdapter;
use tmem_core::rollout::Segment;
use tmem_core::rollout::policy::{Finish, Weights};

use super::{LossType, RlSettings, Rollouts};
use crate::LearnError;
use crate::model::{Batch, FastWeights, Model, Reference, Sequence, State};
use crate::sft::Texts;

/// A batch of sampled tokens.
pub(super) struct Sampled {
    pub(super) batch: Batch,
    /// Log-probability of each target when it was sampled.
    pub(super) log_probabilities: Vec<f32>,
}

/// A step's sampled tokens.
pub(super) struct Lesson {
    pub(super) batches: Vec<Sampled>,
    pub(super) fast: Option<FastWeights>,
}

/// A sampled action with the weight of each of its tokens in the loss, advantage aside.
struct Action<'a> {
    segment: &'a Segment,
    advantage: f64,
    share: f64,
}

/// Prepares episodes whose advantages are given. What cannot change the loss is left out.
pub(super) fn lesson(
    model: &Model,
    texts: Texts<'_>,
    rollouts: &Rollouts,
    advantages: &[Vec<f64>],
    settings: &RlSettings,
) -> Result<Lesson, LearnError> {
    let actions = actions(rollouts, advantages, settings);
    let fast = FastIndex::new(&rollouts.fast, &actions);
    let mut sequences = Vec::with_capacity(actions.len());
    for action in &actions {
        let Segment { messages, assistant_prefix, tokens, weights, delta, gate_scale, .. } = action.segment;
        let prompt = texts.begun(messages, assistant_prefix)?;
        let weight = (action.advantage * action.share) as f32;
        let mut sequence = Sequence::answered(&prompt, tokens, weight);
        if settings.beta > 0.0 {
            let reference = Reference { log_probability: 0.0, weight: settings.beta * action.share as f32 };
            sequence.targets.iter_mut().for_each(|target| target.reference = Some(reference));
        }
        if *weights != Weights::Frozen && delta.version > 0 {
            let index = fast.of(&delta.hash)?;
            sequence = sequence.under(index, if *weights == Weights::Fast { gate_scale.unwrap_or(1.0) } else { 1.0 });
        }
        sequences.push(sequence);
    }
    let fast = fast.weights(model)?;
    let (mut batches, mut actions) = (Vec::new(), actions.iter());
    for chunk in chunks(&sequences, settings.batch_tokens) {
        let sampled = actions.by_ref().take(chunk.len());
        let log_probabilities = sampled.flat_map(|action| action.segment.log_probabilities.iter().copied()).collect();
        let mut batch = Batch::pack(model.config(), chunk, settings.row_tokens)?;
        if settings.beta > 0.0 {
            batch.set_references(&model.log_probabilities(State::Base, &batch, fast.as_ref())?);
        }
        batches.push(Sampled { batch, log_probabilities });
    }
    Ok(Lesson { batches, fast })
}

/// The actions that matter, with their weights.
fn actions<'a>(rollouts: &'a Rollouts, advantages: &[Vec<f64>], settings: &RlSettings) -> Vec<Action<'a>> {
    let counts = |segment: &&Segment| {
        let masked = settings.mask_truncated_completions && segment.finish == Finish::Length;
        !masked && !segment.tokens.is_empty()
    };
    let tokens =
        |segments: &[Segment]| segments.iter().filter(counts).map(|segment| segment.tokens.len()).sum::<usize>();
    let episodes: usize = rollouts.groups.iter().map(Vec::len).sum();
    let all: usize = rollouts.groups.iter().flatten().map(|episode| tokens(&episode.segments)).sum();
    let mut actions = Vec::new();
    for (group, advantages) in rollouts.groups.iter().zip(advantages) {
        for (episode, &advantage) in group.iter().zip(advantages) {
            let divisor = match settings.loss_type {
                LossType::Grpo => episodes * tokens(&episode.segments),
                LossType::DrGrpo => episodes * settings.max_completion_length,
                LossType::Dapo => all,
            };
            let share = 1.0 / divisor.max(1) as f64;
            if advantage != 0.0 || settings.beta > 0.0 {
                let segments = episode.segments.iter().filter(counts);
                actions.extend(segments.map(|segment| Action { segment, advantage, share }));
            }
        }
    }
    actions
}

/// Runs of sequences of at most `tokens` tokens, at least one in each.
fn chunks(sequences: &[Sequence], tokens: usize) -> Vec<&[Sequence]> {
    let (mut chunks, mut first, mut sum) = (Vec::new(), 0, 0);
    for (at, sequence) in sequences.iter().enumerate() {
        if at > first && sum + sequence.tokens.len() > tokens {
            chunks.push(&sequences[first..at]);
            (first, sum) = (at, 0);
        }
        sum += sequence.tokens.len();
    }
    if first < sequences.len() {
        chunks.push(&sequences[first..]);
    }
    chunks
}

/// The Δ that a step's actions were sampled under.
struct FastIndex<'a> {
    used: BTreeMap<&'a str, (usize, &'a PeftAdapter)>,
}

impl<'a> FastIndex<'a> {
    fn new(learned: &'a BTreeMap<String, PeftAdapter>, actions: &[Action<'_>]) -> Self {
        let is_used = |hash: &str| actions.iter().any(|action| action.segment.delta.hash == hash);
        let used = learned.iter().filter(|(hash, _)| is_used(hash)).enumerate();
        Self { used: used.map(|(at, (hash, adapter))| (hash.as_str(), (at, adapter))).collect() }
    }

    fn of(&self, hash: &str) -> Result<usize, LearnError> {
        let known = self.used.get(hash).map(|(at, _)| *at);
        known.ok_or_else(|| LearnError::Fast(format!("{hash} were not kept, and something was sampled under them")))
    }

    fn weights(&self, model: &Model) -> Result<Option<FastWeights>, LearnError> {
        let adapters: Vec<PeftAdapter> = self.used.values().map(|(_, adapter)| (*adapter).clone()).collect();
        if adapters.is_empty() {
            Ok(None)
        } else {
            FastWeights::new(model.config(), &adapters, model.device()).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use tmem_core::fast::DeltaId;
    use tmem_core::rollout::SegmentKind;

    use super::*;
    use crate::rl::{Episode, Outcome};

    fn segment(tokens: usize, finish: Finish) -> Segment {
        Segment {
            kind: SegmentKind::Ordinary,
            messages: Vec::new(),
            assistant_prefix: String::new(),
            tokens: vec![1; tokens],
            log_probabilities: vec![-1.0; tokens],
            weights: Weights::Fast,
            delta: DeltaId::default(),
            gate_scale: None,
            finish,
        }
    }

    fn episode(segments: Vec<Segment>) -> Episode {
        let outcome = Outcome::default();
        Episode {
            task: 0,
            generation: 0,
            segments,
            cards: vec![],
            dropped: vec![],
            answers: vec![],
            outcome,
            reward: 0.0,
        }
    }

    /// Weight of every token, advantage 1 aside, by segment.
    fn shares(settings: &RlSettings) -> Vec<(usize, f64)> {
        let groups = vec![vec![
            episode(vec![segment(3, Finish::Stop), segment(1, Finish::Length)]),
            episode(vec![segment(6, Finish::Stop)]),
        ]];
        let rollouts = Rollouts { groups, ..Rollouts::default() };
        let actions = actions(&rollouts, &[vec![1.0, 0.5]], settings);
        actions.iter().map(|action| (action.segment.tokens.len(), 1.0 / action.share)).collect()
    }

    #[test]
    fn tokens_are_averaged_as_the_loss_type_says() {
        let settings = RlSettings { max_completion_length: 8, ..RlSettings::default() };
        let of = |loss_type| shares(&RlSettings { loss_type, ..settings });
        assert_eq!(of(LossType::Dapo), [(3, 10.0), (1, 10.0), (6, 10.0)]);
        assert_eq!(of(LossType::Grpo), [(3, 8.0), (1, 8.0), (6, 12.0)]);
        assert_eq!(of(LossType::DrGrpo), [(3, 16.0), (1, 16.0), (6, 16.0)]);
        let masked = RlSettings { mask_truncated_completions: true, ..settings };
        assert_eq!(shares(&masked), [(3, 9.0), (6, 9.0)]);
    }

    #[test]
    fn an_episode_without_an_advantage_has_no_part_unless_it_is_held_to_the_base() {
        let rollouts = Rollouts { groups: vec![vec![episode(vec![segment(2, Finish::Stop)])]], ..Rollouts::default() };
        assert!(actions(&rollouts, &[vec![0.0]], &RlSettings::default()).is_empty());
        assert_eq!(actions(&rollouts, &[vec![0.0]], &RlSettings { beta: 0.1, ..RlSettings::default() }).len(), 1);
    }

    #[test]
    fn chunks_keep_the_order_and_the_limit() {
        let sequences: Vec<_> =
            [3, 3, 9, 1, 1].map(|n| Sequence { tokens: vec![0; n], ..Sequence::default() }).to_vec();
        let sizes: Vec<usize> = chunks(&sequences, 6).into_iter().map(<[_]>::len).collect();
        assert_eq!(sizes, [2, 1, 2]);
        assert!(chunks(&[], 6).is_empty());
    }
}
