//! Episodes: conversations are told to the agent, it writes, its context is cleared, and it is asked.

use std::collections::BTreeMap;

use serde::Serialize;
use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::engine::{Engine, UnderDelta};
use tmem_core::fast::NEUTRAL_PROMPTS;
use tmem_core::fast::peft::PeftAdapter;
use tmem_core::message::Message;
use tmem_core::rollout::memory::MemoryStrategy;
use tmem_core::rollout::policy::{GenerateRequest, Generation, PolicyError, Score, ScoreRequest, Weights};
use tmem_core::rollout::writer::Dropped;
use tmem_core::rollout::{Agent, AgentError, AskOptions, Event, Question, Segment};
use tmem_core::settings::{MemoryKind, Settings, WriterKind};
use tmem_eval::probe::Subject;

use super::lockstep::{Lockstep, Member, Running};
use super::{Outcome, RewardSettings, Task};
use crate::LearnError;

/// Ordinary prompts on which damage is measured.
const DAMAGE_PROMPTS: usize = 8;

/// A model that episodes are sampled from.
#[allow(async_fn_in_trait)]
pub trait Sampler: Subject {
    /// A and B of the Δ in force.
    ///
    /// # Errors
    /// A failure of the model.
    async fn fast_weights(&mut self) -> Result<PeftAdapter, PolicyError>;

    /// Generates each request under its Δ, whatever Δ those are, as one batch. Each text is the one that comes of restoring
    /// its Δ and generating it alone; the Δ in force stays.
    ///
    /// # Errors
    /// A prompt that is too long, or a failure of the model.
    async fn generate_under(
        &mut self,
        requests: &[UnderDelta<'_, GenerateRequest>],
        abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError>;

    /// Scores each continuation under its Δ, as one batch.
    ///
    /// # Errors
    /// As [`generate_under`](Self::generate_under).
    async fn score_under(&mut self, requests: &[UnderDelta<'_, ScoreRequest>]) -> Result<Vec<Score>, PolicyError>;

    /// KL(frozen ‖ θ0 + Δ) of the first token of the answer to each prompt under its Δ, in nats, as one batch.
    ///
    /// # Errors
    /// As [`generate_under`](Self::generate_under).
    async fn damage_under(&mut self, prompts: &[UnderDelta<'_, Vec<Message>>]) -> Result<Vec<f32>, PolicyError>;

    /// Sha-256 of the slow adapter in its weights; `None` where there is none.
    fn slow_adapter(&self) -> Option<&str>;
}

impl Sampler for Engine {
    async fn fast_weights(&mut self) -> Result<PeftAdapter, PolicyError> {
        Ok(self.export_peft().await?)
    }

    async fn generate_under(
        &mut self,
        requests: &[UnderDelta<'_, GenerateRequest>],
        abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError> {
        Ok(Self::generate_under(self, requests, &mut |_, _| {}, abort).await?)
    }

    async fn score_under(&mut self, requests: &[UnderDelta<'_, ScoreRequest>]) -> Result<Vec<Score>, PolicyError> {
        Ok(Self::score_under(self, requests).await?)
    }

    async fn damage_under(&mut self, prompts: &[UnderDelta<'_, Vec<Message>>]) -> Result<Vec<f32>, PolicyError> {
        Ok(self.kl_to_frozen_under(prompts, Weights::Fast).await?)
    }

    fn slow_adapter(&self) -> Option<&str> {
        self.model().slow_adapter.as_deref()
    }
}

/// What happened in an episode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Episode {
    /// Number of its task.
    pub task: u64,
    /// Its place among the episodes of its task.
    pub generation: usize,
    /// What was sampled, in order.
    #[serde(skip)]
    pub segments: Vec<Segment>,
    /// Cards it ended with.
    pub cards: Vec<Card>,
    /// What the writer wrote and had to be dropped.
    pub dropped: Vec<Dropped>,
    /// Its answers to the task's questions.
    pub answers: Vec<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// What it was rewarded with.
    pub reward: f64,
}

/// Episodes of several tasks, and every Δ that they learned.
#[derive(Debug, Clone, Default)]
pub struct Rollouts {
    /// The episodes of each task.
    pub groups: Vec<Vec<Episode>>,
    /// Every Δ under which something was sampled, by its hash; Δ = 0 is not among them.
    pub fast: BTreeMap<String, PeftAdapter>,
}

/// How episodes are sampled.
#[derive(Debug, Clone, Copy)]
pub struct Sampled<'a> {
    /// The agent's settings, sampling included.
    pub settings: &'a Settings,
    /// What they are rewarded for.
    pub reward: &'a RewardSettings,
    /// Episodes of each task.
    pub generations: usize,
    /// Seeds them.
    pub seed: u64,
}

/// Why episodes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// The model failed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// An episode could not go on.
    #[error("task {task}: {error}")]
    Agent {
        /// Number of the task.
        task: u64,
        /// Why.
        error: AgentError,
    },
    /// A task or setting that cannot be.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// Stopped from outside.
    #[error("stopped")]
    Aborted,
}

/// Refuses settings under which what is written is not sampled: nothing could be learned from it.
///
/// # Errors
/// [`LearnError::Setting`].
pub fn check_agent(settings: &Settings) -> Result<(), LearnError> {
    let rollout = &settings.rollout;
    let writes_cards = matches!(rollout.memory, MemoryKind::Tmem | MemoryKind::TmemText | MemoryKind::Cards);
    let expected = match rollout.writer {
        WriterKind::AnswerFirst => "this writer copies by rules and greedily: use `json`",
        WriterKind::RawText => "nothing is sampled by this writer: use `json`",
        WriterKind::Json | WriterKind::Summary => return Ok(()),
    };
    if writes_cards {
        let value = format!("{:?}", rollout.writer);
        return Err(LearnError::Setting { name: "rollout.writer", value, expected: expected.to_owned() });
    }
    Ok(())
}

/// Runs the episodes of some tasks in step.
///
/// # Errors
/// A failure of the model, a task that does not fit it, or an abort.
pub async fn rollouts<P: Sampler>(
    model: &mut P,
    tasks: &[(u64, Task)],
    sampled: Sampled<'_>,
    abort: &Abort,
) -> Result<Rollouts, RolloutError> {
    let members = tasks.len() * sampled.generations;
    let shared = Lockstep::new(model, members, abort).await?;
    let mut episodes: Vec<Running<'_, _>> = Vec::with_capacity(members);
    for place in 0..members {
        let (number, task) = &tasks[place / sampled.generations];
        let generation = place % sampled.generations;
        episodes.push(Box::pin(episode(shared.member(place), *number, task, generation, sampled, abort)));
    }
    let ended = shared.run(episodes).await?;
    if abort.is_aborted() {
        return Err(RolloutError::Aborted);
    }
    let mut groups: Vec<Vec<Episode>> = Vec::with_capacity(tasks.len());
    for (place, episode) in ended.into_iter().enumerate() {
        if place % sampled.generations == 0 {
            groups.push(Vec::with_capacity(sampled.generations));
        }
        if let Some(group) = groups.last_mut() {
            group.push(episode?);
        }
    }
    Ok(Rollouts { groups, fast: shared.into_learned() })
}

async fn episode<P: Sampler>(
    member: Member<'_, '_, P>,
    number: u64,
    task: &Task,
    generation: usize,
    sampled: Sampled<'_>,
    abort: &Abort,
) -> Result<Episode, RolloutError> {
    let failed = |error| match error {
        AgentError::Aborted => RolloutError::Aborted,
        error => RolloutError::Agent { task: number, error },
    };
    let mut settings = sampled.settings.clone();
    settings.sampling.seed = seed_of(sampled.seed, number, generation);
    let mut agent = Agent::new(member, settings);
    let (mut segments, mut dropped) = (Vec::new(), Vec::new());
    let mut observe = |event| match event {
        Event::Segment(segment) => segments.push(segment),
        Event::CardsWritten { dropped: items, .. } => dropped.extend(items),
        _ => {}
    };
    for turn in &task.turns {
        agent.feed(&turn.user, &turn.assistant, &mut observe, abort).await.map_err(failed)?;
    }
    if !agent.state().context.is_empty() && agent.state().memory.is_triggered() {
        match agent.write_now(&mut observe, abort).await {
            // A write that failed must not be rewarded with the context that it leaves.
            Ok(_) | Err(AgentError::NotLearned { .. }) => agent.clear_context(&mut observe),
            Err(error) => return Err(failed(error)),
        }
    }
    let questions: Vec<Question> = task.questions.iter().map(|question| question.text.as_str().into()).collect();
    let options = AskOptions { context: true, twin: false };
    let answers = agent.ask_each(&questions, options, &mut observe, abort).await.map_err(failed)?;
    let answers: Vec<String> = answers.into_iter().map(|answer| answer.text).collect();
    let cards = agent.cards().to_vec();
    let mut outcome = Outcome::score(&task.questions, &answers);
    (outcome.cards, outcome.dropped) = (cards.len() as f64, dropped.len() as f64);
    if sampled.reward.damage > 0.0 {
        let prompts: Vec<_> =
            NEUTRAL_PROMPTS.iter().take(DAMAGE_PROMPTS).map(|prompt| vec![Message::user(*prompt)]).collect();
        let divergences = agent.policy().damage(&prompts).await?;
        outcome.damage = divergences.iter().map(|&kl| f64::from(kl)).sum::<f64>() / divergences.len().max(1) as f64;
    }
    let reward = sampled.reward.of(&outcome);
    Ok(Episode { task: number, generation, segments, cards, dropped, answers, outcome, reward })
}

/// Seeds the tokens of an episode.
fn seed_of(seed: u64, task: u64, generation: usize) -> u64 {
    let mixed = (seed ^ task.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(generation as u64);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
}

#[cfg(test)]
mod tests {
    use tmem_core::rollout::policy::{Policy, Sampling};
    use tmem_core::rollout::scripted::Scripted;

    use super::*;
    use crate::rl::{Codes, Tasks};

    impl Sampler for Scripted {
        async fn fast_weights(&mut self) -> Result<PeftAdapter, PolicyError> {
            Ok(PeftAdapter { rank: 1, sites: Vec::new() })
        }

        async fn generate_under(
            &mut self,
            requests: &[UnderDelta<'_, GenerateRequest>],
            abort: &Abort,
        ) -> Result<Vec<Generation>, PolicyError> {
            let (in_force, first) = (self.snapshot().await?, self.batches.len());
            let mut all = Vec::new();
            for asked in requests {
                self.restore(asked.delta).await?;
                all.extend(self.generate(std::slice::from_ref(asked.request), &mut |_, _| {}, abort).await?);
            }
            self.restore(&in_force).await?;
            // It was asked for as one.
            let batch = self.batches.drain(first..).flatten().collect();
            self.batches.push(batch);
            Ok(all)
        }

        async fn score_under(&mut self, requests: &[UnderDelta<'_, ScoreRequest>]) -> Result<Vec<Score>, PolicyError> {
            let requests: Vec<_> = requests.iter().map(|asked| asked.request.clone()).collect();
            self.score(&requests).await
        }

        async fn damage_under(&mut self, prompts: &[UnderDelta<'_, Vec<Message>>]) -> Result<Vec<f32>, PolicyError> {
            Ok(vec![0.0; prompts.len()])
        }

        fn slow_adapter(&self) -> Option<&str> {
            None
        }
    }

    /// Writes the first code for even seeds, and nothing for odd ones.
    fn writer() -> Scripted {
        Scripted::new(|request: &GenerateRequest| {
            if request.assistant_prefix.is_empty() {
                return "I do not know.".to_owned();
            }
            if request.sampling.seed % 2 == 1 {
                return "]".to_owned();
            }
            let told = &request.messages[0].content;
            let words: Vec<&str> = told.trim_end_matches('.').split(' ').collect();
            let (colour, code) = (words[4], words[7]);
            let cards: Vec<String> = ["What is the code of the", "Which code opens the"]
                .map(|question| format!(r#"{{"instruction": "{question} {colour} door?", "output": "{code}"}}"#))
                .to_vec();
            cards.join(", ") + "]"
        })
    }

    fn settings() -> Settings {
        let mut settings = Settings::small();
        settings.rollout.writer = WriterKind::Json;
        settings.sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        settings
    }

    async fn sample(model: &mut Scripted, generations: usize) -> Rollouts {
        let codes = Codes { told: 2, unknown: 1, ..Codes::default() };
        let tasks: Vec<_> = (0..3).map(|number| (number, codes.task(number).unwrap())).collect();
        let (settings, reward) = (settings(), RewardSettings::default());
        let sampled = Sampled { settings: &settings, reward: &reward, generations, seed: 5 };
        rollouts(model, &tasks, sampled, &Abort::default()).await.unwrap()
    }

    #[test]
    fn episodes_are_rewarded_for_what_they_wrote_and_do_not_see_each_other() {
        pollster::block_on(async {
            let mut model = writer();
            let Rollouts { groups, .. } = sample(&mut model, 4).await;
            assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [4; 3]);
            let mut wrote = 0;
            for episode in groups.iter().flatten() {
                let right = episode.cards.len().min(1) as f64 / 2.0;
                assert_eq!(episode.outcome.exact_match, right, "{episode:?}");
                assert_eq!(episode.segments.len(), 4, "a write and three answers");
                wrote += usize::from(!episode.cards.is_empty());
            }
            assert!(wrote > 0 && wrote < 12, "{wrote} of 12 episodes wrote");
        });
    }

    #[test]
    fn all_writes_are_one_batch_and_all_answers_another_under_whatever_fast_weights() {
        pollster::block_on(async {
            let mut model = writer();
            let groups = sample(&mut model, 4).await.groups;
            assert_eq!(model.batches[0].len(), 12);
            let wrote = groups.iter().flatten().filter(|episode| !episode.cards.is_empty()).count();
            let different: std::collections::BTreeSet<_> =
                groups.iter().flatten().map(|episode| episode.segments[1].delta.hash.clone()).collect();
            assert!(different.len() > 1 && different.len() <= wrote + 1);
            assert_eq!(model.batches.len(), 2);
            assert_eq!(model.batches[1].len(), 12 * 3, "three questions an episode");
        });
    }

    #[test]
    fn an_episode_is_the_same_alone_and_among_others() {
        pollster::block_on(async {
            let (alone, among) = (sample(&mut writer(), 1).await, sample(&mut writer(), 3).await);
            for (alone, among) in alone.groups.iter().zip(&among.groups) {
                assert_eq!(alone[0], among[0]);
            }
            assert_eq!(writer().delta().version, 0);
        });
    }

    #[test]
    fn writers_that_do_not_sample_are_refused() {
        check_agent(&settings()).unwrap();
        let mut rules = settings();
        rules.rollout.writer = WriterKind::AnswerFirst;
        assert!(check_agent(&rules).unwrap_err().to_string().contains("use `json`"));
        rules.rollout.memory = MemoryKind::Summary;
        check_agent(&rules).unwrap();
    }
}
